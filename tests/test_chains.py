"""Continuous batching: rows join and leave between sweeps, and nothing else can be told."""

import asyncio
import math
import random
import threading
from unittest.mock import patch

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


class Paced(Counter):
    """A step that takes a virtual second, and runs when it is allowed to."""

    def __init__(self, *, seconds=1.0):
        super().__init__()
        self.now = 0.0
        self.betas = []
        self.blocked = False
        self._seconds = seconds
        self._allowed = threading.Semaphore(0)

    def allow(self, sweeps):
        self.blocked = False
        self._allowed.release(sweeps)

    def clock(self):
        return self.now

    def __call__(self, inputs):
        if not self._allowed.acquire(blocking=False):
            self.blocked = True
            assert self._allowed.acquire(timeout=10)
        self.now += self._seconds(len(inputs["h"])) if callable(self._seconds) else self._seconds
        self.betas.append(set(inputs["beta"][:, 0].tolist()))
        return super().__call__(inputs)


PLENTY = 10_000
FAST_S = 1 / 1024  # of a sweep: exact in floating point, so that a full tick is always six of them


def job(*, rows=1, sweeps=5, seed=0, beta=1.0, trace_at=()):
    return ChainJob(
        state={"h": np.zeros((rows, 2), np.int64)},
        parameters={"beta": np.full((rows, 1), beta, np.float32)},
        sweeps=sweeps,
        seed=seed,
        rows=tuple(range(rows)),
        trace_at=trace_at,
    )


