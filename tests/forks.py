"""Processes that have the training libraries loaded from their first moment.

Loading torch, transformers, trl and diffusers takes up to ten seconds of a core. One process for each pytest process
loads the public libraries, and nothing of this project; each script of a test runs in a fork of it: a process of its
own with its own memory, signals, exit code and output.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

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


@functools.cache
def _server() -> tuple[subprocess.Popen[str], str]:
    directory = tempfile.TemporaryDirectory(prefix="jingtiao-forks-")
    process = subprocess.Popen(
        [sys.executable, __file__], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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
    """An order a line: forks, answers with the process number, waits, answers with the exit code."""
    sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests"))]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not answer for us
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            answers.close()
            _carry_out(json.loads(line))
        print(pid, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)


def _carry_out(order: dict[str, Any]) -> NoReturn:
    signal.alarm(LONGEST)  # it ends what hangs
    for number, path in enumerate((os.devnull, *order["files"])):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)
    os.chdir(order["cwd"])
    sys.path[:] = [*sys.path, str(ROOT)] if order["inside"] else [order["cwd"], *sys.path]
    sys.argv[1:] = order["arguments"]
    code: Any = 0
    try:
        exec(compile(order["script"], "script", "exec"), {"__name__": "__main__"})  # noqa: S102
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
