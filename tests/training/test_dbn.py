"""The deep belief network and its label units, against enumeration."""

import math

import pytest
import torch

from tests.training.test_exact import machine
from training.dbn import Dbn, Directed, log_bernoulli, mean_bound, stack
from training.exact import binary_states, log_z
from training.label_units import (
    draw_visible,
    free_energies,
    label_probabilities,
    log_evidence,
    with_label,
)
from training.rbm import Rbm, draw
from training.rbm_ais import ais, reverse_ais

LABELS = [0, 3]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def top_states(units: int, labels: int) -> torch.Tensor:
    """Every [h, y] with one label on."""
    h = binary_states(units)
    if not labels:
        return h
    return torch.cat(
        [with_label(h, torch.full((len(h),), y), labels=labels) for y in range(labels)]
    )


def top_log_z(rbm: Rbm, labels: int) -> torch.Tensor:
    states = top_states(len(rbm.b) - labels, labels)
    return torch.logsumexp(-rbm.free_energy(states), 0)


def small_network(labels: int, *, seed: int = 0, untied: bool = True) -> Dbn:
    """4-3-2 directed, then 2 (and labels) with 3 on top."""
    low, middle = machine(4, 3, seed=seed), machine(3, 2, seed=seed + 1)
    made = stack([low, middle], machine(2 + labels, 3, seed=seed + 2), labels=labels)
    if not untied:
        return made
    g = generator(seed)
    layers = [
        Directed(up=d.up + 0.3 * torch.randn(d.up.shape, generator=g).double(), c=d.c,
                 down=d.down, b=d.b)
        for d in made.layers
    ]  # fmt: skip
    return Dbn(layers=tuple(layers), top=made.top, labels=labels)


def log_p(dbn: Dbn, v: torch.Tensor) -> torch.Tensor:
    """log p(v), exact: every h¹ and h² is summed over."""
    h1, h2 = binary_states(3), binary_states(2)
    prior = log_evidence(dbn.top, h2, labels=dbn.labels) - top_log_z(dbn.top, dbn.labels)
    middle = torch.stack([log_bernoulli(h1, dbn.layers[1].generate(h.expand(8, -1))) for h in h2])
    log_h1 = torch.logsumexp(middle + prior[:, None], 0)
    low = torch.stack([log_bernoulli(v, dbn.layers[0].generate(h.expand(len(v), -1))) for h in h1])
    return torch.logsumexp(low + log_h1[:, None], 0)


@pytest.mark.parametrize("labels", LABELS)
def test_the_evidence_of_a_machine_sums_its_labels_out(labels):
    rbm = machine(4 + labels, 3)
    v = binary_states(4)
    if not labels:
        torch.testing.assert_close(log_evidence(rbm, v, labels=0), -rbm.free_energy(v))
        return
    each = torch.stack(
        [-rbm.free_energy(with_label(v, torch.full((16,), y), labels=3)) for y in range(3)], 1
    )
    torch.testing.assert_close(free_energies(rbm, v, labels=3), -each)
    torch.testing.assert_close(log_evidence(rbm, v, labels=3), torch.logsumexp(each, 1))
    torch.testing.assert_close(label_probabilities(rbm, v, labels=3), torch.softmax(each, 1))


@pytest.mark.statistical
def test_one_label_is_drawn_by_the_softmax_and_other_units_by_the_sigmoid():
    log_odds = torch.tensor([0.5, -1.0, 0.3, 1.2, -2.0])
    n = 40_000
    x = draw_visible(log_odds.expand(n, -1), labels=3, generator=generator(1))
    assert bool((x[:, 2:].sum(1) == 1).all())
    expected = torch.cat([torch.sigmoid(log_odds[:2]), torch.softmax(log_odds[2:], 0)])
    spread = 5 * (expected * (1 - expected) / n).sqrt()
    assert bool(((x.mean(0) - expected).abs() < spread).all())


@pytest.mark.statistical
@pytest.mark.parametrize("labels", LABELS)
def test_ais_and_reverse_ais_find_the_exact_log_z_of_the_top(labels):
    rbm = machine(7 + labels, 8, seed=labels, scale=0.8)
    exact = float(top_log_z(rbm, labels))
    base = torch.linspace(-1, 1, 7)
    found = ais(rbm, labels=labels, base_bias=base, runs=400, betas=500, generator=generator(2))
    assert found.low < exact < found.high
    states = top_states(7, labels)
    p = torch.softmax(-rbm.free_energy(states), 0)
    x = states[torch.multinomial(p, 400, replacement=True, generator=generator(3))]
    back = reverse_ais(rbm, x, labels=labels, base_bias=base, betas=500, generator=generator(4))
    assert back.low < exact < back.high
    if not labels:
        assert exact == pytest.approx(log_z(rbm))


