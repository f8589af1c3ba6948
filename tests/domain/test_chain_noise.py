"""A row is handed its own stream, sweep by sweep, whoever comes and goes beside it."""

from __future__ import annotations

from functools import cache
from itertools import islice
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract import FunctionSpec, Role
from service.domain.chain_noise import AHEAD, ChainNoise
from service.domain.randomness import RowNoise, Stream, logistic
from tests.packages import tensor

WIDTHS = (3, 2)
CAPACITY = 5
SWEEPS = 70


def step(*noises) -> FunctionSpec:
    return FunctionSpec(
        kind="step",
        file="f.onnx",
        sha256="0" * 64,
        start="start",
        readout="readout",
        inputs=(tensor("h", 1, role=Role.STATE), *noises),
        outputs=(tensor("next_h", 1, role=Role.STATE),),
    )


SPEC = step(
    tensor("for_v", WIDTHS[0], role=Role.LOGISTIC),
    tensor("for_h", WIDTHS[1], role=Role.LOGISTIC),
)


@cache
def stream(row: int) -> np.ndarray:
    """What row `row` is handed, from its first sweep on, each row of another length."""
    noise = RowNoise(seed=11, row=row, stream=Stream.SWEEP, width=sum(WIDTHS))
    return logistic(noise.take(SWEEPS - row % 7))


class Companions:
    """Rows in their places, and how many sweeps each has had."""

    def __init__(self) -> None:
        self.noise = ChainNoise(SPEC, capacity=CAPACITY)
        self.rows: list[int] = []
        self.done: list[int] = []
        self.born = 0

    def join(self) -> None:
        if len(self.rows) < CAPACITY:
            sweeps = SWEEPS - self.born % 7
            self.noise.place(len(self.rows), seed=11, row=self.born, sweeps=sweeps)
            self.rows.append(self.born)
            self.done.append(0)
            self.born += 1

    def leave(self, at: int) -> None:
        self.noise.move(len(self.rows) - 1, at)
        for places in (self.rows, self.done):
            places[at] = places[-1]
            places.pop()

    def sweep(self, among: range, count: int) -> None:
        among = among[: max(len(self.rows) - among.start, 0)]
        left = [SWEEPS - self.rows[at] % 7 - self.done[at] for at in among]
        for drawn in islice(self.noise.sweeps(among), min(count, *left) if left else 0):
            handed = np.concatenate([drawn["for_v"], drawn["for_h"]], axis=1)
            for at in among:
                expected = stream(self.rows[at])[self.done[at]]
                assert np.array_equal(handed[at - among.start], expected)
                self.done[at] += 1
        for at in range(len(self.rows) - 1, -1, -1):
            if self.done[at] == SWEEPS - self.rows[at] % 7:
                self.leave(at)


places = st.integers(0, CAPACITY - 1)
EVERYBODY = range(CAPACITY)


@settings(deadline=None)
@given(
    acts=st.lists(
        st.one_of(
            st.just(("join", range(0), 0)),
            st.tuples(st.just("leave"), st.just(range(0)), places),
            st.tuples(
                st.just("sweep"),
                st.tuples(places, places).map(lambda ends: range(min(ends), max(ends) + 1)),
                st.integers(1, 2 * AHEAD),
            ),
        ),
        max_size=40,
    ),
    looked_up=st.sampled_from([1, 12, 8192]),
)
def test_a_row_is_handed_its_own_stream_whoever_comes_goes_or_pauses(acts, looked_up):
    companions = Companions()
    ending = [("join", range(0), 0), *[("sweep", EVERYBODY, SWEEPS)] * 3]
    with patch("service.domain.chain_noise.LOOKED_UP", looked_up):
        for act, among, number in (*acts, *ending):
            if act == "join":
                companions.join()
            elif act == "sweep":
                companions.sweep(among, number)
            elif number < len(companions.rows):
                companions.leave(number)


def test_rows_draw_fewer_sweeps_ahead_where_there_are_very_many():
    with patch("service.domain.chain_noise.MOST_BYTES", 5 * 2 * CAPACITY * sum(WIDTHS)):
        few = ChainNoise(SPEC, capacity=CAPACITY)
        none = ChainNoise(SPEC, capacity=100 * CAPACITY)
    assert (len(few._integers), len(none._integers)) == (5, 1)
    for noise in (few, none):
        noise.place(0, seed=11, row=0, sweeps=20)
        handed = [drawn["for_h"][0] for drawn in islice(noise.sweeps(range(1)), 20)]
        assert np.array_equal(handed, stream(0)[:20, WIDTHS[0] :])


def test_a_row_draws_no_more_sweeps_than_it_goes():
    noise = ChainNoise(SPEC, capacity=1)
    noise.place(0, seed=11, row=0, sweeps=3)
    with patch.object(RowNoise, "take", autospec=True, side_effect=RowNoise.take) as take:
        list(islice(noise.sweeps(range(1)), 3))
    assert [asked.args[1] for asked in take.call_args_list] == [3]


def test_a_step_that_wants_no_noise_is_handed_none():
    noise = ChainNoise(step(), capacity=2)
    noise.place(0, seed=1, row=0, sweeps=5)
    assert list(islice(noise.sweeps(range(1)), 3)) == [{}, {}, {}]


def test_whole_numbers_are_handed_out_as_they_are():
    noise = ChainNoise(step(tensor("u", 4, role=Role.NOISE, dtype="uint16")), capacity=1)
    noise.place(0, seed=7, row=3, sweeps=2)
    first = next(noise.sweeps(range(1)))["u"]
    assert (first.dtype, first.tolist()) == (np.uint16, [[967, 64799, 55750, 23541]])


@pytest.mark.parametrize("rows", [1, CAPACITY])
def test_noise_inputs_lie_in_memory_as_the_runtime_takes_them(rows):
    noise = ChainNoise(SPEC, capacity=CAPACITY)
    for row in range(rows):
        noise.place(row, seed=1, row=row, sweeps=5)
    assert all(a.flags.c_contiguous for a in next(noise.sweeps(range(rows))).values())
