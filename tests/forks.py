"""Processes that have the training libraries loaded from their first moment.

Loading torch, transformers, trl and diffusers takes up to ten seconds of a core. One process for each pytest process
loads the public libraries, and nothing of this project; each script of a test runs in a fork of it: a process of its
own with its own memory, signals, exit code and output.

`trainer_python()` gives the same to processes of the product that start trainers: an interpreter for TRAINER_PYTHON
(tests/forked_trainer.py).
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import importlib.util
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
# What the trainers, their makers of tiny models and the tests' own scripts import, in the order of the trainers.
LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "datasets",
    "transformers.models.llama.modeling_llama",
)
LONGEST = 600  # seconds
# Read when the libraries are loaded. Nothing leaves the machine.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass
class Fork:
    """A script that runs; only the newest one may be waited for."""

    pid: int
    files: tuple[Path, Path]

    def wait(self) -> subprocess.CompletedProcess[str]:
        code = _answer()
        output, errors = (path.read_text() for path in self.files)
        return subprocess.CompletedProcess(["fork"], code, output, errors)


def start(script: str, *arguments: object, cwd: Path = ROOT, inside: bool = True) -> Fork:
    """Runs the script with these arguments (sys.argv[1:]) in a fork. `inside` of the project it may import the
    project's modules, after the installed ones of the same name, as `python -m jobs.training` has it; outside only
    the libraries and what lies in `cwd`."""
    server, directory = _server()
    files = tuple(Path(tempfile.mkstemp(dir=directory, prefix=name)[1]) for name in ("out", "err"))
    order = {"script": script, "arguments": [str(item) for item in arguments], "inside": inside}
    order |= {"cwd": str(cwd), "files": [str(path) for path in files]}
    assert server.stdin is not None
    server.stdin.write(json.dumps(order) + "\n")
    server.stdin.flush()
    return Fork(_answer(), files)  # type: ignore[arg-type]


def run(
    script: str, *arguments: object, cwd: Path = ROOT, inside: bool = True
) -> subprocess.CompletedProcess[str]:
    """Like `start`, to the end."""
    return start(script, *arguments, cwd=cwd, inside=inside).wait()


def trainer_python() -> str:
    """A Python whose `-m jobs.training RUN_DIR`, or `--merge`, is a fork with the libraries loaded, with all that a
    caller sees of a trainer: its command line, its signals and exit code, its output. Everything else is as ever."""
    _process, directory = _server()
    python = Path(directory, "python")
    if not python.exists():
        module = Path(directory, "instead", "jobs", "training.py")
        module.parent.mkdir(parents=True)
        shutil.copy(ROOT / "tests" / "forked_trainer.py", module)
        python.write_text(
            "#!/bin/sh\n"
            'case "$2 $3" in "jobs.training "[!-]*|"jobs.training --merge") export PYTHONSAFEPATH=1 '
            f"PYTHONPATH={directory}/instead FORKS={directory}/socket;; esac\n"
            f'exec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
    return str(python)


@functools.cache
def _server() -> tuple[subprocess.Popen[str], str]:
    directory = tempfile.TemporaryDirectory(prefix="jingtiao-forks-")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory.name}/socket")
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[listener.fileno()],
        )

    def stop() -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()  # the end of its work
        process.stdout.close()
        process.wait(timeout=60)
        directory.cleanup()

    atexit.register(stop)
    return process, directory.name


def _answer() -> int:
    server, _directory = _server()
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line, "the process with the libraries has ended"
    return int(line)


# --- The process with the libraries -------------------------------------------------------------------------


def serve() -> None:
    """Forks for each line of its input, an order, which it answers with the process number and later the exit code;
    and for each connection of a forked_trainer.py, which it answers alike."""
    sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests"))]
    listener = socket.socket(fileno=int(sys.argv.pop()))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not answer for us
    # peft loads the last one for every adapter, where it is installed: a second of a core.
    for name in (*LIBRARIES, *(["bitsandbytes"] if importlib.util.find_spec("bitsandbytes") else [])):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the trainers' collections need not look at the libraries' objects: 0.4 s each
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _events in selector.select():
            if key.fileobj is sys.stdin:
                line = sys.stdin.readline()
                if not line:
                    return
                answer, pid = answers, os.fork()
                if pid == 0:
                    selector.close()
                    _carry_out(json.loads(line))
            elif key.fileobj is listener:
                connection, _address = listener.accept()
                answer, pid = connection.makefile("w"), os.fork()
                if pid == 0:
                    selector.close()
                    _carry_out_for(connection)
                connection.close()
            else:
                pid, answer = key.data
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _say(answer, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                if answer is not answers:
                    with suppress(OSError):
                        answer.close()
                continue
            _say(answer, pid)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answer))


def _say(answer: TextIO, number: int) -> None:
    with suppress(BrokenPipeError):  # whoever asked has been killed
        print(number, file=answer, flush=True)


def _carry_out(order: dict[str, Any]) -> NoReturn:
    signal.alarm(LONGEST)  # it ends what hangs
    files = [os.open(path, os.O_RDWR) for path in (os.devnull, *order["files"])]
    path = [*sys.path, str(ROOT)] if order["inside"] else [order["cwd"], *sys.path]
    _become(files, order["cwd"], path, order["arguments"])
    _execute(order["script"])


def _carry_out_for(connection: socket.socket) -> NoReturn:
    """The trainer of somebody's RUN_DIR, with their files, directory and environment. It dies with them: the system
    tells it by SIGIO, which ends a process, when their end of the connection is closed."""
    message, files, _flags, _address = socket.recv_fds(connection, 1 << 20, 3)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) | os.O_ASYNC)
    with suppress(BlockingIOError):
        if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os._exit(1)  # closed before the signal was asked for
    order = json.loads(message)
    os.environ.clear()
    os.environ.update(order["environment"])
    _become(files, order["cwd"], [*sys.path, str(ROOT)], order["arguments"])
    _execute("import sys; from jobs.training.__main__ import main; sys.exit(main(sys.argv[1:]))")


def _become(files: list[int], cwd: str, path: list[str], arguments: list[str]) -> None:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    sys.path[:] = path
    sys.argv[1:] = arguments


def _execute(script: str) -> NoReturn:
    code: Any = 0
    try:
        exec(compile(script, "script", "exec"), {"__name__": "__main__"})  # noqa: S102
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve()
