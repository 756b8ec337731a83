"""A run is stopped by SIGTERM: the step in progress is finished, a checkpoint written, then the process ends."""

import signal
from types import FrameType


class StopRequestedError(Exception):
    """Raised between two phases when the run was asked to stop; nothing has to be saved there."""


class Stop:
    """Whether the process was asked to stop. Installs itself for SIGTERM and SIGINT (Ctrl-C by hand)."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            print(f"{signal.Signals(number).name}: stopping after this step", flush=True)
        self.requested = True

    def check(self) -> None:
        """Raise StopRequestedError if a stop was asked for."""
        if self.requested:
            raise StopRequestedError
