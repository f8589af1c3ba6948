"""Bennett's ratio against densities and machines of known log Z, within its own error bar."""

import math

import pytest
import torch

from tests.training.test_exact import machine
from training.bennett import base_log_z, bennett, ladder_log_z
from training.exact import binary_states, hidden_distribution, log_z
from training.rbm import Rbm
from training.replicas import Stacked
from training.tempering import Tempered


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_ratios(n: int, m: int, *, seed: int):
    """Of exp(-x²/2) and exp(-(x - 1)²/8): log Z₁/Z₀ = log 2."""
    g = generator(seed)

    def ratio(x):
        return -((x - 1) ** 2) / 8 + x**2 / 2

    return ratio(torch.randn(n, generator=g)), ratio(1 + 2 * torch.randn(m, generator=g))


def exact_states(machines, columns: int, *, seed: int) -> torch.Tensor:
    g = generator(seed)
    states = binary_states(len(machines[0].c)).float()
    rows = [
        torch.multinomial(hidden_distribution(m), columns, replacement=True, generator=g)
        for m in machines
    ]
    return torch.stack([states[r] for r in rows])


@pytest.mark.statistical
@pytest.mark.parametrize(("n", "m"), [(4000, 4000), (6000, 500)])
def test_the_ratio_of_two_gaussians_is_found_and_the_error_bar_is_honest(n, m):
    """Over 40 repetitions the errors are as large as they say: χ² within about 4σ."""
    found = [bennett(*gaussian_ratios(n, m, seed=s)) for s in range(40)]
    z = torch.tensor([(r.value - math.log(2)) / r.error for r in found])
    assert float(z.abs().max()) < 4
    assert 0.4 < float(z.square().mean()) < 2.0


def test_equal_densities_have_ratio_one_and_no_error():
    zero = torch.zeros(10)
    assert bennett(zero, zero).value == pytest.approx(0, abs=1e-9)
    assert bennett(zero, zero).error == pytest.approx(0, abs=1e-6)
    shifted = bennett(zero + 700.0, zero + 700.0)
    assert shifted.value == pytest.approx(700.0)


def test_the_base_of_a_ladder_has_an_exact_log_z():
    rbm = Rbm(W=torch.zeros(4, 3), b=torch.linspace(-1, 1, 4), c=torch.tensor([0.0, 1.0, -2.0]))
    assert base_log_z(rbm) == pytest.approx(log_z(rbm))
    # Of two label units one is on: of the states 00, 01, 10 and 11 only two are left.
    free = math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-1 / 3))
    labels = math.log(math.exp(1 / 3) + math.exp(1.0))
    hidden = math.log(2) + math.log1p(math.e) + math.log1p(math.exp(-2))
    assert base_log_z(rbm, labels=2) == pytest.approx(free + labels + hidden)


@pytest.mark.statistical
def test_log_z_of_a_ladder_agrees_with_enumeration_within_its_error_bar():
    """Twelve ladders; correlated sweeps and swaps between rungs are in the jackknife's error."""
    z = []
    for seed in range(12):
        rbm = machine(8, 5, seed=seed, scale=1.2).to(torch.float32)
        rungs = Tempered(rbm, torch.zeros(8), torch.linspace(0, 1, 5))
        machines = [
            Rbm(W=beta * rbm.W, b=bias, c=beta * rbm.c)
            for beta, bias in zip(rungs.betas, rungs.visible_bias, strict=True)
        ]
        found = ladder_log_z(
            rungs,
            exact_states(machines, 100, seed=seed),
            base_log_z=13 * math.log(2),
            sweeps=20,
            generator=generator(seed),
        )
        assert found.error < 0.1
        assert found.low < found.value < found.high
        assert found.acceptance.min() > 0.2
        z.append((found.value - log_z(rbm)) / found.error)
    z = torch.tensor(z)
    assert float(z.abs().max()) < 4
    assert float(z.square().mean()) < 2.5


def test_the_estimate_leaves_the_chains_alone_and_follows_the_generator():
    machines = [machine(4, 3, seed=s, scale=0.5).to(torch.float32) for s in (1, 2)]
    h = exact_states(machines, 10, seed=0)
    kept = h.clone()
    once, again = (
        ladder_log_z(Stacked.of(machines), h, base_log_z=0.0, sweeps=7, generator=generator(1))
        for _ in range(2)
    )
    assert torch.equal(h, kept)
    assert once.value == again.value
    with pytest.raises(ValueError, match="sweeps=1"):
        ladder_log_z(Stacked.of(machines), h, base_log_z=0.0, sweeps=1, generator=generator(1))
