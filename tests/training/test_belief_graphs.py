"""The exported graphs of deep belief networks: the right distribution, in the same bytes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.domain.randomness import logistic
from tests.training.test_dbn import generator, small_network
from tests.training.test_exact import machine
from training.belief_graphs import dbn_functions
from training.classifier import with_softmax
from training.classifier_graph import as_exported
from training.dbm import binary_entropy
from training.dbn import log_bernoulli, stack
from training.exact import binary_states, state_index
from training.guide import Guide
from training.label_units import log_evidence, with_label
from training.quantised_network import QuantisedDbn, quantise_network, reference_sweep

CHAINS = 20_000


def session(function, *, threads=1):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(function.graph, options, providers=["CPUExecutionProvider"])


def export(dbn, *, bits=8, shape=None, classifier=None, guide=None):
    whole = quantise_network(dbn, bits=bits, guide=guide)
    base = np.linspace(-1, 1, whole.units, dtype=np.float32)[None]
    if whole.labels:
        base = base * np.linspace(1, -1, whole.labels, dtype=np.float32)[:, None]
    shape = shape or (1, 1, whole.down[0].visible)
    return whole, dbn_functions(whole, base_bias=base, shape=shape, classifier=classifier)


def noise(rng, n, units):
    return logistic(rng.integers(0, 65_536, (n, units), np.uint16))


def swept(run, whole, h, rng, *, label, beta=1.0):
    n = len(h)
    feed = {
        "h": h,
        "noise_top": noise(rng, n, whole.top.hidden),
        "noise_h": noise(rng, n, whole.units),
        "beta": np.full((n, 1), beta, np.float32),
    }
    return run.run(None, feed | ({"label": label} if whole.labels else {}))[0], feed


def conditional(whole: QuantisedDbn, label: int | None, *, beta: float) -> np.ndarray:
    """p(h | label) of the top machine at β, by enumeration; without labels, p(h)."""
    top = whole.top.dequantised().to(torch.float64)
    h = binary_states(whole.units)
    above = binary_states(whole.top.hidden)
    x = h if label is None else with_label(h, torch.full((len(h),), label), labels=whole.labels)
    energy = torch.stack([top.energy(x, row.expand(len(x), -1)) for row in above])
    return torch.softmax(torch.logsumexp(-beta * energy, 0), 0).numpy()


@pytest.mark.statistical
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("label", "beta"), [(None, 1.0), (0, 1.0), (2, 1.0), (1, 0.6)])
def test_the_exported_sweep_samples_the_exact_conditional_of_the_label(bits, label, beta):
    labels = 0 if label is None else 3
    dbn = stack([machine(5, 4, seed=1)], machine(4 + labels, 3, seed=2), labels=labels)
    whole, functions = export(dbn, bits=bits)
    p = conditional(whole, label, beta=beta)
    run, rng = session(functions["sweep"]), np.random.default_rng(3)
    rows = rng.choice(len(p), CHAINS, p=p)
    h = (rows[:, None] >> np.arange(3, -1, -1) & 1).astype(np.uint8)
    held = np.full(CHAINS, label or 0, np.int64)
    floor = 0.5 * np.sqrt(p * (1 - p) / CHAINS).sum()
    for done in range(1, 17):
        h, _ = swept(run, whole, h, rng, label=held, beta=beta)
        if done in {1, 4, 16}:
            seen = np.bincount(state_index(torch.from_numpy(h)).numpy(), minlength=16) / CHAINS
            assert 0.5 * np.abs(seen - p).sum() < 4 * floor, f"after {done} sweeps"


@pytest.fixture(scope="module", params=["labels", "no labels", "two directed layers"])
def middling(request):
    labels = 0 if request.param == "no labels" else 10
    low = [machine(77, 53, seed=1, scale=0.4)]
    if request.param == "two directed layers":
        low.append(machine(53, 31, seed=2, scale=0.4))
    units = len(low[-1].c)
    dbn = stack(low, machine(units + labels, 41, seed=3, scale=0.4), labels=labels)
    single = dbn.to(torch.float32)
    layers = [(d.up, d.c) for d in single.layers]
    tuned = with_softmax([*layers, (single.top.W[:units], single.top.c)], labels=10)
    tuned.W[-1].copy_(torch.randn(41, 10, generator=generator(4)))
    return (*export(dbn, shape=(1, 7, 11), classifier=tuned), tuned)


def test_a_chain_equals_the_reference_bit_for_bit_in_any_batch(middling):
    whole, functions, _ = middling
    rng = np.random.default_rng(2)
    h = (rng.random((40, whole.units)) < 0.5).astype(np.uint8)
    label = rng.integers(0, 10, 40)
    one, two = session(functions["sweep"]), session(functions["sweep"], threads=2)
    for step in range(40):
        found, feed = swept(one, whole, h, rng, label=label, beta=0.5 + step / 40)
        drawn = {name: feed[name] for name in ("noise_top", "noise_h")}
        expected = reference_sweep(whole, h, label=label, noise=drawn, beta=feed["beta"])
        assert np.array_equal(found, expected), f"sweep {step}"
        few = {name: array[:5] for name, array in feed.items()}
        few |= {"label": label[:5]} if whole.labels else {}
        assert np.array_equal(two.run(None, few)[0], expected[:5])
        h = found


def test_a_pass_down_draws_from_the_generative_weights(middling):
    whole, functions, _ = middling
    n, rng = 3000, np.random.default_rng(3)
    h = np.repeat((rng.random((1, whole.units)) < 0.5).astype(np.uint8), n, 0)
    feed = {"h": h, "beta": np.ones((n, 1), np.float32)}
    for i, layer in enumerate(whole.down):
        feed[f"noise_{i}"] = noise(rng, n, layer.visible)
    mean, sample = session(functions["readout"]).run(None, feed)
    assert mean.shape == sample.shape == (n, 1, 7, 11)
    states = whole.dequantised().descend(torch.from_numpy(h).float(), generator(5))
    spread = 5 * np.sqrt(2 * 0.25 / n)
    np.testing.assert_allclose(sample.reshape(n, -1).mean(0), states[0].mean(0), atol=spread)
    np.testing.assert_allclose(sample.mean(0), mean.mean(0), atol=spread)
    decoded = session(functions["decode"]).run(None, {"h": h[:1].astype(np.float32)})[0]
    if len(whole.down) == 1:
        assert decoded.tobytes() == mean[:1].tobytes()


def test_the_float_functions_agree_with_torch(middling):
    whole, functions, tuned = middling
    dbn = whole.dequantised()
    x = np.random.default_rng(6).random((9, 1, 7, 11), dtype=np.float32)
    rows = torch.from_numpy(x.reshape(9, 77))
    states = [rows]
    for layer in dbn.layers:
        states.append(torch.sigmoid(layer.recognise(states[-1])))
    features = session(functions["encode"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(features, states[-1], atol=1e-5)

    h = (states[-1] > 0.5).float()
    energy = session(functions["energy"]).run(None, {"h": h.numpy().astype(np.uint8)})[0]
    evidence = log_evidence(dbn.top, h, labels=dbn.labels)
    np.testing.assert_allclose(energy, -evidence, rtol=1e-5, atol=1e-3)

    expected = log_evidence(dbn.top, states[-1], labels=dbn.labels)
    for i, layer in enumerate(dbn.layers):
        expected = expected + log_bernoulli(states[i], layer.generate(states[i + 1]))
        expected = expected + binary_entropy(states[i + 1]).sum(1)
    score, heatmap = session(functions["score"]).run(None, {"x": x})
    np.testing.assert_allclose(score, -expected, rtol=1e-4, atol=1e-2)
    assert heatmap.shape == x.shape
    assert (heatmap >= 0).all()

    p = session(functions["classify"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(p, torch.softmax(as_exported(tuned).logits([rows]), 1), atol=1e-5)


@pytest.mark.parametrize("labels", [0, 3])
def test_fresh_chains_begin_at_the_base_rates_of_their_label(labels):
    _, functions = export(small_network(labels))
    feed = {"noise_h": noise(np.random.default_rng(1), CHAINS, 2)}
    assert {t.name for t in functions["start"].inputs} == {"noise_h", *(["label"] * (labels > 0))}
    signs = (1, 0, -1) if labels else (1,)
    for label, sign in enumerate(signs):
        held = {"label": np.full(CHAINS, label)} if labels else {}
        h = session(functions["start"]).run(None, feed | held)[0]
        expected = 1 / (1 + np.exp(sign * np.array([1, -1])))
        np.testing.assert_allclose(h.mean(0), expected, atol=5 * 0.5 / CHAINS**0.5)


def test_a_guide_takes_the_place_of_the_label_units_in_a_sweep(middling):
    plain, functions, _ = middling
    if not plain.labels:
        return
    g = generator(7)
    dbn = plain.dequantised()
    guide = Guide(
        up=5 * torch.randn(10, plain.top.hidden, generator=g),
        down=5 * torch.randn(10, plain.units, generator=g),
        bias=torch.zeros(10),
    )
    whole, guided = export(dbn, shape=(1, 7, 11), guide=guide)
    rng = np.random.default_rng(3)
    h = (rng.random((50, whole.units)) < 0.5).astype(np.uint8)
    label = rng.integers(0, 10, 50)
    made, feed = swept(session(guided["sweep"]), whole, h, rng, label=label)
    drawn = {name: feed[name] for name in ("noise_top", "noise_h")}
    expected = reference_sweep(whole, h, label=label, noise=drawn, beta=feed["beta"])
    assert np.array_equal(made, expected)
    unguided = reference_sweep(plain, h, label=label, noise=drawn, beta=feed["beta"])
    assert not np.array_equal(made, unguided)
    for name in ("energy", "encode", "decode", "score", "readout"):
        assert guided[name].graph == functions[name].graph


def test_a_sweep_keeps_its_weights_once_for_both_directions(middling):
    whole, functions, _ = middling
    graph = onnx.load_from_string(functions["sweep"].graph).graph
    big = [t for t in graph.initializer if t.dims == [whole.units, whole.top.hidden]]
    assert len(big) == 1
    assert not [t for t in graph.initializer if t.dims == [whole.top.hidden, whole.units]]


def test_the_weights_of_labels_are_never_cut_off():
    """They are looked up, so that eight bits do not hold them back."""
    top = machine(4 + 3, 5, seed=2)
    top.W[-3:] *= 40.0
    dbn = stack([machine(5, 4, seed=1)], top, labels=3)
    whole, functions = export(dbn, bits=8)
    assert np.abs(whole.top.W[:-3]).max() <= 127 < np.abs(whole.top.W[-3:]).max()
    found = whole.dequantised().top.W
    np.testing.assert_allclose(found, top.W, atol=float(whole.top.step) * 0.501)
    rng = np.random.default_rng(3)
    h = (rng.random((50, 4)) < 0.5).astype(np.uint8)
    label = rng.integers(0, 3, 50)
    made, feed = swept(session(functions["sweep"]), whole, h, rng, label=label)
    drawn = {name: feed[name] for name in ("noise_top", "noise_h")}
    expected = reference_sweep(whole, h, label=label, noise=drawn, beta=feed["beta"])
    assert np.array_equal(made, expected)