def scheduler(function, *, slots=8, max_queue_rows=1000, **more):
    if isinstance(function, Paced):
        more["clock"] = function.clock
    return ChainScheduler(
        "count", function, SPEC, padding=Padding((), holds=True), slots=slots,
        max_queue_rows=max_queue_rows, **more,
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


@pytest.fixture
async def paced():
    function, ticks = Paced(seconds=FAST_S), []
    made = scheduler(function, on_tick=lambda rows, sweeps: ticks.append((rows, sweeps)))
    yield made, function, ticks
    function.allow(PLENTY)
    await made.close()


async def begin(made, *arguments):
    """A submission that is under way."""
    task = asyncio.create_task(made.submit(*arguments))
    await asyncio.sleep(0)
    return task


async def test_a_tick_lasts_five_milliseconds_whatever_is_traced_in_it(paced):
    made, function, ticks = paced
    function.allow(14)
    outcome = await made.submit(job(rows=2, sweeps=14, trace_at=(2, 4, 12)), call())
    assert ticks == [(2, 6), (2, 6), (2, 2)]
    assert outcome.traces["h"][:, 0, 0].tolist() == [2, 4, 12]


async def test_a_request_of_50_sweeps_waits_for_one_sweep_of_those_of_4000_and_takes_50(paced):
    made, function, _ = paced
    long = await begin(made, job(rows=4, sweeps=4000), call())
    await until(lambda: function.blocked)
    short = await begin(made, job(rows=2, sweeps=50), call())
    function.allow(PLENTY)
    await short
    assert not long.done()
    assert function.sizes[:51] == [4] + [6] * 50
    assert function.sizes.count(6) == 50
    long.cancel()


@pytest.fixture
async def wide():
    """Slots for 40 rows of each kind; a sweep takes 1/4096 s for each eight rows."""
    function, ticks = Paced(seconds=lambda rows: -(-rows // 8) / 4096), []
    made = scheduler(function, slots=40, on_tick=lambda rows, sweeps: ticks.append((rows, sweeps)))
    yield made, function, ticks
    function.allow(PLENTY)
    await made.close()


async def test_short_rows_are_swept_with_a_few_others_and_at_times_with_all(wide):
    made, function, ticks = wide
    long = await begin(made, job(rows=40, sweeps=4000), call())
    await until(lambda: function.blocked)
    short = await begin(made, job(rows=2, sweeps=50, seed=5), call())
    function.allow(PLENTY)
    outcome = await short
    # 16 rows take 1/2048 s a sweep: 11 sweeps a tick, and two such ticks exceed 10 ms; the whole
    # tick is of the last 40 of the 42 rows, and 5/4096 s a sweep.
    assert ticks[:8] == [(40, 1), *[(16, 11), (16, 11), (40, 5)] * 2, (16, 6)]
    long.cancel()
    function.allow(PLENTY)
    alone = await made.submit(job(rows=2, sweeps=50, seed=5), call())
    assert np.array_equal(outcome.state["h"], alone.state["h"])


async def test_paused_rows_go_on_as_if_nothing_had_been(wide):
    made, function, _ = wide
    function.allow(PLENTY)
    long = await begin(made, job(rows=30, sweeps=400, seed=6, trace_at=(100, 333)), call())
    shorts = [await begin(made, job(rows=3, sweeps=99, seed=s), call()) for s in range(9)]
    await asyncio.gather(*shorts)
    beside = await long
    alone = await made.submit(job(rows=30, sweeps=400, seed=6, trace_at=(100, 333)), call())
    assert np.array_equal(beside.state["h"], alone.state["h"])
    assert np.array_equal(beside.traces["h"], alone.traces["h"])


async def test_long_rows_in_every_slot_keep_no_short_one_waiting(chains):
    made, function = chains
    long = [await begin(made, job(rows=20, sweeps=100_000), call()) for _ in range(3)]
    await until(lambda: function.sizes)
    outcome = await made.submit(job(rows=8, sweeps=50), call())
    assert outcome.state["h"][:, 0].tolist() == [50] * 8
    assert made.queued_rows == 52
    for task in long:
        task.cancel()


async def test_all_rows_are_swept_together_where_a_large_batch_takes_no_longer():
    function, ticks = Paced(seconds=FAST_S), []
    made = scheduler(function, slots=40, on_tick=lambda rows, sweeps: ticks.append((rows, sweeps)))
    long = await begin(made, job(rows=38, sweeps=4000), call())
    await until(lambda: function.blocked)
    short = await begin(made, job(rows=2, sweeps=50), call())
    function.allow(PLENTY)
    await short
    assert ticks[:4] == [(38, 1), (16, 6), (40, 6), (40, 6)]
    long.cancel()
    await made.close()


async def test_whoever_leaves_is_swept_no_more_than_once(paced):
    made, function, ticks = paced
    leaving = await begin(made, job(rows=2, sweeps=4000), call())
    await until(lambda: function.blocked)
    staying = await begin(made, job(rows=4, sweeps=9), call())
    function.allow(1)
    await until(lambda: function.blocked)
    leaving.cancel()
    await asyncio.sleep(0)
    function.allow(PLENTY)
    await staying
    assert function.sizes == [2, 6] + [4] * 8
    assert ticks == [(2, 1), (6, 1), (4, 6), (4, 2)]


async def test_whoever_finds_no_room_does_not_disturb_the_tick(paced):
    made, function, ticks = paced
    full = await begin(made, job(rows=8, sweeps=10), call())
    await until(lambda: function.blocked)
    waiting = await begin(made, job(rows=1, sweeps=1), call())
    function.allow(PLENTY)
    await asyncio.gather(full, waiting)
    assert ticks == [(8, 6), (8, 4), (1, 1)]


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


async def test_rows_that_wait_are_not_tried_once_their_job_has_failed(chains):
    made, function = chains
    with pytest.raises(ComputeFailed):
        await made.submit(job(rows=30, beta=-1.0), call())
    await made.submit(job(sweeps=1), call())
    assert function.sizes == [8, 8, 4, 2, 1, 1]
    assert made.idle


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


async def test_batch_rows_yield_to_interactive_ones_without_starving(paced):
    """Of a full tick's time the interactive row takes sixteen, then the batch rows one."""
    made, function, ticks = paced
    slow = await begin(made, job(rows=3, sweeps=10**6), call(priority="batch"))
    await until(lambda: function.blocked)
    urgent = await begin(made, job(rows=1, sweeps=84 * 9), call())
    function.allow(PLENTY)
    await urgent
    turn = [(1, 6)] * 14 + [(3, 6)]  # 14 × 6 sweeps last 82 ms, the first to exceed 16 × 5
    assert ticks[: 1 + 15 * 9 - 1] == [(3, 1), *(turn * 9)[:-1]]
    slow.cancel()


async def test_a_job_that_would_wait_past_its_deadline_is_refused_with_the_right_delay():
    function = Paced(seconds=0.01)
    made = scheduler(function, slots=2)
    function.allow(300)
    await made.submit(job(rows=2, sweeps=300), call())
    running = await begin(made, job(rows=2, sweeps=300), call())
    await until(lambda: function.blocked)
    with pytest.raises(Overloaded, match=r"done in 6\.0 s") as refused:
        await made.submit(job(sweeps=300), call(seconds=4.0))
    assert refused.value.retry_after_s == pytest.approx(2.0, abs=0.1)
    running.cancel()
    function.allow(PLENTY)
    await made.close()


async def refusal(made, asked, seconds):
    """What a request is refused with, or None if it is admitted; then it leaves again."""
    task = await begin(made, asked, call(seconds))
    if task.done():
        return task.exception()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


@settings(deadline=None, max_examples=40)
@given(
    ahead=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=5),
    rows=st.integers(1, 5),
    sweeps=st.integers(1, 9),
    within=st.integers(1, 12),
    queue=st.integers(1, 12),
    longest_short=st.sampled_from([0, 250]),
)
def test_whoever_comes_back_after_the_time_to_retry_is_admitted(
    ahead, rows, sweeps, within, queue, longest_short
):
    """A sweep takes a second, and the deadlines are half seconds, so that nothing is a tie."""

    async def check():
        function = Paced()
        made = scheduler(function, slots=3, max_queue_rows=queue)
        function.allow(1)
        await made.submit(job(rows=3, sweeps=1), call(1000))
        asked = job(rows=rows, sweeps=sweeps)
        tasks = [await begin(made, job(rows=n, sweeps=k), call(1000)) for n, k in ahead]
        await until(lambda: function.blocked)
        refused = await refusal(made, asked, within + 0.5)
        if refused is not None:
            seconds = math.ceil(refused.retry_after_s)
            for wait, admitted in ((seconds - 2, False), (min(seconds, 2), True)):
                if wait > 0:
                    function.allow(wait)
                    await until(lambda: function.blocked or made.idle)
                    again = await refusal(made, asked, within + 0.5)
                    assert (again is None) == admitted
        function.allow(PLENTY)
        await asyncio.gather(*tasks, return_exceptions=True)
        await made.close()

    with patch("service.jobs.SHORT_SWEEPS", longest_short):
        asyncio.run(check())


async def test_what_expires_in_the_queue_is_never_swept():
    function = Paced()
    made = scheduler(function, slots=1)
    running = await begin(made, job(sweeps=3, beta=1.0), call())
    await until(lambda: function.blocked)
    with pytest.raises(DeadlineExceeded):
        await made.submit(job(sweeps=3, beta=2.0), call(seconds=0.02))
    function.allow(PLENTY)
    await running
    await made.submit(job(sweeps=3, beta=3.0), call())
    assert set.union(*function.betas) == {1.0, 3.0}
    assert made.queued_rows == 0
    await made.close()


async def test_a_dead_loop_is_seen_and_nobody_waits_for_it():
    def bug(_rows, _sweeps):
        raise ZeroDivisionError

    made = scheduler(Counter(), slots=2, on_tick=bug)
    asked = [made.submit(job(rows=2, sweeps=9), call()) for _ in range(3)]
    assert made.alive
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(r) for r in results] == [NotReady] * 3
    assert not made.alive
    with pytest.raises(NotReady):
        await made.submit(job(), call())
    await made.close()


async def test_many_cancelled_neighbours_change_nothing_for_the_others():
    draw = random.Random(5)
    made = scheduler(Counter(), slots=32)
    asked = [job(rows=draw.randint(1, 4), sweeps=draw.randint(1, 300), seed=s) for s in range(8)]
    alone = [await made.submit(one, call()) for one in asked]
    doomed, survivors = [], []
    for one in asked:
        survivors.append(await begin(made, one, call()))
        for _ in range(12):
            many = job(rows=draw.randint(1, 6), sweeps=draw.randint(1, 10**6), seed=99)
            doomed.append(await begin(made, many, call()))
        draw.shuffle(doomed)
        for task in doomed[::2]:
            task.cancel()
            await asyncio.sleep(0)
    for task in doomed:
        task.cancel()
    together = await asyncio.gather(*survivors)
    for one, other in zip(alone, together, strict=True):
        assert one.state["h"].tobytes() == other.state["h"].tobytes()
    assert made.idle
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
