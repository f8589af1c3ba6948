"""One tick of a bank's chains: sweep, sweep, … in the worker thread, until the tick is over.

Bank.begin ──► views of rows + noise ──step function──► states ──► Bank.advance ──► … ──► Bank.pause

A tick lasts until a row is done, until `Sweeper.end` is set, because somebody comes for whom there
is room, or goes, or until `TICK_S` is over. Handing over to the thread and back costs as much as
some sweeps of one row, so ticks are long; and whoever comes waits for the sweep that is under way,
not for the tick.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import structlog
from numpy.typing import NDArray

from service.domain.arrays import Arrays
from service.invariance import MapFunction
from service.jobs import Ticket
from service.slots import Bank

log = structlog.get_logger(__name__)

TICK_S = 0.005

Iterate = Callable[[Arrays, Iterable[Arrays]], Arrays]  # inputs, noise of each sweep ──► states


@dataclass
class Tick:
    """What came of one tick; `failures` are jobs with a row that fails alone, and the errors."""

    began: float
    sweeps: int = 0
    seconds: float = 0.0
    row_ended: bool = False
    failures: dict[Ticket, Exception] = field(default_factory=dict)


class Sweeper:
    """Sweeps banks, in whatever thread it is called."""

    def __init__(self, function: MapFunction, *, clock: Callable[[], float]) -> None:
        """`function` runs one sweep; `clock` says, in seconds, how long sweeps take."""
        self.end = threading.Event()
        self._function = function
        self._clock = clock

    def tick(self, bank: Bank, rows: range) -> Tick:
        """Sweep these rows of a bank until the tick is over, once at least."""
        tick = Tick(began=self._clock())
        views, noises = bank.begin(rows), bank.noise.sweeps(rows)
        while not (self._over(tick) or tick.row_ended or tick.failures):
            swept = self._go_on(bank, rows, views, noises, tick)
            tick.sweeps += swept
            tick.row_ended = bank.advance(rows, swept)
            tick.seconds = self._clock() - tick.began
        bank.pause(rows)
        return tick

    def _over(self, tick: Tick) -> bool:
        return tick.sweeps > 0 and (tick.seconds >= TICK_S or self.end.is_set())

    def _go_on(
        self, bank: Bank, rows: range, views: Arrays, noises: Iterator[Arrays], tick: Tick
    ) -> int:
        """Sweep on, as far as the next row to be traced or done at most; how many sweeps."""
        tick.failures |= self._sweep(bank, rows, views, next(noises))
        return 1

    def _sweep(
        self, bank: Bank, rows: range, views: Arrays, noise: Arrays
    ) -> dict[Ticket, Exception]:
        """One sweep of these rows.

        When it fails, it is tried on fewer rows at a time; a job that has a row which fails alone
        is returned, and the others go on as if nothing had been.
        """
        try:
            bank.keep(views, self._function(views | noise), slice(None))
        except Exception:  # noqa: BLE001  whatever the runtime raises, find whose rows it was
            tickets = {slot.ticket for slot in bank.slots[rows.start : rows.stop]}
            tried = {
                ticket: self._sweep_some(bank, views, noise, bank.rows_of(ticket, rows))
                for ticket in tickets
            }
            return {ticket: error for ticket, error in tried.items() if error is not None}
        return {}

    def _sweep_some(
        self, bank: Bank, views: Arrays, noise: Arrays, some: NDArray[np.intp]
    ) -> Exception | None:
        """One sweep of one job's rows, halved until it fits; the error if a row fails alone."""
        try:
            inputs = {name: array[some] for name, array in (views | noise).items()}
            bank.keep(views, self._function(inputs), some)
        except Exception as error:  # noqa: BLE001  as above
            if len(some) == 1:
                return error
            middle = len(some) // 2
            return self._sweep_some(bank, views, noise, some[:middle]) or self._sweep_some(
                bank, views, noise, some[middle:]
            )
        return None


class ResidentSweeper(Sweeper):
    """Runs many sweeps with the states on the device, where they stay from one to the next."""

    def __init__(
        self, function: MapFunction, iterate: Iterate, *, clock: Callable[[], float]
    ) -> None:
        """`iterate` runs a sweep for each noise, and asks for the next when the last has run."""
        super().__init__(function, clock=clock)
        self._iterate = iterate

    def _go_on(
        self, bank: Bank, rows: range, views: Arrays, noises: Iterator[Arrays], tick: Tick
    ) -> int:
        """As many sweeps as fit; when the device fails, they are gone through one by one."""
        seen: list[Arrays] = []

        def until_over() -> Iterator[Arrays]:
            for noise in islice(noises, bank.until_event):
                seen.append(noise)
                yield noise
                if self._clock() - tick.began >= TICK_S or self.end.is_set():
                    return

        try:
            bank.keep(views, self._iterate(views, until_over()), slice(None))
        except Exception as error:  # whatever it is, single sweeps will tell whose rows
            log.warning("sweeping_one_by_one", exc_info=error)
            for noise in seen or islice(noises, 1):
                tick.failures |= self._sweep(bank, rows, views, noise)
        return max(len(seen), 1)
