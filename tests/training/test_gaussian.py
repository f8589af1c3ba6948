"""Gaussian visible units: enumeration above, closed forms below, autodiff of the likelihood."""

import math

import pytest
import torch

from training.exact import binary_states, state_index
from training.gaussian import (
    GaussianRbm,
    hidden_distribution,
    initialise,
    log_likelihood,
    log_z_tensor,
)
from training.gaussian_ais import Base, ais, reverse_ais
from training.gaussian_evaluation import gaussian_density
from training.gaussian_learning import (
    GaussianLearner,
    Moments,
    gradient,
    moments,
    run_chains,
    update,
)
from training.rbm_learning import LearningRule


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def machine(visible: int = 3, hidden: int = 4, *, seed: int = 0, scale: float = 0.7):
    g = generator(seed)

    def random(*shape):
        return scale * torch.randn(shape, generator=g, dtype=torch.float64)

    return GaussianRbm(W=random(visible, hidden), b=random(visible), c=random(hidden),
                       z=random(visible))  # fmt: skip


def grid(reach: float = 9.0, n: int = 401) -> tuple[torch.Tensor, float]:
    """Points of a plane, and the area that each stands for."""
    axis = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (2 * reach / (n - 1)) ** 2


def components(rbm: GaussianRbm):
    """p(h), and the mean and variance of v given each h: the machine as a mixture."""
    h = binary_states(len(rbm.c))
    return hidden_distribution(rbm), rbm.visible_mean(h), rbm.variance


def exact_moments(rbm: GaussianRbm, *, draws: int = 400_000) -> Moments:
    """Of the model: by quadrature over a plane, exact to 1e-6."""
    v, area = grid()
    density = (-rbm.free_energy(v) - log_z_tensor(rbm)).exp() * area
    h = torch.sigmoid(rbm.hidden_input(v))
    slope = 0.5 * (v - rbm.b).square() - v * (h @ rbm.W.T)
    return Moments(
        vh=(density[:, None] * v).T @ h, v=density @ v, h=density @ h, slope=density @ slope
    )


def test_both_free_energies_sum_the_joint():
    rbm = machine(2, 4)
    v, area = grid()
    h = binary_states(4)
    row = v[30_000:30_005]
    joint = torch.stack([rbm.energy(row, state.expand(5, -1)) for state in h])
    torch.testing.assert_close(rbm.free_energy(row), -torch.logsumexp(-joint, 0))
    by_quadrature = torch.stack(
        [torch.logsumexp(-rbm.energy(v, state.expand(len(v), -1)), 0) for state in h]
    )
    torch.testing.assert_close(rbm.hidden_free_energy(h), -by_quadrature - math.log(area))


def test_the_density_sums_to_one():
    rbm = machine(2, 3, seed=1)
    v, area = grid()
    assert float((-rbm.free_energy(v) - log_z_tensor(rbm)).exp().sum() * area) == pytest.approx(1)


def test_without_weights_it_is_a_gaussian():
    z = torch.tensor([0.0, 1.0, -1.0]).double()
    b = torch.tensor([1.0, 0.0, -2.0]).double()
    rbm = GaussianRbm(W=torch.zeros(3, 2).double(), b=b, c=torch.zeros(2).double(), z=z)
    v = torch.randn(50, 3, generator=generator(), dtype=torch.float64)
    expected = torch.distributions.Normal(b, (z / 2).exp()).log_prob(v).sum(1).mean()
    torch.testing.assert_close(log_likelihood(rbm, v), expected)


@pytest.mark.parametrize("centred", [False, True])
def test_the_gradient_is_that_of_the_exact_likelihood(centred):
    """With λ it is the gradient in (W, b + Wλ, c, z), the centred parameters."""
    rbm = machine(2, 3, seed=2)
    data = torch.randn(7, 2, generator=generator(3), dtype=torch.float64)
    lam = torch.tensor([0.5, 0.2, 0.7]).double() * centred
    W, b, c, z = (t.clone().requires_grad_() for t in (rbm.W, rbm.b + rbm.W @ lam, rbm.c, rbm.z))
    ordinary = GaussianRbm(W=W, b=b - W @ lam, c=c, z=z)
    dW, db, dc, dz = torch.autograd.grad(log_likelihood(ordinary, data), (W, b, c, z))
    found = gradient(rbm, data=moments(rbm, data), model=exact_moments(rbm), hidden_offset=lam)
    torch.testing.assert_close(found.W, dW, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.b, db - dW @ lam, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.c, dc, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.z, dz, atol=1e-6, rtol=1e-5)


