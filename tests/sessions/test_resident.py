"""The session that GPUs use, on the CPU: other means, the same bytes."""

from concurrent.futures import ThreadPoolExecutor

import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract import PackageError, read_manifest
from service.invariance import random_rows
from service.sessions.buffers import padded_size
from service.sessions.onnx import OnnxSession
from tests.sessions.on_cpu import Faulty, resident, unrecordable
from tests.sessions.steps import exported, packaged, tiny_dbm

CHAINS = ("tiny-rbm", "tiny-gan")


def functions(tiny_store, name):
    """Each function of a tiny package."""
    directory = tiny_store / name / "1"
    return {key: packaged(directory, key) for key in read_manifest(directory).functions}


@pytest.fixture(scope="module")
def sweep(tiny_store):
    return packaged(tiny_store / "tiny-rbm/1", "sweep")


def test_rows_are_padded_to_powers_of_two():
    assert [padded_size(n) for n in (1, 2, 3, 4, 5, 9, 256)] == [1, 2, 4, 4, 8, 16, 256]


@pytest.mark.parametrize("name", CHAINS)
def test_every_function_gives_the_bytes_of_the_plain_session_at_sizes_in_any_order(
    tiny_store, name
):
    for step in functions(tiny_store, name).values():
        plain, ours = OnnxSession(step.content, threads=1), resident(step.content)
        assert ours.signature() == plain.signature()
        for rows in (4, 1, 8, 4, 2):
            inputs = random_rows(step.spec, rows)
            expected, found = (s.run(step.outputs, inputs) for s in (plain, ours))
            assert {n: a.tobytes() for n, a in found.items()} == {
                n: a.tobytes() for n, a in expected.items()
            }


@pytest.mark.parametrize("sweeps", [1, 2, 17])
def test_many_sweeps_in_one_call_are_the_sweeps_one_by_one(sweep, sweeps):
    plain, ours = OnnxSession(sweep.content, threads=1), resident(sweep.content)
    for rows in (3, 8):
        inputs, drawn = sweep.start(rows), sweep.noises(rows, sweeps)
        expected = plain.iterate(sweep.feedback, inputs, drawn)["next_h"]
        found = ours.iterate(sweep.feedback, inputs, drawn)["next_h"]
        assert found.tobytes() == expected.tobytes()
        assert found.shape == (rows, 6)


@settings(deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 4), st.booleans(), st.integers(0, 3)),
        max_size=8,
    )
)
def test_whatever_was_run_before_a_call_gives_what_it_gives_alone(sweep, calls):
    """Rows join and leave, chains go on or begin, clamps change, single runs come between."""
    plain, ours = OnnxSession(sweep.content, threads=1), resident(sweep.content)
    kept = {}
    for i, (rows, sweeps, goes_on, seed) in enumerate(calls):
        inputs = sweep.start(rows, seed)
        if goes_on and rows in kept:
            inputs["h"] = kept[rows]
        if sweeps:
            drawn = sweep.noises(rows, sweeps, i)
            expected = plain.iterate(sweep.feedback, inputs, drawn)
            found = ours.iterate(sweep.feedback, inputs, drawn)
        else:
            (noise,) = sweep.noises(rows, 1, i)
            expected = plain.run(("next_h",), inputs | noise)
            found = ours.run(("next_h",), inputs | noise)
        assert found["next_h"].tobytes() == expected["next_h"].tobytes()
        kept[rows] = found["next_h"]


def test_states_of_several_tensors_take_turns_too(tiny_store):
    for step in (packaged(tiny_store / "tiny-gan/1", "latent_step"), exported(tiny_dbm(), "sweep")):
        plain, ours = OnnxSession(step.content, threads=1), resident(step.content)
        inputs = step.start(4)
        for steps in (3, 1, 4):
            drawn = step.noises(4, steps)
            expected, found = (s.iterate(step.feedback, inputs, drawn) for s in (plain, ours))
            assert {n: a.tobytes() for n, a in found.items()} == {
                n: a.tobytes() for n, a in expected.items()
            }


def test_what_has_not_changed_is_not_sent_again(sweep, monkeypatch):
    session, sent = resident(sweep.content), []
    real = ort.OrtValue.update_inplace
    monkeypatch.setattr(
        ort.OrtValue, "update_inplace", lambda v, a: (sent.append(a.shape), real(v, a))
    )
    inputs = sweep.start(4)
    inputs["h"] = session.iterate(sweep.feedback, inputs, sweep.noises(4, 3))["next_h"]
    sent.clear()
    session.iterate(sweep.feedback, inputs, sweep.noises(4, 5))
    assert sent == [(4, 16), (4, 6)] * 5  # the noise of five sweeps; no state, clamp or β
    sent.clear()
    other = inputs | {"beta": inputs["beta"] * 2}
    session.iterate(sweep.feedback, other, sweep.noises(4, 1, seed=9))
    assert sorted(sent) == [(4, 1), (4, 6), (4, 6), (4, 16)]  # h has moved on; β is new


