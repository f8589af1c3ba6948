"""The machine and its learning rule, against enumeration and autodiff."""

import numpy as np
import pytest
import torch

from tests.training.test_exact import machine
from training.exact import binary_states, log_likelihood, visible_distribution
from training.rbm import Rbm, base_rate_bias, draw, initialise, noise16
from training.rbm_chains import run_chains
from training.rbm_gradient import (
    Statistics,
    centred_gradient,
    limit_norms,
    sparsity_gradient,
    statistics,
)
from training.rbm_learning import LearnerState, LearningRule, update


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_model_statistics(rbm: Rbm) -> Statistics:
    """<v hᵀ>, <v>, <h> under the machine itself, by enumeration."""
    v = binary_states(len(rbm.b))
    p = visible_distribution(rbm)
    h = torch.sigmoid(rbm.hidden_input(v))
    return Statistics(vh=(p[:, None] * v).T @ h, v=p @ v, h=p @ h)


def autodiff_gradient(rbm: Rbm, v: torch.Tensor) -> Rbm:
    """∇ of the exact mean log-likelihood."""
    leaf = Rbm(*(t.clone().requires_grad_() for t in (rbm.W, rbm.b, rbm.c)))
    grads = torch.autograd.grad(log_likelihood(leaf, v), (leaf.W, leaf.b, leaf.c))
    return Rbm(*grads)


def digits_like(n: int = 60, visible: int = 12, seed: int = 0) -> torch.Tensor:
    g = generator(seed)
    prototypes = (torch.rand(3, visible, generator=g) < 0.5).float()
    flips = (torch.rand(n, visible, generator=g) < 0.05).float()
    return (prototypes[torch.randint(3, (n,), generator=g)] - flips).abs()


def test_the_free_energy_sums_the_hidden_units_out():
    rbm = machine(5, 4)
    v, h = binary_states(5), binary_states(4)
    joint = torch.stack([rbm.energy(v, row.expand(len(v), -1)) for row in h])
    torch.testing.assert_close(rbm.free_energy(v), -torch.logsumexp(-joint, 0))
    by_visible = torch.stack([rbm.energy(row.expand(len(h), -1), h) for row in v])
    torch.testing.assert_close(rbm.hidden_free_energy(h), -torch.logsumexp(-by_visible, 0))


def test_the_plain_gradient_is_that_of_the_exact_likelihood():
    rbm = machine(4, 3, seed=1)
    v = binary_states(4)[[3, 5, 6, 9, 9]]
    zero = torch.zeros(1, dtype=torch.float64)
    found = centred_gradient(
        data=statistics(rbm, v),
        model=exact_model_statistics(rbm),
        visible_offset=zero.expand(4),
        hidden_offset=zero.expand(3),
    )
    expected = autodiff_gradient(rbm, v)
    torch.testing.assert_close(found.W, expected.W)
    torch.testing.assert_close(found.b, expected.b)
    torch.testing.assert_close(found.c, expected.c)


def test_the_centred_gradient_is_the_exact_gradient_of_the_centred_parameters():
    """With W' = W, b' = b + Wλ, c' = c + Wᵀμ, the centred machine is an ordinary one.

    Following the gradient in (W', b', c') moves (W, b, c) by the centred gradient.
    """
    rbm = machine(4, 3, seed=2)
    v = binary_states(4)[[1, 2, 12]]
    mu = torch.tensor([0.3, 0.6, 0.1, 0.9]).double()
    lam = torch.tensor([0.5, 0.2, 0.7]).double()
    W, b, c = (t.clone().requires_grad_() for t in (rbm.W, rbm.b + rbm.W @ lam, rbm.c + mu @ rbm.W))
    ordinary = Rbm(W=W, b=b - W @ lam, c=c - mu @ W)
    dW, db, dc = torch.autograd.grad(log_likelihood(ordinary, v), (W, b, c))
    found = centred_gradient(
        data=statistics(rbm, v),
        model=exact_model_statistics(rbm),
        visible_offset=mu,
        hidden_offset=lam,
    )
    torch.testing.assert_close(found.W, dW)
    torch.testing.assert_close(found.b, db - dW @ lam)
    torch.testing.assert_close(found.c, dc - mu @ dW)


