"""Early warning: a turn is told once, with what fell, from where, and what to try."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.gan import Examples, GanTraining, short, train_gan
from training.run import Run
from training.shapes import PointShape
from training.turns import SIGNS, Sign, series, warnings
from training.turns import turned as turned_since

FALL = Sign("judge__recall", "falls", 0.1, "the generator is losing modes; try packing")
RISE = Sign("judge__frechet", "rises", 1.0, "drifting", relative=True)
LEVEL = Sign("accuracy__pairs", "stays above", 0.98, "beaten", last=4)


def at(values):
    return [(100 * (i + 1), value) for i, value in enumerate(values)]


def turned(values, sign):
    """With the last value."""
    return turned_since(values, sign, since=values[-2][0] if len(values) > 1 else -1)


def log(tmp_path, figure, values):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "time": 0.0, figure: value}) for step, value in at(values)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_fall_is_told_with_its_figures_and_a_remedy():
    told = turned(at([0.5, 0.8, 0.7, 0.65, 0.55]), FALL)
    assert told == (
        "recall fell from 0.8 at step 200 to 0.55 over the last 3 judgements: "
        "the generator is losing modes; try packing"
    )


def test_it_is_told_once_and_again_after_a_recovery():
    falling = [0.8, 0.6, 0.6, 0.6]
    assert turned(at(falling), FALL)
    assert turned(at([*falling, 0.5]), FALL) is None
    recovered = [*falling, 0.9, 0.9, 0.9]
    assert turned(at(recovered), FALL) is None
    assert turned(at([*recovered, 0.7, 0.7, 0.7]), FALL)


def test_one_bad_judgement_is_no_turn():
    assert turned(at([0.8, 0.8, 0.8, 0.1, 0.8]), FALL) is None
    assert turned(at([0.8, 0.1, 0.1]), FALL) is None


@given(st.lists(st.floats(0, 1), max_size=30))
def test_what_only_gets_better_never_turns(values):
    rising = at(sorted(values))
    assert all(turned(rising[:n], FALL) is None for n in range(len(rising) + 1))


@given(st.lists(st.floats(0, 1), min_size=4, max_size=30))
def test_a_turn_means_that_the_last_values_are_all_worse(values):
    if turned(at(values), FALL):
        assert max(values[-3:]) <= max(values[:-3]) - 0.1


def test_a_rise_is_measured_against_the_least_before_it():
    assert turned(at([2.0, 1.0, 2.1, 2.5, 3.0]), RISE).startswith(
        "frechet rose from 1 at step 200 to 3 over the last 3 judgements"
    )
    assert turned(at([2.0, 1.0, 1.9, 2.5, 3.0]), RISE) is None


def test_a_level_must_hold_for_a_while():
    assert turned(at([0.5, 0.99, 0.99, 0.99, 1.0]), LEVEL).startswith(
        "D's accuracy has stayed above 0.98 for 4 lines of the log, and is 1: beaten"
    )
    assert turned(at([0.99, 0.99, 0.99]), LEVEL) is None
    assert turned(at([0.99, 0.5, 0.99, 0.99]), LEVEL) is None


def test_of_a_step_that_was_done_twice_the_later_line_counts():
    lines = [
        {"step": 1, "a": 0.5},
        {"step": 2, "b": 3.0},
        {"step": 1, "a": 0.75},
        {"step": 3, "a": None},
    ]
    assert series(lines, "a") == [(1, 0.75)]


@pytest.mark.parametrize("figure", [s.figure for s in SIGNS if s.worse == "falls"])
def test_every_share_that_falls_is_told_from_the_log(tmp_path, figure):
    (told,) = warnings(log(tmp_path, figure, [25, 25, 20, 15, 12]))
    assert "fell from 25" in told
    assert "try" in told


def test_a_discriminator_that_has_won_is_told(tmp_path):
    (told,) = warnings(log(tmp_path, "accuracy__pairs", [0.6] + [1.0] * 10))
    assert "discriminator has won" in told
    assert warnings(log(tmp_path, "accuracy__pairs", [0.6] * 20)) == []


def test_a_turn_between_two_judgements_is_told_at_the_second(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": s, "accuracy__pairs": 0.5 if s < 5 else 1.0} for s in range(1, 31)]
    lines += [{"step": s, "judge__recall": 0.5} for s in (10, 20, 30)]

    def at(step):
        kept = (json.dumps(line) for line in lines if line["step"] <= step)
        path.write_text("\n".join(kept) + "\n")
        return len(warnings(path))

    assert [at(10), at(20), at(30)] == [0, 1, 0]


def train(folder: Path, recalls: list[float], *, resume: bool = False, stop=lambda: False) -> None:
    left = iter(recalls)

    def judge(_generator, step):
        return {"judge__spread": 1.0, "judge__frechet": 1.0 / step, "judge__recall": next(left)}

    run = Run(folder, resume=resume, config={})
    config = GanTraining(steps=6, batch=8, judge_every=1, save_every=1, log_every=1)
    data = Examples(torch.rand(16, 2, generator=torch.Generator().manual_seed(0)))
    try:
        shape = PointShape(width=8, depth=1, generator_norm="none")
        train_gan(data, shape=shape, config=config, seed=0, run=run, judge=judge, stop=stop)
    finally:
        run.close()


def test_a_training_tells_its_turns_on_the_terminal_and_in_tensorboard(tmp_path, capsys):
    train(tmp_path, [0.5, 0.8, 0.6, 0.6, 0.6, 0.6])
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert told.startswith("warning at step 5: recall fell from 0.8 at step 2 to 0.6")
    assert "the generator is losing modes, or variety within them; try train.loss" in told
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (text,) = events.Tensors("warnings/text_summary")
    assert text.step == 5
    assert b"losing modes" in text.tensor_proto.string_val[0]


def test_a_resumed_training_knows_what_came_before(tmp_path, capsys):
    steps = iter(range(1, 7))
    with pytest.raises(RuntimeError, match="stopped at step 4"):
        train(tmp_path, [0.5, 0.8, 0.6, 0.6], stop=lambda: next(steps) == 4)
    assert "warning" not in capsys.readouterr().err
    train(tmp_path, [0.6, 0.6], resume=True)
    assert capsys.readouterr().err.count("warning at step 5: recall fell from 0.8") == 1


def test_the_progress_line_has_losses_accuracy_and_what_was_judged():
    figures = {"loss__d": 1.0, "accuracy__pairs": 0.7, "judge__recall": 0.5, "gradient__d": 3.0}
    assert short(figures) == {"d": 1.0, "pairs": 0.7, "recall": 0.5}
