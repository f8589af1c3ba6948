"""Slots: the rows of running chains, kept side by side so that one call sweeps them all.

Line ──admit──► Bank: [state and parameter arrays], one slot a row ──► traced, retired, freed

Live slots are at the front of the arrays, those of short jobs before the others, so that short rows
can be swept alone as well as with the rest. Nothing that a row is given depends on its place or its
neighbours, so its result does not either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract import FunctionSpec
from service.domain.arrays import NUMPY_DTYPES, Arrays
from service.domain.chain_noise import ChainNoise
from service.domain.waiting import Pace, in_turn
from service.jobs import Line, Ticket


@dataclass(eq=False)
class Slot:
    """One live row: how far it has come, counted from event to event.

    An event is a sweep after which the row is traced or done.
    """

    ticket: Ticket
    row: int
    done: int = 0
    traced: int = 0

    @property
    def until_event(self) -> int:
        """Sweeps from the last event to the next one."""
        trace_at = self.ticket.job.trace_at
        following = trace_at[self.traced] if self.traced < len(trace_at) else self.ticket.job.sweeps
        return following - self.done

    @property
    def after_event(self) -> int:
        """Sweeps from the next event to the last."""
        return self.ticket.job.sweeps - self.done - self.until_event

    @property
    def ended(self) -> bool:
        """Whether all of its sweeps are done."""
        return self.done == self.ticket.job.sweeps

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.ticket.future.done()


class Bank:
    """The lines and the slots of one priority: as many for short jobs as for long ones.

    A tick's sweeps are run in another thread, between `begin` and `pause`; whoever comes or goes
    meanwhile changes the lines alone.
    """

    def __init__(self, spec: FunctionSpec, *, capacity: int) -> None:
        self.capacity = capacity
        self.slots: list[Slot] = []
        self.shorts = 0  # slots of short jobs, which come first
        self.pace = Pace()  # of all rows, with the time that others take in between
        self.stalled_s = 0.0  # since the last row was swept
        self.noise = ChainNoise(spec, capacity=2 * capacity)
        self._lines = {short: Line() for short in (True, False)}
        self._states = [(old.name, new.name) for old, new in spec.state_pairs]
        self._swept = 0
        self._first_event = 0
        self._until = np.zeros(2 * capacity, np.int64)  # sweeps until each row's next event
        self._arrays: Arrays = {
            t.name: np.zeros((2 * capacity, *t.row_shape), NUMPY_DTYPES[t.dtype])
            for t in spec.inputs
            if t not in spec.noises
        }

    @property
    def queued_rows(self) -> int:
        """Rows that have no slot yet."""
        return sum(line.rows for line in self._lines.values())

    @property
    def tickets(self) -> set[Ticket]:
        """The jobs that have rows in slots or in line."""
        return {slot.ticket for slot in self.slots}.union(
            *(line.tickets for line in self._lines.values())
        )

    def live(self, *, short: bool) -> int:
        """Slots in use by jobs of one kind."""
        return self.shorts if short else len(self.slots) - self.shorts

    def has_room(self, rows: int, *, short: bool) -> bool:
        """Whether so many more rows would find free slots."""
        return self.live(short=short) + self._lines[short].rows + rows <= self.capacity

    def in_turn(self, *, short: bool) -> tuple[list[float], list[float]]:
        """(sweeps until each slot is free of all that is here, until each queued row begins)."""
        rows = slice(0, self.shorts) if short else slice(self.shorts, len(self.slots))
        under_way = 1.0  # who comes, or goes, waits for the end of a sweep
        left = [
            under_way if slot.abandoned else float(slot.after_event + until)
            for slot, until in zip(self.slots[rows], self._until[rows].tolist(), strict=True)
        ]
        empty = [under_way if left else 0.0] * (self.capacity - len(left))
        return in_turn(
            left + empty, ((t.waiting, t.job.sweeps) for t in self._lines[short].tickets)
        )

    def enqueue(self, ticket: Ticket) -> None:
        """Wait for slots."""
        self._lines[ticket.job.short].put(ticket)

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for it: its rows leave the line now, and their slots before a sweep."""
        self._lines[ticket.job.short].withdraw(ticket)

    def drop_abandoned(self) -> None:
        """Rows in slots that nobody waits for any more leave."""
        for at in range(len(self.slots) - 1, -1, -1):
            if self.slots[at].abandoned:
                self._vacate(at)

    def admit(self) -> None:
        """Fill free slots from the lines; a large job may enter in parts."""
        for short, line in self._lines.items():
            while line.tickets and self.live(short=short) < self.capacity:
                ticket, rows = line.take(self.capacity - self.live(short=short))
                self._place(ticket, rows, self._gap(rows) if short else len(self.slots))

    def rows_of(self, ticket: Ticket, among: range) -> NDArray[np.intp]:
        """The places of a job's rows, counted from the start of `among`."""
        slots = self.slots[among.start : among.stop]
        return np.array([i for i, slot in enumerate(slots) if slot.ticket is ticket], np.intp)

    def begin(self, rows: range) -> Arrays:
        """What every sweep of these rows is fed besides noise: views, states among them."""
        self._swept = 0
        self._first_event = int(self._until[rows.start : rows.stop].min())
        return {name: array[rows.start : rows.stop] for name, array in self._arrays.items()}

    def keep(self, states: Arrays, outputs: Arrays, rows: slice | NDArray[np.intp]) -> None:
        """Of the views that `begin` gave, write the states that a sweep made of some rows."""
        for old, new in self._states:
            states[old][rows] = outputs[new]

    @property
    def until_event(self) -> int:
        """Sweeps until the first of the rows that are swept is traced or done."""
        return self._first_event - self._swept

    def advance(self, rows: range, sweeps: int) -> bool:
        """Count sweeps, and keep the states that are traced after them; whether a row is done."""
        self._swept += sweeps
        if self._swept < self._first_event:
            return False
        self.pause(rows)
        until = self._until[rows.start : rows.stop]
        ended = False
        for at in (rows.start + np.flatnonzero(until == 0)).tolist():
            slot = self.slots[at]
            slot.done += slot.until_event
            self._trace(slot, at)
            ended |= slot.ended
            self._until[at] = slot.until_event
        self._first_event = int(until.min())
        return ended

    def pause(self, rows: range) -> None:
        """The end of a tick: note how many sweeps these rows have had."""
        self._until[rows.start : rows.stop] -= self._swept
        self._swept = 0

    def retire(self) -> None:
        """Rows that are done leave, and the last one of a job answers its caller."""
        for at in range(len(self.slots) - 1, -1, -1):
            slot = self.slots[at]
            if slot.ended:
                for name, _ in self._states:
                    slot.ticket.outcome.state[name][slot.row] = self._arrays[name][at]
                slot.ticket.retire()
                self._vacate(at)

    def _trace(self, slot: Slot, at: int) -> None:
        if slot.traced < len(slot.ticket.job.trace_at):
            for name, _ in self._states:
                slot.ticket.outcome.traces[name][slot.traced, slot.row] = self._arrays[name][at]
            slot.traced += 1

    def _gap(self, rows: slice) -> int:
        """Free places behind the short rows: the long rows that stand there move to the end."""
        at, live, count = self.shorts, len(self.slots), rows.stop - rows.start
        moving = min(count, live - at)
        end = max(live, at + count)
        for i in range(moving):
            self._move(at + i, end + i)
        self.slots = self.slots[:at] + self.slots[at + moving :] + self.slots[at : at + moving]
        self.shorts += count
        return at

    def _place(self, ticket: Ticket, rows: slice, at: int) -> None:
        """These rows of a job get the slots from `at` on."""
        job, count = ticket.job, rows.stop - rows.start
        places = slice(at, at + count)
        for name, array in (*job.state.items(), *job.parameters.items()):
            self._arrays[name][places] = array[rows]
        slots = [Slot(ticket, row) for row in range(rows.start, rows.stop)]
        self.slots[at:at] = slots
        self._until[places] = slots[0].until_event
        for place, row in enumerate(job.rows[rows], start=at):
            self.noise.place(place, seed=job.seed, row=row, sweeps=job.sweeps)

    def _vacate(self, at: int) -> None:
        """The last short row takes the place of a short one, and the last row of all that of it."""
        if at < self.shorts:
            self.shorts -= 1
            self._move(self.shorts, at)
            self.slots[at] = self.slots[self.shorts]
            at = self.shorts
        last = len(self.slots) - 1
        self._move(last, at)
        self.slots[at] = self.slots[last]
        self.slots.pop()

    def _move(self, source: int, to: int) -> None:
        if source != to:
            for array in (*self._arrays.values(), self._until):
                array[to] = array[source]
            self.noise.move(source, to)
