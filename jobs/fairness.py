"""In which order waiting runs get their turn. Plain functions over what queueing.py reads from the database.

Normal runs before idle ones, then by priority. Among equal ones the workspace goes first that holds the fewest
devices of the pool, then the run that was submitted first. Within a workspace the order of submission is kept,
so that a large run is not overtaken for ever by small ones of its workspace; and a run whose turn it is waits for its
devices, and nobody after it starts meanwhile.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from typing import NamedTuple


class Waiter(NamedTuple):
    """A run that waits."""

    pk: int
    workspace: int
    idle: bool
    priority: int
    created_at: datetime
    devices: int


def rank(waiter: Waiter) -> tuple[bool, int]:
    """What comes before fairness."""
    return waiter.idle, -waiter.priority


def turns(
    waiters: Iterable[Waiter], held: Mapping[int, int], room: Mapping[int, int | None]
) -> Iterator[Waiter]:
    """The runs in the order in which they start, each as though those before it had started.

    `held` are the devices that each workspace holds, `room` how many of its runs may start (absent or None: any
    number). Runs beyond it are passed over.
    """
    holding, starts = defaultdict(int, held), defaultdict[int, int](int)

    def may_start(workspace: int) -> bool:
        most = room.get(workspace)
        return most is None or starts[workspace] < most

    for _rank, same in groupby(sorted(waiters, key=rank), key=rank):
        lines: dict[int, list[Waiter]] = defaultdict(list)
        for waiter in sorted(same, key=lambda item: (item.created_at, item.pk), reverse=True):
            lines[waiter.workspace].append(waiter)

        def entry(workspace: int) -> tuple[int, datetime, int, int]:
            first = lines[workspace][-1]  # noqa: B023 -- used within this turn of the loop alone
            return holding[workspace], first.created_at, first.pk, workspace

        heap = [entry(workspace) for workspace in lines if may_start(workspace)]
        heapq.heapify(heap)
        while heap:
            workspace = heapq.heappop(heap)[-1]
            waiter = lines[workspace].pop()
            yield waiter
            holding[workspace] += waiter.devices
            starts[workspace] += 1
            if lines[workspace] and may_start(workspace):
                heapq.heappush(heap, entry(workspace))
