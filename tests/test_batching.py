"""The map scheduler: work-conserving, split and merged, and nobody left waiting."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.batching import MapScheduler, pad, padded
from service.errors import ComputeFailed, DeadlineExceeded, NotReady, Overloaded
from service.invariance import Padding
from service.queries import Call

ANY_SIZE = Padding(sizes=(), holds=True)


class Doubler:
    """A map function that a test can hold, break and watch."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, inputs):
        assert self.go.wait(10)
        x = inputs["x"]
        self.batches.append(x[:, 0].tolist())
        if (x == 13).any():
            raise RuntimeError("thirteen")
        return {"y": x * 2}


def rows(*values):
    return {"x": np.array(values, np.float32)[:, None]}


def scheduler(function, *, max_rows=4, max_queue_rows=100, padding=ANY_SIZE, at_once_s=0.0):
    return MapScheduler(
        "double",
        padded(function, padding),
        max_rows=max_rows,
        max_queue_rows=max_queue_rows,
        at_once_s=at_once_s,
    )


@pytest.fixture
async def double():
    function = Doubler()
    made = scheduler(function)
    yield made, function
    function.go.set()
    await made.close()


def call(seconds=30.0, priority="interactive"):
    return Call.lasting(seconds, priority)


async def until(condition):
    """Give the event loop turns until `condition` holds; the test's timeout bounds it."""
    while not condition():
        await asyncio.sleep(0)


async def test_an_idle_function_starts_at_once(double):
    made, function = double
    outputs = await made.submit(rows(1, 2), call())
    assert outputs["y"].tolist() == [[2], [4]]
    assert function.batches == [[1, 2]]


async def test_what_queues_while_it_runs_is_merged(double):
    made, function = double
    function.go.clear()
    first = asyncio.create_task(made.submit(rows(1), call()))
    await until(lambda: made.running_rows)
    others = [asyncio.create_task(made.submit(rows(k), call())) for k in (2, 3, 4)]
    await until(lambda: made.queued_rows == 3)
    function.go.set()
    answers = await asyncio.gather(first, *others)
    assert [a["y"][0, 0] for a in answers] == [2, 4, 6, 8]
    assert function.batches == [[1], [2, 3, 4]]


async def test_a_submission_larger_than_a_batch_is_split_and_comes_back_in_order(double):
    made, function = double
    outputs = await made.submit(rows(*range(11)), call())
    assert outputs["y"][:, 0].tolist() == [2 * k for k in range(11)]
    assert [len(b) for b in function.batches] == [4, 4, 3]


async def test_interactive_rows_go_before_batch_rows(double):
    made, function = double
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    slow = asyncio.create_task(made.submit(rows(1, 2, 3, 4), call(priority="batch")))
    quick = asyncio.create_task(made.submit(rows(9), call()))
    await until(lambda: made.queued_rows == 5)
    function.go.set()
    await asyncio.gather(running, slow, quick)
    assert function.batches[1][0] == 9


async def test_a_failed_batch_fails_its_own_callers_only_and_the_loop_lives(double):
    made, function = double
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    good = asyncio.create_task(made.submit(rows(1), call()))
    bad = asyncio.create_task(made.submit(rows(13), call()))
    await until(lambda: made.queued_rows == 2)
    function.go.set()
    results = await asyncio.gather(running, good, bad, return_exceptions=True)
    assert results[1]["y"].tolist() == [[2]]
    assert isinstance(results[2], ComputeFailed)
    assert "thirteen" not in results[2].detail
    assert (await made.submit(rows(5), call()))["y"].tolist() == [[10]]
    assert made.alive


async def test_a_batch_that_is_too_large_for_memory_is_tried_smaller():
    sizes = []

    def small_memory(inputs):
        sizes.append(len(inputs["x"]))
        if len(inputs["x"]) > 2:
            raise MemoryError
        return {"y": inputs["x"] * 2}

    made = scheduler(small_memory, max_rows=8)
    outputs = await made.submit(rows(*range(8)), call())
    assert outputs["y"][:, 0].tolist() == [2 * k for k in range(8)]
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    await made.close()


async def test_work_that_would_outlast_its_deadline_is_refused_with_the_right_delay(double):
    made, function = double
    await made.submit(rows(1), call())
    made._seconds_a_row = 0.5
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0, 0), call()))
    await until(lambda: made.running_rows)
    waiting = asyncio.create_task(made.submit(rows(1, 2), call()))
    await until(lambda: made.queued_rows)
    with pytest.raises(
        Overloaded, match=r"done in 2\.5 s, after the deadline in 1\.0 s"
    ) as refused:
        await made.submit(rows(3), call(seconds=1.0))
    assert refused.value.retry_after_s == pytest.approx(1.5, abs=0.1)
    function.go.set()
    await asyncio.gather(running, waiting)


async def test_many_cancelled_neighbours_change_nothing_for_the_others(double):
    made, function = double
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    tasks = [asyncio.create_task(made.submit(rows(100 + k), call())) for k in range(40)]
    await until(lambda: made.queued_rows == 40)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks[::2], return_exceptions=True)
    assert made.queued_rows == 20
    function.go.set()
    answers = await asyncio.gather(running, *tasks[1::2])
    assert [a["y"][0, 0] for a in answers[1:]] == [2 * k for k in range(101, 140, 2)]
    assert not {float(k) for k in range(100, 140, 2)} & {x for b in function.batches for x in b}


