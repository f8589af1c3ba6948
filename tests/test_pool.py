"""The pool: particles rest between uses, and the pool rests when all are ready."""

import asyncio

import numpy as np
import pytest

from service.chains import ChainScheduler
from service.errors import DeadlineExceeded
from service.invariance import Padding
from service.pool import RESTED_THINNINGS, ChainPool
from service.queries import Call
from tests.test_chains import SPEC, Counter, until

ROWS, BURN_IN, THINNING = 6, 40, 8


@pytest.fixture
async def pool():
    function = Counter()
    scheduler = ChainScheduler(
        "count", function, SPEC, padding=Padding((), holds=True), slots=8, max_queue_rows=100
    )

    async def start(_seed, rows, _call):
        return {"h": np.zeros((len(rows), 2), np.int64)}

    async def energy(state, _call):
        return (state["h"][:, 1] % 97).astype(np.float64)

    made = ChainPool(
        scheduler,
        start=start,
        energy=energy,
        parameters={"beta": np.ones((ROWS, 1), np.float32)},
        rows=ROWS,
        burn_in=BURN_IN,
        thinning=THINNING,
    )
    yield made, function
    await made.close()
    await scheduler.close()


def call(seconds=20.0):
    return Call.lasting(seconds)


async def test_nothing_is_handed_out_before_the_burn_in(pool):
    made, _ = pool
    drawn = await made.take(2, call())
    assert drawn.age_sweeps >= BURN_IN
    assert (drawn.state["h"][:, 0] == drawn.age_sweeps).all()


async def test_a_particle_is_not_handed_out_again_before_it_has_rested(pool):
    made, _ = pool
    ages = [(await made.take(ROWS, call())).age_sweeps for _ in range(4)]
    assert (np.diff(ages) >= THINNING).all()


async def test_others_are_handed_out_while_some_rest(pool):
    made, _ = pool
    first = await made.take(ROWS // 2, call())
    second = await made.take(ROWS // 2, call())
    assert second.age_sweeps == first.age_sweeps
    assert not (first.state["h"][:, 1:] == second.state["h"][:, 1:]).any()


async def test_the_pool_rests_once_every_particle_is_ready(pool):
    made, function = pool
    await until(lambda: made.ready and made._since_use.min() >= RESTED_THINNINGS * THINNING)
    swept = len(function.sizes)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(function.sizes) == swept
    await made.take(1, call())
    await until(lambda: len(function.sizes) > swept)


async def test_asking_for_more_than_rest_in_time_is_a_deadline(pool):
    made, function = pool
    await made.take(ROWS, call())
    function.go.clear()
    with pytest.raises(DeadlineExceeded, match="rested in time"):
        await made.take(1, call(seconds=0.02))
    function.go.set()


async def test_mixing_is_known_once_there_are_a_few_rounds(pool):
    made, _ = pool
    for _ in range(8):
        await made.take(ROWS, call())
    assert made.split_rhat > 0
    assert made.ess > 0
