"""Forecasts of a queue agree with a simulation, sweep by sweep."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.domain.waiting import done_after, in_turn, soonest

slots = st.lists(st.integers(0, 12), min_size=1, max_size=4)
jobs = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), max_size=4)


def simulated(left: list[int], queue: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """(when each slot is free of all, when each row begins), by running the sweeps one by one."""
    running, waiting = list(left), deque(s for rows, s in queue for _ in range(rows))
    free, begins, now = [0] * len(left), [], 0
    while waiting or any(running):
        for at, sweeps in enumerate(running):
            if not sweeps and waiting:
                begins.append(now)
                running[at] = waiting.popleft()
        now += 1
        free = [now if sweeps else f for sweeps, f in zip(running, free, strict=True)]
        running = [max(sweeps - 1, 0) for sweeps in running]
    return free, begins


@given(left=slots, queue=jobs)
def test_rows_begin_when_a_slot_is_free_and_not_before_their_turn(left, queue):
    free, begins = in_turn([float(k) for k in left], queue)
    assert (sorted(free), begins) == (sorted(simulated(left, queue)[0]), simulated(left, queue)[1])


@given(left=slots, queue=jobs, rows=st.integers(1, 6), sweeps=st.integers(1, 9))
def test_a_job_is_done_when_a_simulation_ends_it(left, queue, rows, sweeps):
    free, _ = in_turn([float(k) for k in left], queue)
    under_way = min(max(simulated(left, queue)[0]), 1)
    begins = simulated([max(int(f), under_way) for f in free], [(rows, sweeps)])[1]
    assert done_after(free, rows=rows, sweeps=sweeps) == begins[-1] + sweeps


@given(
    left=slots, queue=jobs, rows=st.integers(1, 6), sweeps=st.integers(1, 9),
    within=st.integers(1, 60),
)  # fmt: skip
def test_the_time_to_come_back_is_right(left, queue, rows, sweeps, within):
    """Who comes then is in time, or finds slots at once; who comes a sweep earlier does not."""
    free, _ = in_turn([float(k) for k in left], queue)
    wait = soonest(free, rows=rows, sweeps=sweeps, within=float(within))

    def welcome(waited: float) -> bool:
        in_time = done_after(free, rows=rows, sweeps=sweeps, waited=waited) <= within
        return in_time or sum(f <= waited for f in free) >= min(rows, len(free))

    assert welcome(wait)
    assume(wait >= 1)
    assert not welcome(wait - 1)


def test_a_job_that_finds_its_own_rows_in_the_way_waits_for_the_slot_that_is_busy():
    free = [0.0, 100.0]
    assert done_after(free, rows=2, sweeps=60) == 121
    assert soonest(free, rows=2, sweeps=60, within=110.0) == 50


@pytest.mark.parametrize("within", [0.5, 3.0])
def test_what_no_wait_can_help_waits_for_nothing(within):
    assert soonest([0.0, 0.0], rows=9, sweeps=100, within=within) == 0