async def test_expired_work_is_dropped_before_it_costs_anything(double):
    made, function = double
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    with pytest.raises(DeadlineExceeded):
        await made.submit(rows(7), call(seconds=0.01))
    function.go.set()
    await running
    await made.submit(rows(8), call())
    assert function.batches == [[0], [8]]


async def test_a_full_queue_refuses_with_a_time_to_come_back():
    function = Doubler()
    made = scheduler(function, max_queue_rows=5)
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    waiting = asyncio.create_task(made.submit(rows(1, 2, 3, 4), call()))
    await until(lambda: made.queued_rows == 4)
    with pytest.raises(Overloaded) as refused:
        await made.submit(rows(5, 6), call())
    assert refused.value.retry_after_s > 0
    function.go.set()
    await asyncio.gather(running, waiting)
    await made.close()


async def test_closing_resolves_every_future():
    function = Doubler()
    made = scheduler(function)
    function.go.clear()
    tasks = [asyncio.create_task(made.submit(rows(*range(6)), call())) for _ in range(5)]
    await until(lambda: made.queued_rows == 26)
    closing = asyncio.create_task(made.close())
    await until(lambda: made._closed)
    function.go.set()
    await closing
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, NotReady) for r in results)
    with pytest.raises(NotReady):
        await made.submit(rows(1), call())


async def test_time_in_the_queue_and_in_the_call_is_told_apart(double):
    made, _ = double
    mine = call()
    await made.submit(rows(1), mine)
    assert mine.phases_s.keys() == {"queue", "compute"}


async def test_batches_are_padded_to_the_measured_sizes_and_cut_again():
    seen = []

    def function(inputs):
        seen.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    made = scheduler(function, padding=Padding(sizes=(4, 8), holds=True), max_rows=8)
    assert len((await made.submit(rows(1), call()))["y"]) == 1
    assert len((await made.submit(rows(*range(7)), call()))["y"]) == 7
    assert seen == [4, 8]
    await made.close()


@given(have=st.integers(1, 9), size=st.integers(1, 12))
def test_padding_repeats_the_last_row_and_never_cuts(have, size):
    padded = pad(rows(*range(have)), size)["x"][:, 0].tolist()
    assert padded[:have] == list(range(have))
    assert padded[have:] == [have - 1] * max(size - have, 0)


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), max_rows=st.integers(1, 10))
def test_whatever_the_sizes_everyone_gets_their_own_rows(sizes, max_rows):
    async def check():
        made = scheduler(Doubler(), max_rows=max_rows)
        asked = [[100 * i + k for k in range(n)] for i, n in enumerate(sizes, start=1)]
        answers = await asyncio.gather(*(made.submit(rows(*values), call()) for values in asked))
        await made.close()
        return [(a["y"][:, 0] / 2).tolist() for a in answers] == asked

    assert asyncio.run(check())


async def test_batch_rows_have_short_calls_of_their_own_while_interactive_work_comes():
    function = Doubler()
    made = scheduler(function, max_rows=8)
    made._pace.expected_s = lambda rows: 0.00025 * rows
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    bulk = asyncio.create_task(made.submit(rows(*range(1, 9)), call(priority="batch")))
    quick = asyncio.create_task(made.submit(rows(20), call()))
    await until(lambda: made.queued_rows == 9)
    function.go.set()
    await asyncio.gather(running, bulk, quick)
    assert function.batches[1:3] == [[20], [1, 2]]
    assert max(len(b) for b in function.batches) == 2
    await made.close()


async def test_calls_that_are_made_at_once_let_the_event_loop_breathe():
    function = Doubler()
    made = scheduler(function, max_rows=1, at_once_s=10)
    made._pace.note(1, 0.0001)
    bulk = asyncio.create_task(made.submit(rows(*range(20, 120)), call(priority="batch")))
    await until(lambda: function.batches)
    await made.submit(rows(0), call())
    assert len(function.batches) < 100
    await bulk
    await made.close()


async def test_an_idle_service_gives_batch_rows_whole_calls():
    function = Doubler()
    made = scheduler(function, max_rows=8)
    await made.submit(rows(*range(20, 36)), call(priority="batch"))
    assert [len(b) for b in function.batches] == [8, 8]
    await made.close()


async def test_interactive_work_does_not_wait_for_batch_rows_in_the_queue():
    function = Doubler()
    made = scheduler(function)
    await made.submit(rows(1), call())
    made._seconds_a_row = 0.5
    function.go.clear()
    running = asyncio.create_task(made.submit(rows(0), call()))
    await until(lambda: made.running_rows)
    bulk = asyncio.create_task(made.submit(rows(*range(100, 150)), call(priority="batch")))
    waiting = asyncio.create_task(made.submit(rows(1), call()))
    await until(lambda: made.queued_rows == 51)
    quick = asyncio.create_task(made.submit(rows(2), call(seconds=5)))
    await until(lambda: made.queued_rows == 52)
    with pytest.raises(Overloaded):
        await made.submit(rows(3), call(seconds=5, priority="batch"))
    function.go.set()
    await asyncio.gather(running, bulk, waiting, quick)
    await made.close()
