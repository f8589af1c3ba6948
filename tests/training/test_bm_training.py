"""Training machines beside their rivals: resumption to the bit, divergence in words."""

import pytest
import torch
from pydantic import ValidationError

from tests.training.small_trainings import logged, stopping_run
from tests.training.test_bm import generator
from training.alarms import check_images
from training.bm import Bm
from training.bm_config import BmModelTable, BmTrainTable, Rival
from training.bm_exact import log_likelihood
from training.bm_training import Machines, base_log_odds, restored, train_bm
from training.rbm_config import Phase
from training.rbm_training import TrainingData
from training.run import Interrupted, TrainingDiverged, newest_checkpoint

SHAPE, VISIBLE = (1, 3, 4), 12
MODEL = BmModelTable(hidden=4)
RIVALS = (Rival(name="free", hidden=3, visible_links="none", hidden_links="none"),)
TRAIN = BmTrainTable(
    phases=(
        Phase(epochs=2, batch=20, chains=8, sweeps=2),
        Phase(epochs=1, batch=25, chains=12, sweeps=1),
    ),
    momentum=0.5,
    monitor_every=1,
    monitor_betas=5,
)
# 3 + 3 + 2 updates of each machine.
UPDATES = 2 * 8


def stripes(n: int = 50) -> TrainingData:
    """Pixels of a row are alike."""
    g = generator()
    rows = (torch.rand(n, 3, 1, generator=g) < 0.5).float().expand(-1, -1, 4)
    images = (0.05 + 0.9 * rows).reshape(n, VISIBLE)
    return TrainingData(images=images, held_out=images[:10], shape=SHAPE)


def go(directory, *, resume=False, stop_after=None, train=TRAIN, model=MODEL, rivals=RIVALS):
    with stopping_run(directory, resume=resume, stop_after=stop_after) as (run, stop):
        return train_bm(
            stripes(), model=model, rivals=rivals, train=train, seed=3, run=run, stop=stop
        )


def same(a: Machines, b: Machines) -> bool:
    pairs = [(a.bm, b.bm), *((a.rivals[name], b.rivals[name]) for name in a.rivals)]
    return all(torch.equal(x.W, y.W) and torch.equal(x.b, y.b) for x, y in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return go(directory), directory


@pytest.mark.parametrize("stop_after", [1, 5, 9, 13])
def test_a_run_stopped_in_any_stage_goes_on_to_the_same_bits(tmp_path, whole, stop_after):
    with pytest.raises(Interrupted):
        go(tmp_path, stop_after=stop_after)
    assert same(go(tmp_path, resume=True), whole[0])


@pytest.mark.parametrize(
    "changed", [{"scan": "random"}, {"posterior": "gibbs", "posterior_sweeps": 2}]
)
def test_whatever_the_rule_a_resumed_run_ends_as_an_unbroken_one(tmp_path, changed):
    train = TRAIN.model_copy(update=changed)
    unbroken = go(tmp_path / "a", train=train)
    with pytest.raises(Interrupted):
        go(tmp_path / "b", train=train, stop_after=11)
    assert same(go(tmp_path / "b", train=train, resume=True), unbroken)


def test_the_last_checkpoint_holds_all_machines_that_were_returned(whole):
    machines, directory = whole
    checkpoint = newest_checkpoint(directory)
    assert checkpoint["step"] == UPDATES
    assert same(restored(checkpoint, visible=VISIBLE), machines)
    assert machines.bm.units == 16
    assert machines.rivals["free"].units == 15
    assert machines.rivals["free"].hidden_are_free


def test_a_checkpoint_of_a_rival_holds_no_machine_yet(tmp_path):
    with pytest.raises(Interrupted, match="rival-free"):
        go(tmp_path, stop_after=5)
    assert restored(newest_checkpoint(tmp_path), visible=VISIBLE) is None


def test_bounds_sheets_and_histograms_are_logged(whole):
    _, directory = whole
    lines = logged(directory)
    own = [line for line in lines if "bound__held_out" in line]
    theirs = [line for line in lines if "rival-free__bound__held_out" in line]
    assert [line["epoch"] for line in own] == [1, 2, 3]
    assert len(theirs) == 3
    assert all(line["bound__held_out"] < 0 for line in own)
    assert len(list((directory / "samples").glob("machine-particles-*.png"))) == 3
    assert len(list((directory / "samples").glob("rival-free-particles-*.png"))) == 3


@pytest.mark.parametrize("gradient", ["sampled", "exact"])
def test_training_beats_the_base_rates(tmp_path, gradient):
    """Stripes have 6 nats less than their base rates say; measured by enumeration."""
    phases = (Phase(epochs=100, batch=50, chains=50, sweeps=1),)
    train = TRAIN.model_copy(update={"phases": phases, "gradient": gradient, "ema_decay": 0.9,
                                     "learning_rate": 0.2, "monitor_every": 100})  # fmt: skip
    made = go(tmp_path, train=train, rivals=(), model=BmModelTable(hidden=2)).bm
    images = stripes().images
    v = (images > 0.5).float()
    mean = images.mean(0)
    base = (torch.xlogy(v, mean) + torch.xlogy(1 - v, 1 - mean)).sum(1).mean()
    assert float(log_likelihood(made, v)) > float(base) + 3


def test_a_rate_that_is_far_too_high_ends_with_words(tmp_path):
    phases = (Phase(epochs=300, batch=20, chains=8, sweeps=1),)
    wild = TRAIN.model_copy(
        update={"learning_rate": 10.0, "momentum": 0.99, "phases": phases, "monitor_every": 20}
    )
    with pytest.raises(TrainingDiverged, match="learning rate"):
        go(tmp_path, train=wild, rivals=())


def test_dead_chains_are_told():
    bm = Bm(W=torch.zeros(5, 5), b=torch.zeros(5), visible=3)
    with pytest.raises(TrainingDiverged, match="all 4 chains show the same image at step 7"):
        check_images(bm.reconstruction(torch.ones(4, 5)), step=7)
    alive = Bm(W=torch.ones(5, 5).fill_diagonal_(0), b=torch.zeros(5), visible=3)
    check_images(alive.reconstruction(torch.eye(5)), step=7)


def test_chains_begin_at_the_base_rates_of_images_and_of_their_mean_field():
    images = torch.full((10, 3), 0.25)
    bm = Bm(W=torch.zeros(5, 5), b=torch.tensor([0.0, 0, 0, 2, -2]), visible=3)
    found = base_log_odds(bm, images)
    expected = [*torch.logit(torch.tensor([0.25] * 3)).tolist(), 2.0, -2.0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_chains_of_another_precision_are_refused():
    phase = Phase(epochs=1, chain_precision="bfloat16")
    with pytest.raises(ValidationError, match="float32"):
        BmTrainTable(phases=(phase,))