def test_a_generator_of_noise_ends_the_chain_when_it_likes(sweep):
    """The next noise is asked for when the step before has run."""
    inputs, drawn = sweep.start(4), sweep.noises(4, 5)
    expected = OnnxSession(sweep.content, threads=1).iterate(sweep.feedback, inputs, drawn)
    for session in (OnnxSession(sweep.content, threads=1), resident(sweep.content)):
        over = []

        def until_over():
            for noise in [*drawn, *drawn]:
                yield noise
                over.append(len(over) + 1)  # noqa: B023
                if over[-1] == 5:  # noqa: B023
                    return

        found = session.iterate(sweep.feedback, inputs, until_over())
        assert found["next_h"].tobytes() == expected["next_h"].tobytes()


@pytest.mark.parametrize("good", [1, 2, 3])
def test_a_chain_that_breaks_off_leaves_nothing_behind(sweep, good):
    inputs, drawn = sweep.start(4), sweep.noises(4, 6)
    session, plain = resident(sweep.content), OnnxSession(sweep.content, threads=1)
    kept = session.iterate(sweep.feedback, inputs, drawn)["next_h"]

    def breaks_off():
        yield from drawn[:good]
        raise ValueError("the caller's")

    following = inputs | {"h": kept}
    with pytest.raises(ValueError, match="the caller's"):
        session.iterate(sweep.feedback, following, breaks_off())
    expected = plain.iterate(sweep.feedback, following, drawn)["next_h"]
    assert session.iterate(sweep.feedback, following, drawn)["next_h"].tobytes() == (
        expected.tobytes()
    )


def test_a_chain_whose_third_step_cannot_be_recorded_is_begun_again_without(sweep):
    runs = []

    def third(rows, recording):
        runs.append(recording)
        return recording > 0 and len(runs) == 4  # one run was to learn the outputs

    session = resident(sweep.content, lambda s, _: Faulty(s, third))
    inputs, drawn = sweep.start(4), sweep.noises(4, 6)
    expected = OnnxSession(sweep.content, threads=1).iterate(sweep.feedback, inputs, drawn)
    found = session.iterate(sweep.feedback, inputs, iter(drawn))
    assert found["next_h"].tobytes() == expected["next_h"].tobytes()
    assert not session.records


def test_states_and_answers_are_the_callers_own(sweep):
    session = resident(sweep.content)
    inputs, drawn = sweep.start(4), sweep.noises(4, 2)
    first = session.iterate(sweep.feedback, inputs, drawn)["next_h"]
    copy = first.copy()
    session.iterate(sweep.feedback, sweep.start(4, 1), sweep.noises(4, 2, 1))
    assert first.tobytes() == copy.tobytes()
    first[:] = 7
    again = session.iterate(sweep.feedback, inputs, drawn)["next_h"]
    assert again.tobytes() == copy.tobytes()


def test_an_input_left_out_or_unknown_is_refused(sweep):
    session = resident(sweep.content)
    whole = random_rows(sweep.spec, 2)
    session.run(("next_h",), whole)
    for wrong in ({k: v for k, v in whole.items() if k != "beta"}, whole | {"x": whole["beta"]}):
        with pytest.raises(ValueError, match="the graph wants"):
            session.run(("next_h",), wrong)
    assert session.records


def test_states_too_wide_for_signed_products_are_refused_and_never_wrong(sweep):
    inputs = random_rows(sweep.spec, 2)
    inputs["h"][1, 3] = 128
    with pytest.raises(ValueError, match="'h' holds 128, more than 127"):
        resident(sweep.content).run(("next_h",), inputs)
    inputs["h"][1, 3] = 127
    expected = OnnxSession(sweep.content, threads=1).run(("next_h",), inputs)["next_h"]
    assert (
        resident(sweep.content).run(("next_h",), inputs)["next_h"].tobytes() == expected.tobytes()
    )


def test_a_graph_that_cannot_be_recorded_runs_without(sweep):
    session = resident(sweep.content, unrecordable)
    assert not session.records
    assert session.run(("next_h",), random_rows(sweep.spec, 3))["next_h"].shape == (3, 6)


def test_a_run_that_fails_only_while_it_is_recorded_is_run_without(sweep):
    session = resident(
        sweep.content, lambda s, _: Faulty(s, lambda _rows, recording: recording > 0)
    )
    inputs = random_rows(sweep.spec, 3)
    expected = OnnxSession(sweep.content, threads=1).run(("next_h",), inputs)["next_h"]
    assert session.run(("next_h",), inputs)["next_h"].tobytes() == expected.tobytes()
    assert not session.records


def test_what_fails_either_way_fails_its_caller_and_nobody_else(sweep):
    session = resident(sweep.content, lambda s, _: Faulty(s, lambda rows, _recording: rows > 4))
    small = random_rows(sweep.spec, 4)
    before = session.run(("next_h",), small)["next_h"]
    with pytest.raises(RuntimeError, match="CUDA failure"):
        session.run(("next_h",), random_rows(sweep.spec, 5))
    assert session.records
    assert session.run(("next_h",), small)["next_h"].tobytes() == before.tobytes()


def test_a_graph_that_is_none_is_refused():
    with pytest.raises(PackageError):
        resident(b"\x08\x08")


def test_two_functions_may_share_a_session(sweep):
    session, plain = resident(sweep.content), OnnxSession(sweep.content, threads=1)
    jobs = [random_rows(sweep.spec, rows) for rows in (1, 2, 3, 4, 5, 6, 7, 8)] * 8
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: session.run(("next_h",), i)["next_h"], jobs))
    for inputs, h in zip(jobs, found, strict=True):
        assert h.tobytes() == plain.run(("next_h",), inputs)["next_h"].tobytes()