@pytest.mark.parametrize("centred", [False, True])
def test_the_sparsity_gradient_is_that_of_its_penalty(centred):
    """In the centred parameters W' = W, b' = b + Wλ, c' = c + Wᵀμ, as the likelihood's is."""
    rbm = machine(4, 3, seed=2)
    v = binary_states(4)[[1, 2, 12, 12, 7]]
    mu = torch.tensor([0.3, 0.6, 0.1, 0.9]).double() * centred
    lam = torch.tensor([0.5, 0.2, 0.7]).double() * centred
    W, b, c = (t.clone().requires_grad_() for t in (rbm.W, rbm.b + rbm.W @ lam, rbm.c + mu @ rbm.W))
    q = torch.sigmoid(Rbm(W=W, b=b - W @ lam, c=c - mu @ W).hidden_input(v)).mean(0)
    penalty = -0.5 * 3.0 * (q - 0.1).square().sum()
    dW, dc = torch.autograd.grad(penalty, (W, c))
    found = sparsity_gradient(rbm, v, target=0.1, cost=3.0, visible_offset=mu, hidden_offset=lam)
    torch.testing.assert_close(found.W, dW)
    torch.testing.assert_close(found.b, -dW @ lam)
    torch.testing.assert_close(found.c, dc - mu @ dW)


def test_a_sparsity_target_draws_the_activities_to_it():
    data = digits_like()
    mean = data.mean(0)
    activity = {}
    for cost in (0.0, 5.0):
        rbm = initialise(mean, hidden=6, scale=0.01, generator=generator())
        state = LearnerState.begin(rbm, chains=50, visible_mean=mean)
        rule = LearningRule(sweeps=1, sparsity_target=0.1, sparsity_cost=cost)
        g = generator(7)
        for _ in range(300):
            update(state, data, rule=rule, learning_rate=0.1, generator=g)
        activity[cost] = float(torch.sigmoid(state.rbm.hidden_input(data)).mean())
    assert activity[5.0] < 0.2 < activity[0.0]


def test_long_weights_are_shortened_to_the_norm_and_others_left_alone():
    W = torch.tensor([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]])
    limit_norms(W, most=1.0)
    torch.testing.assert_close(W, torch.tensor([[0.6, 0.3, 0.0], [0.8, 0.4, 0.0]]))


def test_no_hidden_unit_passes_the_norm_that_a_rule_sets():
    data = digits_like()
    state = LearnerState.begin(
        initialise(data.mean(0), hidden=4, scale=0.01, generator=generator()),
        chains=20,
        visible_mean=data.mean(0),
    )
    rule, g = LearningRule(sweeps=1, max_norm=0.1), generator(1)
    for _ in range(50):
        update(state, data, rule=rule, learning_rate=0.2, generator=g)
    norms = state.W.norm(dim=0)
    assert norms.max() < 0.1 + 1e-5
    assert norms.max() > 0.09


@pytest.mark.statistical
@pytest.mark.parametrize("chains", ["data", "persistent"])
def test_the_sampled_gradient_approaches_the_exact_one(chains):
    """CD-k and PCD with many sweeps and chains; tolerance: five standard errors."""
    rbm = machine(4, 3, seed=3, scale=0.5)
    rows = 40_000
    data = binary_states(4)[[3, 5, 6, 9]].repeat(rows // 4, 1)
    exact = autodiff_gradient(rbm, data[:4])
    h = (
        draw(torch.sigmoid(rbm.hidden_input(data)), generator(1))
        if chains == "data"
        else torch.zeros(rows, 3).double()
    )
    v, _ = run_chains(rbm, h, sweeps=30, precision="float32", generator=generator(2))
    found = centred_gradient(
        data=statistics(rbm, data),
        model=statistics(rbm, v),
        visible_offset=torch.zeros(4).double(),
        hidden_offset=torch.zeros(3).double(),
    )
    tolerance = 5 * 0.5 / rows**0.5
    for name in ("W", "b", "c"):
        error = (getattr(found, name) - getattr(exact, name)).abs().max()
        assert float(error) < tolerance, name


@pytest.mark.statistical
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sweeps_leave_the_exact_distribution_where_it_is(precision):
    rbm = machine(4, 3, seed=4).to(torch.float32)
    p = visible_distribution(rbm)
    n = 20_000
    rows = torch.multinomial(p, n, replacement=True, generator=generator(1))
    h = draw(torch.sigmoid(rbm.hidden_input(binary_states(4).float()[rows])), generator(2))
    powers = torch.tensor([8, 4, 2, 1])
    # E|p̂ − p| ≤ √(p(1 − p)/n) for each state.
    floor = 0.5 * float((p * (1 - p) / n).sqrt().sum())
    for sweeps in (1, 4, 16):
        v, _ = run_chains(rbm, h, sweeps=sweeps, precision=precision, generator=generator(sweeps))
        counts = torch.bincount((v.long() * powers).sum(1), minlength=16)
        distance = 0.5 * float((counts / n - p).abs().sum())
        assert distance < 4 * floor, f"after {sweeps} sweeps"


def test_noise_is_uniform_and_a_draw_is_its_threshold():
    u = noise16((200, 500), generator())
    assert u.dtype == torch.int16
    assert abs(float(u.float().mean())) < 5 * 18918 / (100_000**0.5)
    assert int(u.min()) < -32_000
    assert int(u.max()) > 32_000
    p = torch.tensor([0.0, 0.25, 1.0]).expand(40_000, 3)
    on = draw(p, generator())
    assert on[:, 0].max() == 0
    assert on[:, 2].min() == 1
    assert float(on[:, 1].mean()) == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 40_000) ** 0.5)