@pytest.mark.statistical
def test_sweeps_leave_the_exact_distribution_where_it_is():
    """p(h) by total variation; v by the mixture's mean and variance, within five σ."""
    rbm, n = machine(3, 4, seed=4).to(torch.float32), 20_000
    p, means, variance = components(rbm.to(torch.float64))
    rows = torch.multinomial(p, n, replacement=True, generator=generator(1))
    h = binary_states(4).float()[rows]
    for sweeps in (1, 4, 16):
        v, after = run_chains(rbm, h, sweeps=sweeps, generator=generator(sweeps))
        seen = torch.bincount(state_index(after), minlength=16) / n
        floor = 0.5 * float((p * (1 - p) / n).sqrt().sum())
        assert 0.5 * float((seen - p).abs().sum()) < 4 * floor
        mean = p @ means
        spread = p @ (means - mean).square() + variance
        assert bool(((v.mean(0) - mean).abs() < 5 * (spread / n).sqrt()).all())
        kurtosis_bound = 5 * spread * (4 / n) ** 0.5
        assert bool(((v.var(0) - spread).abs() < kurtosis_bound).all())


@pytest.mark.statistical
def test_forward_and_reverse_ais_find_the_exact_log_z():
    rbm = machine(5, 6, seed=5).to(torch.float32)
    exact = float(log_z_tensor(rbm))
    p = hidden_distribution(rbm)
    rows = torch.multinomial(p, 500, replacement=True, generator=generator(1))
    v, _ = rbm.sweep(binary_states(6).float()[rows], generator(2))
    base = Base.of(v)
    forward = ais(rbm, base=base, runs=500, betas=500, generator=generator(3))
    backward = reverse_ais(rbm, v, base=base, betas=500, generator=generator(4))
    for found in (forward, backward):
        assert found.low < exact < found.high
        assert found.high - found.low < 1


@pytest.mark.statistical
def test_forward_and_reverse_ais_bracket_log_z_on_average():
    """Mean log weights, with few temperatures: Jensen's inequality holds the gap open."""
    rbm = machine(5, 6, seed=5, scale=1.0).to(torch.float32)
    exact, g = float(log_z_tensor(rbm)), generator(1)
    rows = torch.multinomial(hidden_distribution(rbm), 500, replacement=True, generator=g)
    v, _ = rbm.sweep(binary_states(6).float()[rows], g)
    base = Base.of(v)
    forward = ais(rbm, base=base, runs=500, betas=8, generator=g)
    backward = reverse_ais(rbm, v, base=base, betas=8, generator=g)
    offset = base.log_z(6)
    assert offset + float(forward.log_weights.mean()) < exact
    assert offset - float(backward.log_weights.mean()) > exact


def two_clusters(n: int = 400) -> torch.Tensor:
    """Standardised: two clusters along a diagonal, with little noise across it."""
    g = generator(5)
    sign = torch.randint(2, (n, 1), generator=g) * 2 - 1
    v = sign * torch.tensor([1.0, 1.0, -1.0]) + 0.3 * torch.randn(n, 3, generator=g)
    return (v - v.mean(0)) / v.std(0)


def test_the_gaussian_to_compare_with_is_that_of_the_data():
    data = two_clusters()
    centred = data - data.mean(0)
    fitted = torch.distributions.MultivariateNormal(data.mean(0), centred.T @ centred / len(data))
    expected = float(fitted.log_prob(data[:50]).mean())
    assert gaussian_density(data, data[:50]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("chains", ["data", "persistent"])
def test_learning_raises_the_exact_likelihood_above_that_of_a_gaussian(chains):
    data = two_clusters()
    rbm = initialise(visible=3, hidden=4, scale=0.05, generator=generator())
    learner = GaussianLearner.begin(rbm, chains=100)
    rule, g = LearningRule(sweeps=2, chains=chains, ema_decay=0.9, momentum=0.5), generator(1)
    for _ in range(150):
        update(learner, data, rule=rule, learning_rate=0.05, variance_rate=0.5, generator=g)
    assert float(log_likelihood(learner.averaged, data)) > gaussian_density(data, data)
    assert learner.averaged.variance.max() < 0.5


def test_a_variance_rate_of_0_keeps_unit_variance():
    learner = GaussianLearner.begin(
        initialise(visible=3, hidden=2, scale=0.1, generator=generator()), chains=10
    )
    rule = LearningRule(sweeps=1)
    update(learner, two_clusters(), rule=rule, learning_rate=0.1, variance_rate=0.0,
           generator=generator())  # fmt: skip
    assert torch.equal(learner.machine.variance, torch.ones(3))
    assert learner.machine.c.abs().max() > 0


def test_a_learner_comes_back_from_a_checkpoint():
    learner = GaussianLearner.begin(
        initialise(visible=3, hidden=2, scale=0.1, generator=generator()), chains=10
    )
    learner.grow(15)
    again = GaussianLearner.restored(learner.tensors())
    assert again.tensors().keys() == learner.tensors().keys()
    assert len(again.particles) == 15
