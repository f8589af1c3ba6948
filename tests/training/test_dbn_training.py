"""Training a belief network: wake and sleep against autodiff, resumption to the bit, alarms."""

import pytest
import torch

from tests.training.small_trainings import LAYER, PHASES, logged, stopping_run, tiny_data
from tests.training.test_dbn import generator, log_p, small_network
from training.alarms import check_chains, check_sane
from training.dbn import Dbn, log_bernoulli
from training.dbn_config import DbnModelTable, UpDownTable
from training.dbn_learning import DbnLearner, fantasy, sleep, update, wake
from training.dbn_training import LabelledImages, restore_averaged, train_dbn
from training.exact import binary_states
from training.rbm import Rbm
from training.rbm_config import Phase
from training.rbm_learning import LearningRule
from training.run import Interrupted, TrainingDiverged, newest_checkpoint

SIZES = (6, 5, 4)
UP_DOWN = UpDownTable(
    phases=PHASES,
    greedy_epochs=1,
    momentum=0.5,
    monitor_every=1,
    monitor_betas=5,
    monitor_draws=2,
)
# 3 + 3 updates of each of two directed layers, then 3 + 3 + 2 of the whole.
UPDATES = 2 * 6 + 8


def labelled_data() -> LabelledImages:
    labels = torch.arange(50) % 3
    return LabelledImages(**vars(tiny_data()), labels=labels, held_out_labels=labels[:10])


def go(directory, *, resume=False, stop_after=None, train=UP_DOWN, labels=True):
    with stopping_run(directory, resume=resume, stop_after=stop_after) as (run, stop):
        return train_dbn(
            labelled_data(),
            model=DbnModelTable(hidden=SIZES, labels=labels),
            pretraining=(LAYER,) * 2,
            train=train,
            seed=3,
            run=run,
            stop=stop,
        )


def tensors(dbn: Dbn) -> list[torch.Tensor]:
    layers = [t for d in dbn.layers for t in (d.up, d.c, d.down, d.b)]
    return [*layers, dbn.top.W, dbn.top.b, dbn.top.c]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    return go(directory), directory


@pytest.mark.parametrize("stop_after", [1, 7, 11, 14, 18])
def test_a_run_stopped_in_any_stage_goes_on_to_the_same_bits(tmp_path, whole, stop_after):
    with pytest.raises(Interrupted):
        go(tmp_path, stop_after=stop_after)
    again = go(tmp_path, resume=True)
    assert all(map(torch.equal, tensors(again), tensors(whole[0])))


def test_the_last_checkpoint_holds_the_network_that_was_returned(whole):
    dbn, directory = whole
    checkpoint = newest_checkpoint(directory)
    assert checkpoint["step"] == UPDATES
    found = restore_averaged(checkpoint, labels=3)
    assert all(map(torch.equal, tensors(found), tensors(dbn)))
    assert found.top.W.shape == (5 + 3, 4)


def test_a_checkpoint_of_pretraining_holds_no_network(tmp_path):
    with pytest.raises(Interrupted, match="rbm-2"):
        go(tmp_path, stop_after=8)
    assert restore_averaged(newest_checkpoint(tmp_path), labels=3) is None


def test_the_directions_part_once_the_greedy_epochs_are_over(tmp_path, whole):
    low = whole[0].layers[0]
    assert not torch.equal(low.up, low.down)
    greedy = UP_DOWN.model_copy(update={"greedy_epochs": 3})
    low = go(tmp_path, train=greedy).layers[0]
    assert torch.equal(low.up, low.down)


def test_a_network_without_labels_is_trained_as_well(tmp_path):
    short = (Phase(epochs=1, batch=50, chains=8, sweeps=1),)
    quick = UP_DOWN.model_copy(update={"phases": short, "greedy_epochs": 0})
    assert go(tmp_path, labels=False, train=quick).top.W.shape == (5, 4)


def test_bounds_errors_sheets_and_histograms_are_logged(whole):
    _, directory = whole
    lines = logged(directory)
    bounds = [line for line in lines if "bound__held_out" in line]
    assert [line["epoch"] for line in bounds] == [1, 2, 3]
    assert all(line["bound__held_out"] < 0 for line in bounds)
    assert all(0 <= line["labels__held_out_error"] <= 1 for line in bounds)
    assert all(line["reconstruction__held_out"] > 0 for line in bounds)
    layers = [line for line in lines if "rbm-2__pseudo_likelihood_held_out" in line]
    assert len(layers) == 2
    assert all(line["rbm-2__pseudo_likelihood_held_out"] < 0 for line in layers)
    assert len(list((directory / "samples").glob("particles-*.png"))) == 3
    (events,) = (directory / "tensorboard").iterdir()
    kept = events.read_bytes()
    for name in ("weights/1-up", "weights/2-down", "weights/top", "activity/1", "activity/top",
                 "rbm-1/activity", "rbm-2/weights"):  # fmt: skip
        assert name.encode() in kept