@pytest.mark.statistical
@pytest.mark.parametrize("labels", LABELS)
def test_forward_and_reverse_runs_bracket_log_z_on_average(labels):
    """E[log w] is a lower bound forwards and an upper one in reverse: Jensen's inequality."""
    rbm = machine(6 + labels, 5, seed=5 + labels, scale=1.5)
    exact, base = float(top_log_z(rbm, labels)), torch.zeros(6)
    forward = ais(rbm, labels=labels, base_bias=base, runs=400, betas=8, generator=generator(6))
    states = top_states(6, labels)
    p = torch.softmax(-rbm.free_energy(states), 0)
    x = states[torch.multinomial(p, 400, replacement=True, generator=generator(7))]
    back = reverse_ais(rbm, x, labels=labels, base_bias=base, betas=8, generator=generator(8))
    offset = 11 * math.log(2) + math.log(max(labels, 1))
    assert offset + float(forward.log_weights.mean()) < exact
    assert offset - float(back.log_weights.mean()) > exact


@pytest.mark.parametrize("labels", LABELS)
def test_the_probabilities_of_a_network_sum_to_one(labels):
    dbn = small_network(labels)
    assert torch.exp(log_p(dbn, binary_states(4))).sum() == pytest.approx(1)


@pytest.mark.statistical
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("untied", [True, False])
def test_the_bound_never_exceeds_the_exact_likelihood(labels, untied):
    dbn = small_network(labels, seed=3, untied=untied)
    v = binary_states(4)
    exact = log_p(dbn, v)
    draws = 4000
    many = torch.stack([dbn.bound_sample(v, generator(i)) for i in range(draws)])
    bound = many.mean(0) - top_log_z(dbn.top, labels)
    error = 5 * many.std(0) / draws**0.5
    assert bool((bound <= exact + error).all())
    whole = mean_bound(dbn, v, log_z=float(top_log_z(dbn.top, labels)), draws=draws,
                       generator=generator(5))  # fmt: skip
    assert whole == pytest.approx(float(bound.mean()), abs=float(error.mean()))


@pytest.mark.statistical
def test_the_bound_is_that_of_enumerating_the_posterior():
    """E_q[log p(v, h) - log q(h | v)] by summing over every h¹ and h²."""
    dbn = small_network(3, seed=6)
    v = binary_states(4)[[5]]
    total = torch.zeros((), dtype=torch.float64)
    q1 = torch.sigmoid(dbn.layers[0].recognise(v))
    for h1 in binary_states(3):
        weight1 = (h1 * q1 + (1 - h1) * (1 - q1)).prod()
        q2 = torch.sigmoid(dbn.layers[1].recognise(h1[None]))
        for h2 in binary_states(2):
            weight = weight1 * (h2 * q2 + (1 - h2) * (1 - q2)).prod()
            value = log_bernoulli(v, dbn.layers[0].generate(h1[None]))
            value = value + log_bernoulli(h1[None], dbn.layers[1].generate(h2[None]))
            value = value + log_evidence(dbn.top, h2[None], labels=3) - torch.log(weight)
            total = total + weight * value[0]
    many = dbn.bound_sample(v.expand(20_000, -1), generator(7))
    assert float(many.mean()) == pytest.approx(
        float(total), abs=5 * float(many.std()) / 20_000**0.5
    )


@pytest.mark.statistical
def test_passes_up_and_down_follow_their_own_weights():
    dbn = small_network(0, seed=8)
    n = 20_000
    v = binary_states(4)[[6]].expand(n, -1)
    states = dbn.rise(v, generator(1))
    assert [s.shape[1] for s in states] == [4, 3, 2]
    expected = torch.sigmoid(dbn.layers[0].recognise(v[:1]))[0]
    assert bool(((states[1].mean(0) - expected).abs() < 5 * 0.5 / n**0.5).all())
    h = binary_states(2)[[1]].expand(n, -1)
    down = dbn.descend(h, generator(2))
    assert [s.shape[1] for s in down] == [4, 3, 2]
    expected = torch.sigmoid(dbn.layers[1].generate(h[:1]))[0]
    assert bool(((down[1].mean(0) - expected).abs() < 5 * 0.5 / n**0.5).all())
    mean = dbn.mean_image(h, generator(3)).mean(0)
    assert bool(((down[0].mean(0) - mean).abs() < 10 * 0.5 / n**0.5).all())


def test_greedy_layers_begin_tied_and_are_copies():
    low = machine(4, 3)
    dbn = stack([low], machine(3, 2), labels=0)
    assert torch.equal(dbn.layers[0].up, dbn.layers[0].down)
    dbn.layers[0].up.zero_()
    assert dbn.layers[0].down.abs().max() > 0
    assert low.W.abs().max() > 0
    h = draw(torch.full((5, 3), 0.5).double(), generator())
    torch.testing.assert_close(dbn.layers[0].generate(h), low.visible_input(h))
