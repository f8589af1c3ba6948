"""What a deep machine's package holds: a step for each layer, and each matrix once."""

import numpy as np
import onnx
import torch

from tests.training.test_dbm import deep_machine
from tests.training.test_deep_graphs import Chain, export
from training.dbm import Dbm, MeanField, mean_field, unnormalised_bound
from training.deep_graphs import name_of
from training.quantised import best_step, common_shift
from training.quantised_deep import quantise_deep, reference_sweep


def test_layers_have_steps_that_are_powers_of_two_apart():
    """A layer of small weights is rounded as finely as if it were alone, or nearly."""
    dbm = deep_machine(30, 40, 20, seed=5)
    coarse = Dbm(W=(dbm.W[0] * 8.0, dbm.W[1] * 0.3), b=dbm.b)
    whole = quantise_deep(coarse, bits=8)
    found = [common_shift(W) for W in whole.W]
    assert found[0] > found[1] == 0
    rounded = whole.dequantised()
    step = float(best_step(coarse.W[1].numpy(), limit=127, least=1e-6))
    alone = np.clip(np.rint(coarse.W[1].numpy() / step), -127, 127) * step - coarse.W[1].numpy()
    error = rounded.W[1].double() - coarse.W[1]
    assert float(error.square().mean()) < 2.5 * np.square(alone).mean()
    whole, functions = export(coarse)
    chain = Chain(functions, whole, seed=1)
    h = {1: (chain.rng.random((20, 40)) < 0.5).astype(np.uint8)}
    noise, held = chain.noise(20), chain.fixed(20)
    feed = {"h1": h[1]} | {f"noise_{name_of(i)}": u for i, u in noise.items()} | held
    (made,) = chain.sessions["sweep"].run(None, feed)
    assert np.array_equal(made, reference_sweep(whole, h, noise, **held)[1])
    x = chain.rng.random((5, 1, 1, 30), dtype=np.float32)
    found = chain.sessions["score"].run(["negative_bound"], {"x": x})[0]
    mu = mean_field(rounded, torch.from_numpy(x.reshape(5, -1)), MeanField(updates=7, tolerance=0))
    np.testing.assert_allclose(found, -unnormalised_bound(rounded, mu), rtol=1e-4, atol=1e-2)


def test_a_sweep_keeps_its_weights_once_for_both_directions():
    _, functions = export(deep_machine(30, 40, 20, seed=5))
    graph = onnx.load_from_string(functions["sweep"].graph).graph
    shapes = [tuple(t.dims) for t in graph.initializer if len(t.dims) == 2 and 1 not in t.dims]
    assert len(shapes) == len(set(shapes) | {shape[::-1] for shape in shapes}) // 2 == 2
