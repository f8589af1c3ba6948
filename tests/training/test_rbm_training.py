"""The training loop: a plan that covers every image, and resumption to the bit."""

import pytest
import torch

from tests.training.small_trainings import logged, stopping_run, tiny_data
from training.label_units import label_probabilities, with_label
from training.rbm import initialise
from training.rbm_config import ModelTable, Phase, RbmConfig, RbmTrainTable
from training.rbm_learning import LearnerState
from training.rbm_monitor import check_alive
from training.rbm_training import Plan, TrainingData, restore_averaged, train_rbm
from training.run import Interrupted, Run, RunConflict, TrainingDiverged, newest_checkpoint

PHASES = (
    Phase(epochs=2, batch=16, chains=8, sweeps=2),
    Phase(epochs=1, batch=25, chains=20, sweeps=1, chain_precision="bfloat16"),
)
TRAIN = RbmTrainTable(phases=PHASES, momentum=0.5, monitor_every=1, monitor_betas=5)


def go(directory, *, resume=False, stop_after=None, train=TRAIN, seed=3):
    opened = stopping_run(directory, resume=resume, stop_after=stop_after, config={"seed": seed})
    with opened as (run, stop):
        return train_rbm(
            tiny_data(), model=ModelTable(hidden=5), train=train, seed=seed, run=run, stop=stop
        )


def test_the_plan_shows_every_image_once_an_epoch_and_lowers_the_rate():
    plan = Plan(train=TRAIN, images=50, seed=1)
    steps = list(plan.steps(0))
    assert len(steps) == plan.total == 4 + 4 + 2
    for epoch in range(3):
        rows = torch.cat([s.rows for s in steps if s.epoch == epoch])
        assert sorted(rows.tolist()) == list(range(50))
    rates = [s.learning_rate for s in steps]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.05
    assert [s.number for s in steps if s.ends_epoch] == [4, 8, 10]


@pytest.mark.parametrize("done", [0, 1, 4, 7, 8, 9, 10])
def test_a_plan_taken_up_later_is_the_rest_of_the_whole_one(done):
    plan = Plan(train=TRAIN, images=50, seed=1)
    whole, rest = list(plan.steps(0))[done:], list(plan.steps(done))
    assert [(s.number, s.rows.tolist(), s.learning_rate) for s in whole] == [
        (s.number, s.rows.tolist(), s.learning_rate) for s in rest
    ]


@pytest.mark.parametrize(
    ("chains", "stops"),
    [
        ("persistent", [3]),
        ("persistent", [1, 4, 2]),
        ("data", [3]),
        ("tempering", [1, 4, 2]),
        ("trajectory", [1, 4, 2]),
    ],
)
def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path, chains, stops):
    train = TRAIN.model_copy(update={"chains": chains, "least_acceptance": 0.99})
    whole = go(tmp_path / "whole", train=train)
    for i, stop_after in enumerate(stops):
        with pytest.raises(Interrupted, match="of 10"):
            go(tmp_path / "cut", resume=i > 0, stop_after=stop_after, train=train)
    resumed = go(tmp_path / "cut", resume=True, train=train)
    for name in ("W", "b", "c"):
        assert torch.equal(getattr(whole, name), getattr(resumed, name)), name


def test_a_finished_training_has_its_result_in_its_checkpoint(tmp_path):
    rbm = go(tmp_path)
    checkpoint = newest_checkpoint(tmp_path)
    assert checkpoint["step"] == 10
    assert checkpoint["seconds"] > 0
    assert torch.equal(restore_averaged(checkpoint).W, rbm.W)
    assert torch.equal(go(tmp_path, resume=True).W, rbm.W)


def test_another_seed_gives_another_machine(tmp_path):
    assert not torch.equal(go(tmp_path / "a").W, go(tmp_path / "b", seed=4).W)


def test_the_logs_hold_likelihood_histograms_and_particles(tmp_path):
    go(tmp_path)
    lines = logged(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"likelihood__held_out", "pseudo_likelihood__held_out"} <= lines[0].keys()
    sheets = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert sheets[-1] == "particles-000000010.png"
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("chains", ["tempering", "trajectory"])
def test_the_logs_of_an_exchange_hold_its_acceptance_and_the_ladder_its_log_z(tmp_path, chains):
    go(tmp_path, train=TRAIN.model_copy(update={"chains": chains}))
    line = logged(tmp_path)[-1]
    assert 0 < line["exchange__least_acceptance"] <= 1
    assert ("likelihood__held_out_by_ladder" in line) == (chains == "trajectory")
    if chains == "trajectory":
        assert line["exchange__rungs"] >= 1
        gap = line["likelihood__held_out_by_ladder"] - line["likelihood__held_out"]
        assert abs(gap) < 1


