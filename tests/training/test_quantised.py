"""The step that weights are rounded to."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load as load_safetensors

from training.boltzmann_package import tensors_of, weights_file
from training.quantised import best_step, common_shift, quantise, short_step
from training.rbm import Rbm

LIMIT = 127


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@given(st.floats(2**-13, 400))
def test_eight_bit_multiples_of_a_short_step_are_exact_in_float16(least):
    step = short_step(least)
    assert least <= step <= least * 1.125
    exact = np.arange(-LIMIT, LIMIT + 1) * np.float64(step)
    assert (exact.astype(np.float16) == exact).all()


def test_weights_that_are_whole_multiples_already_stay_as_they_are():
    whole = np.random.default_rng(1).integers(-LIMIT, LIMIT, (30, 20))
    whole[0, 0] = LIMIT
    step = best_step(whole * 0.0123456, limit=LIMIT, least=1e-6)
    assert step == pytest.approx(0.0123456)


def test_one_large_weight_is_cut_for_the_sake_of_all_others():
    W = normal(300, 300)
    W[0, 0] = 8.0
    step = float(best_step(W, limit=LIMIT, least=1e-6))
    assert W.max() / 2 <= step * LIMIT * 1.0001 < W.max()


def test_a_step_is_never_finer_than_it_may_be():
    assert best_step(normal(10, 10), limit=LIMIT, least=0.5) >= 0.5


def test_a_file_holds_short_multiples_in_half_the_bytes():
    W = torch.from_numpy(normal(200, 100)).float()
    W[0, 0] = 8.0
    machine = quantise(Rbm(W=W, b=torch.zeros(200), c=torch.zeros(100)), bits=8).dequantised()
    assert len(weights_file({"weight.1": machine.W})) < 2.1 * W.numel()
    assert len(weights_file({"weight.1": W})) > 4 * W.numel()


def test_a_file_of_integers_gives_the_same_numbers_in_a_quarter_of_the_bytes():
    W = torch.from_numpy(normal(200, 100)).float()
    whole = quantise(Rbm(W=W, b=torch.ones(200), c=torch.zeros(100)), bits=8)
    machine = whole.dequantised()
    named = {"weight.1": machine.W, "bias.0": machine.b}
    content = weights_file(named, steps=dict.fromkeys(named, float(whole.step)))
    assert len(content) < 1.1 * W.numel()
    again = tensors_of(load_safetensors(content))
    assert again.keys() == named.keys()
    assert all(torch.equal(again[name], named[name]) for name in named)


@given(st.integers(0, 8), st.integers(1, 127))
def test_a_common_power_of_two_is_found(shift, largest):
    W = np.array([[largest, -1], [0, 1]]) << shift
    found = common_shift(W)
    assert found is not None
    assert found <= shift
    assert np.abs(W >> found).max() <= LIMIT
    assert common_shift(np.array([255, 2])) is None