def test_a_rate_that_is_far_too_high_ends_with_words(tmp_path):
    phases = (Phase(epochs=40, batch=20, chains=8, sweeps=1),)
    wild = {"learning_rate": 10.0, "momentum": 0.99, "phases": phases, "monitor_every": 10}
    with pytest.raises(TrainingDiverged, match="learning rate"):
        go(tmp_path, train=UP_DOWN.model_copy(update=wild))


def test_numbers_that_are_not_finite_and_dead_chains_are_told():
    with pytest.raises(TrainingDiverged, match=r"top\.W is not finite at step 7"):
        check_sane({"top.W": torch.tensor([1.0, torch.nan])}, step=7)
    with pytest.raises(TrainingDiverged, match=r"b reaches 2e\+03 at step 8"):
        check_sane({"b": torch.tensor([1.0, -2000.0])}, step=8)
    with pytest.raises(TrainingDiverged, match="the 20 chains have died at step 9"):
        check_chains(torch.ones(20, 4), step=9)
    check_chains(torch.ones(3, 4), step=9)


@pytest.mark.parametrize("direction", ["wake", "sleep"])
def test_wake_and_sleep_ascend_the_likelihood_of_the_states_that_they_see(direction):
    """One step of each is the gradient, by autodiff, of what one direction says of the other."""
    dbn = small_network(0, seed=4)
    states = dbn.rise(binary_states(4), generator(1))
    expected = []
    for layer, x, h in zip(dbn.layers, states, states[1:], strict=False):
        names = ("down", "b") if direction == "wake" else ("up", "c")
        leaves = [getattr(layer, name).clone().requires_grad_() for name in names]
        if direction == "wake":
            value = log_bernoulli(x, leaves[1] + h @ leaves[0].T).mean()
        else:
            value = log_bernoulli(h, leaves[1] + x @ leaves[0]).mean()
        grads = torch.autograd.grad(value, leaves)
        expected.append({n: getattr(layer, n) + 0.3 * g for n, g in zip(names, grads, strict=True)})
    (wake if direction == "wake" else sleep)(dbn.layers, states, rate=0.3)
    for layer, wanted in zip(dbn.layers, expected, strict=True):
        for name, tensor in wanted.items():
            torch.testing.assert_close(getattr(layer, name), tensor)


@pytest.mark.statistical
def test_the_wake_step_is_the_gradient_of_the_variational_bound():
    """∇ of E_q[log p(v, h) - log q(h | v)] in the generative weights, summed over every h."""
    dbn = small_network(0, seed=5)
    v, layer = binary_states(4), dbn.layers[0]
    leaf = layer.down.clone().requires_grad_()
    q = torch.sigmoid(layer.recognise(v))
    bound = torch.zeros((), dtype=torch.float64)
    for h in binary_states(3):
        weight = (h * q + (1 - h) * (1 - q)).prod(1)
        bound = bound + (weight * log_bernoulli(v, (layer.b + leaf @ h).expand(16, -1))).mean()
    (expected,) = torch.autograd.grad(bound, leaf)
    many = v.repeat(4000, 1)
    start = layer.down.clone()
    wake(dbn.layers, dbn.rise(many, generator(2)), rate=1.0)
    torch.testing.assert_close(layer.down - start, expected, atol=0.01, rtol=0)


def test_up_down_teaches_a_network_from_nothing_what_two_images_are():
    """Pre-trained by nothing: what it knows at the end, wake, sleep and the top have learned."""

    def small(visible: int, hidden: int, seed: int) -> Rbm:
        W = 0.7 * torch.randn(visible, hidden, generator=generator(seed))
        return Rbm(W=W, b=torch.zeros(visible), c=torch.zeros(hidden))

    learner = DbnLearner.begin([small(4, 3, 1), small(3, 2, 2)], small(2, 3, 3), labels=0,
                               chains=50, visible_mean=torch.full((2,), 0.5))  # fmt: skip
    data, noise = binary_states(4)[[0, 15]], generator(4)
    v, y = data.float().repeat(20, 1), torch.zeros(40, dtype=torch.int64)
    rule = LearningRule(sweeps=1, ema_decay=0.9)
    for _ in range(120):
        update(learner, v, y, rule=rule, learning_rate=0.3, lower_rate=2.0, generator=noise)
    after = float(log_p(learner.averaged_dbn.to(torch.float64), data).mean())
    assert -1.1 < after < -0.69  # it began at -2.93; log ½ is the best that there is


def test_fantasies_are_states_of_the_topmost_directed_layer(whole):
    learner = DbnLearner.restored(newest_checkpoint(whole[1])["tensors"], labels=3)
    x = fantasy(learner, generator())
    assert x.shape == (12, 5)
    assert set(x.unique().tolist()) <= {0.0, 1.0}
