"""Chains whose states stay on a device for a tick: what comes out is what single sweeps give."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ComputeFailed
from service.queries import Call
from tests.test_chains import Counter, job, scheduler


class Device:
    """A step function that can run many sweeps with its states inside."""

    def __init__(self):
        self.step = Counter()
        self.lengths = []

    def iterate(self, inputs, noises):
        given_inputs, found, length = dict(inputs), {}, 0
        for noise in noises:
            found = self.step(given_inputs | noise)
            given_inputs["h"] = found["next_h"]
            length += 1
        self.lengths.append(length)
        return found


async def outcomes(jobs, **more):
    made = scheduler(Counter(), **more)
    done = await asyncio.gather(
        *(made.submit(j, Call.lasting(30)) for j in jobs), return_exceptions=True
    )
    await made.close()
    return done


lengths = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5
)


@settings(max_examples=25)
@given(lengths)
def test_states_and_traces_are_those_of_single_sweeps(asked):
    jobs = [
        job(rows=rows, sweeps=sweeps, seed=i, trace_at=(min(trace, sweeps),))
        for i, (rows, sweeps, trace) in enumerate(asked)
    ]
    device = Device()
    alone = asyncio.run(outcomes(jobs))
    resident = asyncio.run(outcomes(jobs, iterate=device.iterate))
    for one, other in zip(alone, resident, strict=True):
        assert np.array_equal(one.state["h"], other.state["h"])
        assert np.array_equal(one.traces["h"], other.traces["h"])
    assert max(device.lengths) > 1 or all(min(s, t) == 1 for _, s, t in asked)


@pytest.mark.parametrize("fails_at", [0, 3])
async def test_a_device_that_fails_is_gone_round_sweep_by_sweep(fails_at):
    def iterate(inputs, noises):
        for done, _ in enumerate(noises):
            if done == fails_at:
                raise MemoryError
        return {}

    (outcome,) = await outcomes([job(sweeps=9, seed=4)], iterate=iterate)
    (expected,) = await outcomes([job(sweeps=9, seed=4)])
    assert np.array_equal(outcome.state["h"], expected.state["h"])


async def test_a_job_that_fails_on_the_device_fails_alone():
    device = Device()
    jobs = [job(sweeps=12, seed=1), job(sweeps=12, seed=2, beta=-1.0), job(sweeps=5, seed=3)]
    good, bad, other = await outcomes(jobs, iterate=device.iterate)
    expected = await outcomes([jobs[0], jobs[2]])
    assert isinstance(bad, ComputeFailed)
    assert np.array_equal(good.state["h"], expected[0].state["h"])
    assert np.array_equal(other.state["h"], expected[1].state["h"])
