"""The training loop: a plan that covers every image, and resumption to the bit."""

import json

import pytest
import torch

from training.rbm_config import ModelTable, Phase, TrainTable
from training.rbm_training import Plan, TrainingData, restore_averaged, train_rbm
from training.run import Interrupted, Run, RunConflict, TrainingDiverged, newest_checkpoint

PHASES = (
    Phase(epochs=2, batch=16, chains=8, sweeps=2),
    Phase(epochs=1, batch=25, chains=20, sweeps=1, chain_precision="bfloat16"),
)
TRAIN = TrainTable(phases=PHASES, momentum=0.5, monitor_every=1, monitor_betas=5)


def tiny_data() -> TrainingData:
    g = torch.Generator().manual_seed(0)
    images = torch.rand(50, 12, generator=g)
    return TrainingData(images=images, held_out=images[:10], shape=(1, 3, 4))


def go(directory, *, resume=False, stop_after=None, train=TRAIN, seed=3):
    run = Run(directory, resume=resume, config={"seed": seed})
    asked = iter(range(1, 10**9))
    try:
        return train_rbm(
            tiny_data(),
            model=ModelTable(hidden=5),
            train=train,
            seed=seed,
            run=run,
            stop=lambda: next(asked) == stop_after,
        )
    finally:
        run.close()


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


@pytest.mark.parametrize("stops", [[3], [1, 4, 2]])
def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path, stops):
    whole = go(tmp_path / "whole")
    for i, stop_after in enumerate(stops):
        with pytest.raises(Interrupted, match="of 10"):
            go(tmp_path / "cut", resume=i > 0, stop_after=stop_after)
    resumed = go(tmp_path / "cut", resume=True)
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
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"likelihood__held_out", "pseudo_likelihood__held_out"} <= lines[0].keys()
    sheets = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert sheets[-1] == "particles-000000010.png"
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    go(tmp_path)
    with pytest.raises(RunConflict, match="--resume"):
        go(tmp_path)
    with pytest.raises(RunConflict, match="differs"):
        go(tmp_path, resume=True, seed=4)


def test_a_rate_that_blows_up_says_so(tmp_path):
    wild = TRAIN.model_copy(update={"learning_rate": 1e38})
    with pytest.raises(TrainingDiverged, match="learning rate"):
        go(tmp_path, train=wild)
