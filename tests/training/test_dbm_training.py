"""Pre-training and joint training of a deep machine: tied copies, and resumption to the bit."""

import pytest
import torch

from tests.training.small_trainings import LAYER, PHASES, logged, stopping_run, tiny_data
from tests.training.test_dbm import generator
from training.alarms import check_images, check_sane
from training.dbm import MeanField, mean_field, unnormalised_bound
from training.dbm_config import DeepModelTable, JointTable
from training.dbm_learning import DbmLearner
from training.dbm_learning import LearningRule as DbmRule
from training.dbm_learning import update as dbm_update
from training.dbm_training import compose, restore_averaged, train_dbm, upon
from training.exact import binary_states
from training.layerwise import doubled, doublings, rise, single, tie
from training.rbm import Rbm, initialise
from training.rbm_config import Phase
from training.rbm_learning import LearnerState, LearningRule, update
from training.run import Interrupted, TrainingDiverged, newest_checkpoint

SIZES = (6, 5, 4)
JOINT = JointTable(
    phases=PHASES,
    momentum=0.5,
    monitor_every=1,
    monitor_betas=5,
)
# 3 + 3 updates an RBM of three, then 3 + 3 + 2 together.
UPDATES = 3 * 6 + 8


def go(directory, *, resume=False, stop_after=None, train=JOINT, start=None):
    with stopping_run(directory, resume=resume, stop_after=stop_after) as (run, stop):
        return train_dbm(
            tiny_data(),
            model=DeepModelTable(hidden=SIZES),
            pretraining=() if start else (LAYER,) * 3,
            train=train,
            start=start,
            seed=3,
            run=run,
            stop=stop,
        )


def small_rbm(visible: int, hidden: int, seed: int = 0) -> Rbm:
    mean = torch.rand(visible, generator=generator(seed))
    return initialise(mean, hidden=hidden, scale=0.5, generator=generator(seed))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return go(directory), directory


@pytest.mark.parametrize("stop_after", [1, 7, 17, 19, 24])
def test_a_run_stopped_in_any_stage_goes_on_to_the_same_bits(tmp_path, whole, stop_after):
    with pytest.raises(Interrupted):
        go(tmp_path, stop_after=stop_after)
    again = go(tmp_path, resume=True)
    for found, expected in zip((*again.W, *again.b), (*whole[0].W, *whole[0].b), strict=True):
        assert torch.equal(found, expected)


def test_the_last_checkpoint_holds_the_machine_that_was_returned(whole):
    machine, directory = whole
    checkpoint = newest_checkpoint(directory)
    assert checkpoint["step"] == UPDATES
    found = restore_averaged(checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(found.W, machine.W, strict=True))
    assert machine.sizes == (12, *SIZES)


def test_a_checkpoint_of_pretraining_holds_no_deep_machine(tmp_path):
    with pytest.raises(Interrupted, match="rbm-2"):
        go(tmp_path, stop_after=8)
    assert restore_averaged(newest_checkpoint(tmp_path)) is None


def test_bounds_sheets_and_histograms_are_logged(whole):
    _, directory = whole
    bounds = [line for line in logged(directory) if "bound__held_out" in line]
    assert [line["epoch"] for line in bounds] == [1, 2, 3]
    assert all(line["bound__held_out"] < 0 for line in bounds)
    assert len(list((directory / "samples").glob("particles-*.png"))) == 3
    assert any("rbm-2__largest_weight" in line for line in logged(directory))


def test_a_rate_that_is_far_too_high_ends_with_words(tmp_path):
    wild = JOINT.model_copy(update={"learning_rate": 10.0, "momentum": 0.99})
    phases = (Phase(epochs=200, batch=20, chains=8, sweeps=1),)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        go(tmp_path, train=wild.model_copy(update={"phases": phases}))


def test_numbers_that_are_not_finite_and_dead_chains_are_told():
    with pytest.raises(TrainingDiverged, match=r"weight\.1 is not finite at step 7"):
        check_sane({"weight.1": torch.tensor([1.0, torch.nan])}, step=7)
    machine = compose([small_rbm(6, 4), small_rbm(4, 3)])
    learner = DbmLearner.begin(machine, data=torch.ones(1, 6), chains=5, generator=generator())
    with pytest.raises(TrainingDiverged, match="all 5 chains show the same image"):
        check_images(torch.sigmoid(learner.dbm.input(0, learner.particles)), step=3)


@pytest.mark.parametrize("doubling", ["none", "below", "above", "both"])
def test_one_copy_of_a_doubled_machine_is_the_machine(doubling):
    rbm = small_rbm(5, 3)
    twice = doubled(rbm, doubling)
    back = single(twice, doubling)
    for name in ("W", "b", "c"):
        torch.testing.assert_close(getattr(back, name), getattr(rbm, name))
    v = (torch.rand(4, 5, generator=generator()) < 0.5).float()
    factor = len(twice.b) // 5
    told = twice.hidden_input(v.repeat(1, factor))[:, :3]
    torch.testing.assert_close(told, rbm.c + factor * (v @ rbm.W))


