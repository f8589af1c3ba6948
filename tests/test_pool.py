"""The pool: particles rest between uses, and the pool rests when all are ready."""

import asyncio
import math
import random

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


class Named(Counter):
    """A step that counts sweeps, and leaves each particle its name."""

    def __call__(self, inputs):
        super().__call__(inputs)
        return {"next_h": inputs["h"] + np.array([1, 0])}


async def test_particles_rest_a_thinning_between_uses_however_many_ask_at_once():
    scheduler = ChainScheduler(
        "named", Named(), SPEC, padding=Padding((), holds=True), slots=8, max_queue_rows=100
    )

    async def start(_seed, rows, _call):
        return {"h": np.array([[0, row] for row in rows])}

    made = ChainPool(
        scheduler,
        start=start,
        energy=None,
        parameters={"beta": np.ones((ROWS, 1), np.float32)},
        rows=ROWS,
        burn_in=BURN_IN,
        thinning=THINNING,
    )
    handed = {row: [BURN_IN - THINNING] for row in range(ROWS)}

    async def ask(n):
        for age, row in (await made.take(n, call())).state["h"].tolist():
            handed[row].append(age)

    draw = random.Random(3)
    await asyncio.gather(*(ask(draw.randint(1, ROWS)) for _ in range(40)))
    assert min(len(ages) for ages in handed.values()) > 5
    for ages in handed.values():
        assert min(np.diff(ages)) >= THINNING
    await made.close()
    await scheduler.close()


async def test_rested_particles_are_handed_out_at_once_while_nothing_can_be_swept(pool):
    made, function = pool
    await until(lambda: made.ready and made._since_use.min() >= RESTED_THINNINGS * THINNING)
    function.go.clear()
    drawn = await asyncio.wait_for(made.take(ROWS, call()), 5)
    assert len(drawn.state["h"]) == ROWS
    function.go.set()


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
    assert 0 < made.split_rhat < math.inf
    assert made.ess > 0


async def test_a_pool_that_dies_is_seen(pool):
    made, _ = pool

    async def bug(_state, _call):
        raise ZeroDivisionError

    assert made.alive
    made._energy = bug
    await asyncio.wait({made._loop}, timeout=20)
    assert not made.alive


async def test_a_pool_that_is_closed_has_not_died(pool):
    made, _ = pool
    await made.close()
    assert made.alive
