"""Continuous batching: rows join and leave between sweeps, and nothing else can be told."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.chains import ChainJob, ChainScheduler
from service.contract import FunctionSpec, Role, TensorSpec
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.invariance import Padding
from service.queries import Call

SPEC = FunctionSpec(
    kind="step",
    file="step.onnx",
    sha256="0" * 64,
    start="start",
    readout="readout",
    exact=True,
    inputs=(
        TensorSpec(name="h", dtype="int64", shape=("n", 2), role=Role.STATE),
        TensorSpec(name="noise", dtype="uint16", shape=("n", 3), role=Role.NOISE),
        TensorSpec(name="beta", dtype="float32", shape=("n", 1), role=Role.BETA),
    ),
    outputs=(TensorSpec(name="next_h", dtype="int64", shape=("n", 2), role=Role.STATE),),
)


class Counter:
    """A step whose state remembers everything it was ever fed: a sweep count and a hash."""

    def __init__(self):
        self.sizes = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs):
        assert self.go.wait(10)
        h, noise = inputs["h"], inputs["noise"].astype(np.int64)
        self.sizes.append(len(h))
        if (inputs["beta"] < 0).any():
            raise RuntimeError("negative temperature")
        mixed = h[:, 1] * 31 + noise @ np.array([1, 7, 49]) + inputs["beta"][:, 0].astype(int)
        return {"next_h": np.stack([h[:, 0] + 1, mixed % 1_000_003], axis=1)}


def job(*, rows=1, sweeps=5, seed=0, beta=1.0, trace_at=()):
    return ChainJob(
        state={"h": np.zeros((rows, 2), np.int64)},
        parameters={"beta": np.full((rows, 1), beta, np.float32)},
        sweeps=sweeps,
        seed=seed,
        rows=tuple(range(rows)),
        trace_at=trace_at,
    )


def scheduler(function, *, slots=8, max_queue_rows=1000):
    return ChainScheduler(
        "count", function, SPEC, padding=Padding((), holds=True), slots=slots,
        max_queue_rows=max_queue_rows,
    )  # fmt: skip


@pytest.fixture
async def chains():
    function = Counter()
    made = scheduler(function)
    yield made, function
    function.go.set()
    await made.close()


def call(seconds=30.0, priority="interactive"):
    return Call.lasting(seconds, priority)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def test_every_row_runs_exactly_its_own_number_of_sweeps(chains):
    made, _ = chains
    lengths = (1, 3, 50, 7)
    outcomes = await asyncio.gather(*(made.submit(job(sweeps=k), call()) for k in lengths))
    assert [int(o.state["h"][0, 0]) for o in outcomes] == list(lengths)


async def test_no_sweeps_give_the_state_that_came_in(chains):
    made, function = chains
    outcome = await made.submit(job(sweeps=0), call())
    assert outcome.state["h"].tolist() == [[0, 0]]
    assert function.sizes == []


async def test_a_short_request_does_not_wait_for_a_long_one(chains):
    made, function = chains
    long = asyncio.create_task(made.submit(job(sweeps=100_000), call()))
    await until(lambda: function.sizes)
    await made.submit(job(sweeps=5), call())
    assert not long.done()
    assert made.running_rows == 1
    long.cancel()


async def test_cancelled_rows_leave_within_a_tick(chains):
    made, function = chains
    doomed = asyncio.create_task(made.submit(job(rows=4, sweeps=100_000), call()))
    await until(lambda: made.running_rows == 4)
    doomed.cancel()
    outcome = await made.submit(job(sweeps=20), call())
    assert outcome.state["h"][0, 0] == 20
    assert made.running_rows == 0


async def test_more_rows_than_slots_enter_as_others_leave(chains):
    made, function = chains
    outcome = await made.submit(job(rows=30, sweeps=6), call())
    assert outcome.state["h"][:, 0].tolist() == [6] * 30
    assert max(function.sizes) == 8


async def test_traced_states_are_those_after_exactly_those_sweeps(chains):
    made, _ = chains
    traced = await made.submit(job(rows=3, sweeps=40, seed=4, trace_at=(5, 17, 40)), call())
    assert traced.traces["h"][:, :, 0].tolist() == [[5] * 3, [17] * 3, [40] * 3]
    alone = await made.submit(job(rows=3, sweeps=17, seed=4), call())
    assert np.array_equal(traced.traces["h"][1], alone.state["h"])


async def test_a_failing_step_fails_the_rows_in_slots_and_the_loop_lives(chains):
    made, _ = chains
    with pytest.raises(ComputeFailed):
        await made.submit(job(beta=-1.0), call())
    assert (await made.submit(job(sweeps=2), call())).state["h"][0, 0] == 2
    assert made.alive


async def test_a_failing_row_does_not_fail_its_neighbours(chains):
    made, function = chains
    good = asyncio.create_task(made.submit(job(rows=2, sweeps=3000, seed=9), call()))
    await until(lambda: made.running_rows == 2)
    with pytest.raises(ComputeFailed):
        await made.submit(job(beta=-1.0), call())
    alone = await made.submit(job(rows=2, sweeps=3000, seed=9), call())
    assert np.array_equal((await good).state["h"], alone.state["h"])


async def test_a_deadline_ends_a_chain_in_mid_flight(chains):
    made, _ = chains
    with pytest.raises(DeadlineExceeded, match="X-Timeout-Ms"):
        await made.submit(job(sweeps=10**9), call(seconds=0.05))
    await made.submit(job(sweeps=1), call())
    assert made.running_rows == 0


async def test_a_full_queue_refuses():
    function = Counter()
    made = scheduler(function, slots=1, max_queue_rows=3)
    function.go.clear()
    tasks = [asyncio.create_task(made.submit(job(rows=2, sweeps=3), call()))]
    await until(lambda: made.running_rows == 1)
    tasks.append(asyncio.create_task(made.submit(job(rows=2, sweeps=3), call())))
    await until(lambda: made.queued_rows == 3)
    with pytest.raises(Overloaded):
        await made.submit(job(), call())
    function.go.set()
    await asyncio.gather(*tasks)
    await made.close()


async def test_closing_resolves_every_future():
    function = Counter()
    made = scheduler(function, slots=2)
    tasks = [asyncio.create_task(made.submit(job(sweeps=10**9), call())) for _ in range(5)]
    await until(lambda: made.running_rows == 2)
    await made.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, NotReady) for r in results)


async def test_a_step_too_large_for_memory_is_tried_on_fewer_rows():
    step = Counter()

    def small_memory(inputs):
        if len(inputs["h"]) > 3:
            raise MemoryError
        return step(inputs)

    made, plenty = scheduler(small_memory), scheduler(Counter())
    asked = job(rows=8, sweeps=5, seed=3)
    tight, roomy = await made.submit(asked, call()), await plenty.submit(asked, call())
    assert np.array_equal(tight.state["h"], roomy.state["h"])
    await made.close()
    await plenty.close()


async def test_batch_rows_yield_to_interactive_ones_without_starving(chains):
    made, function = chains
    slow = asyncio.create_task(made.submit(job(rows=3, sweeps=10**6), call(priority="batch")))
    await until(lambda: made.running_rows == 3)
    function.sizes.clear()
    await made.submit(job(rows=1, sweeps=16 * 64), call())
    swept = len(function.sizes) - function.sizes.count(3)
    assert swept == 16 * 64
    assert 0 < function.sizes.count(3) < 0.3 * swept
    slow.cancel()


async def test_a_job_that_would_wait_past_its_deadline_is_refused_with_the_right_delay():
    function = Counter()
    made = scheduler(function, slots=2)
    made._learn(2, 0.01)
    function.go.clear()
    running = asyncio.create_task(made.submit(job(rows=2, sweeps=300), call()))
    await until(lambda: made.running_rows == 2)
    assert made.estimate_s(job(sweeps=100)) == pytest.approx((3.0, 1.0))
    with pytest.raises(Overloaded, match=r"done in 4\.0 s") as refused:
        await made.submit(job(sweeps=100), call(seconds=2.0))
    assert refused.value.retry_after_s == pytest.approx(2.0, abs=0.1)
    running.cancel()
    function.go.set()
    await made.close()


@settings(deadline=None, max_examples=40)
@given(
    companions=st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 60), st.integers(0, 3), st.booleans()),
        max_size=6,
    ),
    rows=st.integers(1, 5),
    sweeps=st.integers(1, 40),
)
def test_a_row_never_notices_its_companions(companions, rows, sweeps):
    """Joins in mid-flight, cancellations, other lengths: the same bytes as alone."""

    async def check():
        made = scheduler(Counter(), slots=6)
        alone = await made.submit(job(rows=rows, sweeps=sweeps, seed=77), call())
        others = []
        for n, k, seed, _ in companions[::2]:
            others.append(
                asyncio.create_task(made.submit(job(rows=n, sweeps=k, seed=seed), call()))
            )
            await asyncio.sleep(0)
        mine = asyncio.create_task(made.submit(job(rows=rows, sweeps=sweeps, seed=77), call()))
        for n, k, seed, _ in companions[1::2]:
            await asyncio.sleep(0)
            others.append(
                asyncio.create_task(made.submit(job(rows=n, sweeps=k, seed=seed), call()))
            )
        for task, (*_, cancelled) in zip(others, companions[::2] + companions[1::2], strict=True):
            if cancelled:
                task.cancel()
        outcome = await mine
        await asyncio.gather(*others, return_exceptions=True)
        longer = await made.submit(job(rows=rows + 3, sweeps=sweeps, seed=77), call())
        await made.close()
        return alone.state["h"], outcome.state["h"], longer.state["h"][:rows]

    alone, beside, prefix = asyncio.run(check())
    assert alone.tobytes() == beside.tobytes() == prefix.tobytes()