@pytest.mark.parametrize("doubling", ["below", "above", "both"])
def test_copies_stay_tied_through_learning(doubling):
    twice = doubled(small_rbm(6, 4), doubling)
    state = LearnerState.begin(twice, chains=5, visible_mean=torch.full_like(twice.b, 0.5))
    g = generator(1)
    data = (torch.rand(10, 6, generator=g) < 0.5).float()
    for _ in range(3):
        x = data.repeat(1, len(state.b) // 6)
        update(state, x, rule=LearningRule(sweeps=1, momentum=0.5), learning_rate=0.1, generator=g)
        tie(state, doubling)
    for rbm in (state.rbm, state.averaged):
        again = doubled(single(rbm, doubling), doubling)
        torch.testing.assert_close(again.W, rbm.W)
        torch.testing.assert_close(again.b, rbm.b)


def test_the_composed_machine_halves_what_two_neighbours_say_twice():
    low, high = small_rbm(6, 4, seed=1), small_rbm(4, 3, seed=2)
    dbm = compose([low, high])
    v = (torch.rand(5, 6, generator=generator()) < 0.5).float()
    h2 = (torch.rand(5, 3, generator=generator(1)) < 0.5).float()
    from_below = low.c + 2 * (v @ low.W)
    from_above = high.b + 2 * (h2 @ high.W.T)
    torch.testing.assert_close(dbm.input(1, {0: v, 2: h2}), (from_below + from_above) / 2)


def test_a_machine_upon_another_has_its_marginal_while_its_new_weights_are_0():
    first = small_rbm(5, 4)
    rbm = Rbm(
        W=first.W.double(), b=first.b.double(), c=torch.randn(4, generator=generator(1)).double()
    )
    dbm = compose(upon(rbm, (4, 3, 2), scale=0.0, generator=generator()))
    v = binary_states(5)
    states = binary_states(5 + 4 + 3 + 2)
    energy = dbm.energy(states.split((5, 4, 3, 2), 1))
    marginal = torch.softmax(-energy, 0).view(len(v), -1).sum(1)
    torch.testing.assert_close(marginal, torch.softmax(-rbm.free_energy(v), 0))
    # Mean-field is exact there: the bound is the log-likelihood.
    mu = mean_field(dbm, v, MeanField())
    log_z = torch.logsumexp(-energy, 0)
    torch.testing.assert_close(unnormalised_bound(dbm, mu) - log_z, marginal.log())


def test_small_new_weights_change_the_marginal_by_their_square_alone():
    rbm, v, states = small_rbm(5, 4), binary_states(5), binary_states(5 + 4 + 6)
    rbm = Rbm(W=rbm.W.double(), b=rbm.b.double(), c=rbm.c.double())

    def moved(scale: float) -> float:
        dbm = compose(upon(rbm, (4, 6), scale=scale, generator=generator()))
        p = torch.softmax(-dbm.energy(states.split((5, 4, 6), 1)), 0).view(len(v), -1).sum(1)
        return float((p - torch.softmax(-rbm.free_energy(v), 0)).abs().max())

    assert moved(0.02) / moved(0.01) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("stop_after", [1, 3, 7])
def test_a_run_upon_a_machine_goes_on_to_the_same_bits(tmp_path, stop_after):
    start, train = small_rbm(12, 6), JOINT.model_copy(update={"upper_share": 4.0})
    expected = go(tmp_path / "whole", start=start, train=train)
    with pytest.raises(Interrupted):
        go(tmp_path / "parts", start=start, train=train, stop_after=stop_after)
    found = go(tmp_path / "parts", start=start, train=train, resume=True)
    for a, b in zip((*found.W, *found.b), (*expected.W, *expected.b), strict=True):
        assert torch.equal(a, b)


def test_upper_layers_learn_at_their_share_of_the_rate():
    moved = []
    for share in (1.0, 10.0):
        layers = upon(small_rbm(6, 5), (5, 4), scale=0.1, generator=generator())
        data = torch.rand(20, 6, generator=generator(2)).round()
        learner = DbmLearner.begin(compose(layers), data=data, chains=8, generator=generator(3))
        before = learner.dbm.copy()
        rule = DbmRule(sweeps=1, upper_share=share, offset_rate=None)
        dbm_update(learner, data, rule=rule, learning_rate=0.01, generator=generator(4))
        after = learner.dbm
        pairs = zip((*after.W, *after.b), (*before.W, *before.b), strict=True)
        moved.append([a - b for a, b in pairs])
    for slow, fast, times in zip(*moved, (1, 10, 1, 1, 10), strict=True):
        torch.testing.assert_close(fast, times * slow, atol=1e-6, rtol=1e-3)


def test_activities_rise_through_doubled_layers():
    assert doublings(2) == ("below", "above")
    assert doublings(4) == ("below", "both", "both", "above")
    rbm = Rbm(W=torch.full((2, 3), 50.0), b=torch.zeros(2), c=torch.full((3,), -75.0))
    v = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert rise(v, [rbm], ["below"], generator()).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert rise(v, [rbm], ["none"], generator()).tolist() == [[0, 0, 0], [0, 0, 0]]
