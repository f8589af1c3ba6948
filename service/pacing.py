"""How long a function's calls take, and how many batch rows one may hold beside interactive work.

calls: rows, seconds ──the least of the last few, by size──► expected_s ──► rows_beside
"""

from __future__ import annotations

import math
from collections import deque

LATELY_CALLS = 4  # how many calls tell what the next one takes
AT_ONCE_S = 0.0005  # twice what handing a call to a thread and back costs, or thereabouts
# How long a call of batch rows may hold up interactive ones that come meanwhile: so short that it
# is made at once. A call of 1 ms goes to the thread and back, and the slowest answers took twice
# as long as with this.
BESIDE_S = AT_ONCE_S
HARDLY_LONGER = 1.25  # a call of one row takes its time; more rows may ride in it for this much


class Pace:
    """What calls of one function took, by the power of two that their rows reach."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}

    def note(self, rows: int, seconds: float) -> None:
        """A call of so many rows took so long."""
        lately = self._seconds.setdefault(rows.bit_length(), deque(maxlen=LATELY_CALLS))
        lately.append(seconds)

    def expected_s(self, rows: int) -> float:
        """Seconds that a call of so many rows is expected to take; infinite where none was made.

        The least of the last few: what else the machine does now and then is not the call's.
        """
        return min(self._seconds.get(rows.bit_length(), ()), default=math.inf)

    def rows_beside(self, most: int) -> int:
        """Batch rows of a call that interactive ones may have to wait for; at least one.

        As many as take no longer than `BESIDE_S`, or hardly longer than one row does, as on a GPU.
        A call of a size that was not tried is taken to last twice as long as one of half.
        """
        room, size, expected_s = 1, 2, self.expected_s(1)
        limit_s = max(BESIDE_S, HARDLY_LONGER * expected_s) if math.isfinite(expected_s) else 0.0
        while size <= most:
            expected_s = min(self.expected_s(size), 2 * expected_s)
            if expected_s <= limit_s:
                room = size
            size *= 2
        return room
