"""When a waiting run will start, as far as that can be known: the pool's devices are played through."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence


def seconds_until_start(
    slots: int,
    running: Iterable[tuple[int, float | None]],
    ahead: Sequence[tuple[int, float | None]],
    devices: int,
) -> float | None:
    """Seconds until a run that asks for `devices` starts, 0 for at once; None if that is unknown.

    `running` and `ahead` are (devices, seconds that it still takes) of the runs that hold devices and of those
    that start before it, in their order; None for a time that nobody knows. A run starts as soon as its devices
    are free, and not before the one ahead of it.
    """
    ends = [(math.inf if seconds is None else max(0.0, seconds), held) for held, seconds in running]
    heapq.heapify(ends)
    free = slots - sum(held for _end, held in ends)
    now = 0.0
    for wanted, seconds in [*ahead, (devices, None)]:
        if wanted > slots:
            continue  # it never starts, and blocks nobody
        while free < wanted:
            now, held = heapq.heappop(ends)
            free += held
        free -= wanted
        heapq.heappush(ends, (math.inf if seconds is None else now + seconds, wanted))
    return None if devices > slots or math.isinf(now) else now
