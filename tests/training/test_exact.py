"""Enumeration agrees with itself: both layers, both directions."""

import math

import numpy as np
import pytest
import torch

from training.exact import (
    binary_states,
    hidden_distribution,
    log_likelihood,
    log_z,
    state_index,
    visible_distribution,
)
from training.rbm import Rbm


def machine(visible: int, hidden: int, *, seed: int = 0, scale: float = 1.0) -> Rbm:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return scale * torch.randn(shape, generator=g, dtype=torch.float64)

    return Rbm(W=normal(visible, hidden), b=normal(visible), c=normal(hidden))


def test_the_states_are_all_binary_vectors_in_order():
    states = binary_states(3)
    assert states.shape == (8, 3)
    assert torch.equal(state_index(states), torch.arange(8))
    assert states[6].tolist() == [1, 1, 0]


def test_log_z_is_the_same_from_either_layer_and_from_joint_states():
    for shape in ((3, 5), (5, 3)):
        rbm = machine(*shape)
        v, h = binary_states(shape[0]), binary_states(shape[1])
        pairs = [rbm.energy(v, row.expand(len(v), -1)) for row in h]
        joint = float(torch.logsumexp(-torch.stack(pairs).flatten(), 0))
        assert log_z(rbm) == pytest.approx(joint, rel=1e-12)


def test_a_machine_without_weights_has_independent_units():
    rbm = Rbm(W=torch.zeros(3, 4), b=torch.tensor([0.0, 1.0, -2.0]), c=torch.zeros(4))
    expected = sum(math.log1p(math.exp(b)) for b in (0.0, 1.0, -2.0)) + 4 * math.log(2)
    assert log_z(rbm) == pytest.approx(expected, abs=1e-6)


def test_the_distributions_sum_to_one_and_follow_the_conditionals():
    rbm = machine(4, 3)
    p_v, p_h = visible_distribution(rbm), hidden_distribution(rbm)
    assert float(p_v.sum()) == pytest.approx(1)
    # p(v) = Σ_h p(v | h) p(h).
    on = torch.sigmoid(rbm.visible_input(binary_states(3)))
    v = binary_states(4)
    given = (v[:, None] * on + (1 - v[:, None]) * (1 - on)).prod(2)
    np.testing.assert_allclose(p_v, given @ p_h, rtol=1e-10)


def test_cooling_concentrates_the_distribution():
    rbm = machine(4, 3)
    assert visible_distribution(rbm, beta=3.0).max() > visible_distribution(rbm).max()
    assert torch.allclose(visible_distribution(rbm, beta=0.0), torch.full((16,), 1 / 16).double())


def test_the_log_likelihood_is_the_log_of_the_distribution():
    rbm = machine(4, 3)
    v = binary_states(4)
    expected = float(visible_distribution(rbm).log().mean())
    assert float(log_likelihood(rbm, v)) == pytest.approx(expected)


def test_a_machine_too_large_to_enumerate_is_refused():
    with pytest.raises(ValueError, match="21"):
        log_z(machine(21, 21))
