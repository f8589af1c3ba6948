"""When do rows get slots, and when are they done? First come, first served, counted in sweeps.

sweeps left in each slot, (rows, sweeps) of each job in the queue ──► when each slot is free of them
one more job ──► when it is done, and how long to wait until that is soon enough
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heapreplace

MAX_LOOKS = 16  # each costs some ten microseconds, on the event loop


class Pace:
    """Seconds a sweep takes by the number of rows, to a power of two, as running averages."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        """A sweep of so many rows has just taken so long."""
        size = rows.bit_length()
        self._seconds[size] = 0.8 * self._seconds.get(size, seconds) + 0.2 * seconds

    def knows(self, rows: int) -> bool:
        """Whether about so many rows were ever swept."""
        return rows.bit_length() in self._seconds

    def of(self, rows: int) -> float:
        """By the nearest number of rows that was seen; 0 before any was.

        More rows than were ever seen are taken to cost no more: work is refused on evidence alone.
        """
        if not self._seconds:
            return 0.0
        size = rows.bit_length()
        return self._seconds[min(self._seconds, key=lambda seen: abs(seen - size))]


def in_turn(
    left: Iterable[float], jobs: Iterable[tuple[int, int]]
) -> tuple[list[float], list[float]]:
    """(sweeps until each slot is free of the jobs, sweeps until each of their rows begins).

    Args:
        left: sweeps until each slot is free of its own row; 0 for an empty slot.
        jobs: (rows, sweeps a row) of each job, in the order of the queue.
    """
    free = list(left)
    heapify(free)
    begins = [heapreplace(free, free[0] + sweeps) for rows, sweeps in jobs for _ in range(rows)]
    return free, begins


def done_after(free: Sequence[float], *, rows: int, sweeps: int, waited: float = 0.0) -> float:
    """Sweeps until the last of `rows` rows is done, for a job that comes `waited` sweeps from now.

    `free` says when each slot is free of all that came before. While any is not, a sweep is under
    way, and whoever comes waits for its end.
    """
    under_way = 1.0 if waited < max(free) else 0.0
    _, begins = in_turn((max(f - waited, under_way) for f in free), [(rows, sweeps)])
    return begins[-1] + sweeps


def soonest(free: Sequence[float], *, rows: int, sweeps: int, within: float) -> float:
    """How many sweeps to wait before a job that comes then is done `within` so many of its coming.

    At the latest when its rows find slots at once, since waiting longer makes nothing better. What
    is found is no more than one sweep too long where a few looks find it, which is nearly always.
    """
    at_once = sorted(free)[min(rows, len(free)) - 1]
    waited = 0.0
    for _ in range(MAX_LOOKS):
        late = done_after(free, rows=rows, sweeps=sweeps, waited=waited) - within
        if late <= 0.0 or waited >= at_once:
            return waited
        waited = min(waited + max(late, 1.0), at_once)
    return at_once
