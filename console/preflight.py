"""Checks that a machine can run the console, before anything is installed: one clear line for each obstacle.

Run by `make` as a plain script; standard library only, any Python 3.
"""

import argparse
import os
import shutil
import sys

MINIMUM_PYTHON = (3, 11)
# The virtual environment with the CPU build of torch takes about 2 GB, with the CUDA build about 6 GB.
INSTALL_BYTES = 3 * 1024**3


def obstacles(install: bool) -> list:
    """Returns what stands in the way, each as a sentence that says what to do."""
    found = []
    if sys.version_info < MINIMUM_PYTHON:
        found.append(
            "Python %d.%d or newer is needed, this is %s. Try: make PYTHON=python3.11"
            % (*MINIMUM_PYTHON, sys.version.split()[0])
        )
    if not os.access(".", os.W_OK):
        found.append("This directory cannot be written to: " + os.getcwd())  # noqa: PTH109
    free = shutil.disk_usage(".").free
    if install and free < INSTALL_BYTES:
        found.append(
            "The disk is nearly full: %.1f GB free, about %.0f GB are needed for the installation."
            % (free / 1024**3, INSTALL_BYTES / 1024**3)
        )
    if install:
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError:
            found.append("Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--install", action="store_true", help="also check what the installation needs")
    lines = obstacles(parser.parse_args().install)
    for line in lines:
        print("error: " + line, file=sys.stderr)
    sys.exit(1 if lines else 0)