@pytest.mark.parametrize("chains", ["persistent", "trajectory"])
def test_label_units_are_learned_as_the_last_columns(tmp_path, chains):
    g = torch.Generator().manual_seed(0)
    pixels, y = torch.rand(50, 12, generator=g), torch.arange(50) % 3
    rows = with_label(pixels, y, labels=3)
    run = Run(tmp_path, resume=False, config={})
    rbm = train_rbm(
        TrainingData(images=rows, held_out=rows[:10], shape=(1, 3, 4)),
        model=ModelTable(hidden=5, labels=True),
        train=TRAIN.model_copy(update={"chains": chains}),
        seed=1,
        run=run,
        stop=lambda: False,
        labels=3,
    )
    run.close()
    assert rbm.W.shape == (15, 5)
    p = label_probabilities(rbm, pixels.round(), labels=3)
    torch.testing.assert_close(p.sum(1), torch.ones(50))


def test_a_training_goes_on_from_a_machine_that_is_given(tmp_path):
    start = go(tmp_path / "first")
    run = Run(tmp_path / "second", resume=False, config={})
    slow = TRAIN.model_copy(update={"learning_rate": 1e-6, "weight_decay": 0.0})
    rbm = train_rbm(tiny_data(), model=ModelTable(hidden=5), train=slow, seed=1, run=run,
                    stop=lambda: False, start=start)  # fmt: skip
    run.close()
    torch.testing.assert_close(rbm.W, start.W, atol=1e-4, rtol=0)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    go(tmp_path)
    with pytest.raises(RunConflict, match="--resume"):
        go(tmp_path)
    with pytest.raises(RunConflict, match="differs"):
        go(tmp_path, resume=True, seed=4)


@pytest.mark.parametrize(
    ("keys", "rates"),
    [
        ({}, [0.1, 0.055, 0.01]),
        ({"schedule": "constant"}, [0.1, 0.1, 0.1]),
        ({"schedule": "cosine"}, [0.1, 0.055, 0.01]),
        ({"schedule": "exponential"}, [0.1, 0.1 * 0.1**0.5, 0.01]),
        ({"schedule": "constant", "warmup": 0.8}, [0.0, 0.0625, 0.1]),
    ],
)
def test_the_rate_follows_its_schedule(keys, rates):
    train = RbmTrainTable(phases=PHASES, learning_rate=0.1, final_learning_rate=0.01, **keys)
    assert [train.rate(done) for done in (0.0, 0.5, 1.0)] == pytest.approx(rates)


def test_the_cosine_stays_high_longer_than_the_line():
    line, cosine = (
        RbmTrainTable(phases=PHASES, learning_rate=0.1, schedule=name)
        for name in ("linear", "cosine")
    )
    assert cosine.rate(0.2) > line.rate(0.2)
    assert cosine.rate(0.8) < line.rate(0.8)


def test_an_exponential_schedule_wants_an_end_above_zero():
    with pytest.raises(ValueError, match="final_learning_rate=0"):
        RbmTrainTable(phases=PHASES, schedule="exponential")


def test_a_run_of_before_a_key_came_can_still_be_resumed():
    document = {
        "name": "m",
        "kind": "rbm",
        "data": {"name": "digits", "holdout": 100},
        "train": {"phases": [{"epochs": 1}]},
    }
    part = RbmConfig.model_validate(document).trained_part()
    assert part["model"] == {"hidden": 500, "initial_scale": 0.01}
    assert "schedule" not in part["train"]
    document["train"]["schedule"] = "cosine"
    assert RbmConfig.model_validate(document).trained_part()["train"]["schedule"] == "cosine"


def test_chains_that_are_all_in_one_state_have_died():
    rbm = initialise(torch.rand(12), hidden=5, scale=0.1, generator=torch.Generator())
    state = LearnerState.begin(rbm, chains=20, visible_mean=torch.rand(12))
    with pytest.raises(TrainingDiverged, match=r"20 chains have died at step 7.*learning rate"):
        check_alive(state, persistent=True, step=7)
    check_alive(state, persistent=False, step=7)
    state.particles[3, 2] = 1
    check_alive(state, persistent=True, step=7)


def test_a_rate_that_blows_up_says_so(tmp_path):
    wild = TRAIN.model_copy(update={"learning_rate": 1e38})
    with pytest.raises(TrainingDiverged, match="learning rate"):
        go(tmp_path, train=wild)