def test_learning_raises_the_exact_likelihood():
    data = digits_like()
    mean = data.mean(0)
    rbm = initialise(mean, hidden=6, scale=0.01, generator=generator())
    state = LearnerState.begin(rbm, chains=50, visible_mean=mean)
    rule = LearningRule(sweeps=2, momentum=0.5, ema_decay=0.9, weight_decay=1e-4)
    before = float(log_likelihood(state.rbm, data))
    g = generator(7)
    for _ in range(300):
        update(state, data, rule=rule, learning_rate=0.1, generator=g)
    after = float(log_likelihood(state.averaged, data))
    assert after > before + 1.5


@pytest.mark.parametrize("offsets", ["data", "average", "none"])
def test_offsets_follow_the_means_that_they_are_told_to(offsets):
    data = digits_like()
    state = LearnerState.begin(
        initialise(data.mean(0), hidden=4, scale=0.01, generator=generator()),
        chains=20,
        visible_mean=torch.full((12,), 0.5),
    )
    rule = LearningRule(sweeps=1, offsets=offsets, offset_rate=1.0)
    update(state, data, rule=rule, learning_rate=0.01, generator=generator())
    if offsets == "data":
        torch.testing.assert_close(state.visible_offset, data.mean(0))
    elif offsets == "none":
        assert state.visible_offset.abs().max() == 0
    else:
        assert not torch.equal(state.visible_offset, data.mean(0))
        assert bool((state.visible_offset - 0.5).abs().max() <= 0.5)


def test_contrastive_divergence_leaves_the_particles_alone():
    data = digits_like()
    state = LearnerState.begin(
        initialise(data.mean(0), hidden=4, scale=0.01, generator=generator()),
        chains=5,
        visible_mean=data.mean(0),
    )
    rule = LearningRule(sweeps=1, chains="data")
    update(state, data, rule=rule, learning_rate=0.01, generator=generator())
    assert state.particles.abs().max() == 0
    assert state.W.abs().max() > 0


def test_particles_grow_by_copies_and_shrink_to_the_first():
    state = LearnerState.begin(
        machine(3, 4).to(torch.float32), chains=2, visible_mean=torch.ones(3)
    )
    state.particles = torch.arange(8.0).reshape(2, 4)
    state.grow(5)
    assert state.particles[:, 0].tolist() == [0, 4, 0, 4, 0]
    state.grow(1)
    assert state.particles.tolist() == [[0, 1, 2, 3]]


def test_the_base_rates_are_kept_from_the_ends():
    bias = base_rate_bias(torch.tensor([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(bias, [-6.9068, 0, 6.9068], atol=1e-3)


@pytest.mark.statistical
def test_the_pseudo_likelihood_of_independent_units_is_their_likelihood():
    b = torch.linspace(-2, 2, 10)
    rbm = Rbm(W=torch.zeros(10, 3), b=b, c=torch.zeros(3))
    v = draw(torch.sigmoid(b).expand(20_000, -1).contiguous(), generator(1))
    exact = float(log_likelihood(rbm, v))
    assert rbm.pseudo_likelihood(v, generator(2)) == pytest.approx(exact, abs=0.05)


def test_reconstruction_is_better_for_what_was_learned():
    data = digits_like()
    state = LearnerState.begin(
        initialise(data.mean(0), hidden=8, scale=0.01, generator=generator()),
        chains=50,
        visible_mean=data.mean(0),
    )
    g = generator(1)
    before = state.rbm.reconstruction_error(data)
    for _ in range(200):
        update(state, data, rule=LearningRule(sweeps=1), learning_rate=0.1, generator=g)
    assert state.rbm.reconstruction_error(data) < before / 2
