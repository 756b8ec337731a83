"""Instead of the module `jobs.training`, for tests: asks the process of tests/forks.py for a fork that is the trainer
of the run directory, hands on the signals that it gets, and ends as the fork ends. Killed, it takes the fork with it.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path


def main() -> int:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONSAFEPATH", "PYTHONPATH", "FORKS")
    }
    order = {"arguments": sys.argv[1:], "cwd": str(Path.cwd()), "environment": environment}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until there is somebody to hand it on to
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["FORKS"])
        socket.send_fds(connection, [json.dumps(order).encode()], [0, 1, 2])
        with connection.makefile() as answers:
            pid = int(answers.readline())
            signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            code = int(answers.readline() or 1)
    if code < 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
