"""Several processes that train one run together (DDP): one for each device, all on this machine.

The process that was started for the run starts the others by torch's environment contract (RANK, WORLD_SIZE,
MASTER_ADDR, MASTER_PORT), hands on SIGTERM, and ends them all when one has died. torchrun's agent would do the same,
but gives its workers 30 s to save after a SIGTERM and costs an import of torch; `torchrun -m jobs.training RUN_DIR`
by hand works as well. Rank 0 holds the lock, writes events, checkpoints and output; the others only compute.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jobs.training.stopping import Stop

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 10.0  # for the others after one has ended
LAST_WORDS_SECONDS = (
    3.0  # for rank 0 to report what another rank has failed with, which it mostly meets itself
)
FAILED = 1  # exit code of a rank that has found something wrong


class Silent:
    """The events of a rank that reports nothing."""

    attempt = 0

    def write(self, type: str, **fields: Any) -> None: ...

    def warn(self, code: str, message: str, **params: Any) -> None: ...

    def close(self) -> None: ...


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def train_together(run_dir: Path, processes: int, threads: int | None, stop: Stop) -> int:
    """Start the ranks of a run and wait for them; the exit code of rank 0, or of the one that failed first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads or max(1, (os.cpu_count() or 1) // processes)),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "jobs.training", str(run_dir)],
            env={**shared, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=None if number == 0 else subprocess.DEVNULL,
        )
        for number in range(processes)
    ]
    asked, ended_at = False, None
    while any(child.poll() is None for child in children):
        if stop.requested and not asked:
            asked = True
            for child in children:
                child.terminate()
        if any(child.poll() for child in children) or children[0].poll() is not None:
            ended_at = ended_at or time.monotonic()
            waited = time.monotonic() - ended_at
            codes = {child.poll() for child in children} - {None, 0}
            if waited > (LAST_WORDS_SECONDS if codes == {FAILED} else 0 if codes else PATIENCE_SECONDS):
                for child in children:
                    child.kill()  # they would wait for the one that is gone
        time.sleep(POLL_SECONDS)
    return next((child.returncode for child in children if child.returncode > 0), children[0].returncode)
