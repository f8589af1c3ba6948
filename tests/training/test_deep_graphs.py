"""The exported graphs of deep machines: the right distribution, the same bytes in any batch."""

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.domain.randomness import logistic
from tests.training.test_dbm import deep_machine, joint
from training.dbm import MeanField, mean_field, unnormalised_bound
from training.deep_graphs import dbm_functions, name_of
from training.exact import state_index
from training.graph_builder import IR_VERSION, OPSET
from training.package import Function
from training.quantised import EXACT_FLOAT32, LARGEST_WEIGHT
from training.quantised_deep import QuantisedDbm, quantise_deep, reference_sweep

CHAINS = 20_000
SIZES = [(4, 3, 3), (3, 3, 2, 2)]


def session(function: Function, *, threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(function.graph, options, providers=["CPUExecutionProvider"])


def export(dbm, *, bits=8, shape=None) -> tuple[QuantisedDbm, dict[str, Function]]:
    whole = quantise_deep(dbm, bits=bits)
    base = {i: np.linspace(-1, 1, whole.sizes[i], dtype=np.float32) for i in whole.even}
    return whole, dbm_functions(
        whole, base_bias=base, shape=shape or (1, 1, whole.sizes[0]), mean_field_updates=7
    )


class Chain:
    """Exported sweeps of many chains; states are odd layers."""

    def __init__(self, functions, whole: QuantisedDbm, *, seed: int, threads: int = 1) -> None:
        self.sessions = {k: session(f, threads=threads) for k, f in functions.items()}
        self.whole, self.rng = whole, np.random.default_rng(seed)

    def noise(self, n: int) -> dict[int, np.ndarray]:
        draws = {i: self.rng.integers(0, 65_536, (n, size), np.uint16)
                 for i, size in enumerate(self.whole.sizes)}  # fmt: skip
        return {i: logistic(u) for i, u in draws.items()}

    def fixed(self, n: int, *, clamp_mask=None, clamp_values=None, beta=1.0):
        free = np.zeros((n, self.whole.sizes[0]), bool)
        return {
            "clamp_mask": free if clamp_mask is None else clamp_mask,
            "clamp_values": free if clamp_values is None else clamp_values,
            "beta": np.full((n, 1), beta, np.float32),
        }

    def sweep(self, odd, *, noise=None, **fixed):
        n = len(odd[1])
        drawn = self.noise(n) if noise is None else noise
        feed = {name_of(i): h for i, h in odd.items()}
        feed |= {f"noise_{name_of(i)}": u for i, u in drawn.items()}
        answers = self.sessions["sweep"].run(None, feed | self.fixed(n, **fixed))
        return dict(zip(self.whole.odd, answers, strict=True))


def odd_index(odd) -> np.ndarray:
    return state_index(torch.from_numpy(np.concatenate(list(odd.values()), 1))).numpy()


def odd_distribution(whole: QuantisedDbm, *, beta=1.0, given=None) -> np.ndarray:
    """p(h¹, h³, …) by the definition, at β and where `given(v)` holds."""
    dbm = whole.dequantised().to(torch.float64)
    states = joint(dbm)
    weight = torch.softmax(-beta * dbm.energy(states), 0)
    if given is not None:
        weight = weight * given(states[0])
    where = state_index(torch.cat([states[i] for i in whole.odd], 1))
    p = torch.zeros(int(where.max()) + 1, dtype=torch.float64).index_add_(0, where, weight)
    return (p / p.sum()).numpy()


def distance_in_floors(seen: np.ndarray, p: np.ndarray) -> float:
    floor = 0.5 * np.sqrt(p * (1 - p) / CHAINS).sum()
    counts = np.bincount(seen, minlength=len(p)) / CHAINS
    return float(0.5 * np.abs(counts - p).sum() / floor)


def assert_stays(chain: Chain, p: np.ndarray, *, sweeps=(1, 4, 16), **fixed):
    """Total variation between p and the chains' distribution stays under 4 × the floor."""
    rows = np.random.default_rng(5).choice(len(p), CHAINS, p=p)
    widths = [chain.whole.sizes[i] for i in chain.whole.odd]
    bits = (rows[:, None] >> np.arange(sum(widths) - 1, -1, -1) & 1).astype(np.uint8)
    parts = np.split(bits, np.cumsum(widths)[:-1], axis=1)
    odd, done = dict(zip(chain.whole.odd, parts, strict=True)), 0
    for count in sweeps:
        while done < count:
            odd = chain.sweep(odd, **fixed)
            done += 1
        far = distance_in_floors(odd_index(odd), p)
        assert far < 4, f"after {count} sweeps: {far:.2f} floors"


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("beta", [1.0, 0.6])
def test_the_exported_sweep_leaves_the_exact_distribution_where_it_is(sizes, bits, beta):
    whole, functions = export(deep_machine(*sizes, seed=1), bits=bits)
    assert_stays(Chain(functions, whole, seed=2), odd_distribution(whole, beta=beta), beta=beta)


@pytest.mark.statistical
def test_the_stationarity_test_notices_a_wrong_machine():
    whole, functions = export(deep_machine(4, 3, 3, seed=1))
    with pytest.raises(AssertionError, match="after"):
        assert_stays(Chain(functions, whole, seed=2), odd_distribution(whole, beta=1.15))


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
def test_clamped_sweeps_sample_the_exact_conditional(sizes):
    """p(h¹, h³, … | v₀ = 1, v₂ = 0) by enumeration."""
    whole, functions = export(deep_machine(*sizes, seed=3))
    p = odd_distribution(whole, given=lambda v: (v[:, 0] == 1) & (v[:, 2] == 0))
    mask = np.zeros((CHAINS, sizes[0]), bool)
    mask[:, [0, 2]] = True
    values = np.zeros_like(mask)
    # What a unit that is not held would be held at must not matter.
    values[:, :2] = True
    assert_stays(Chain(functions, whole, seed=4), p, clamp_mask=mask, clamp_values=values)


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
def test_fresh_chains_begin_at_the_base_rates_and_keep_their_clamps(sizes):
    whole, functions = export(deep_machine(*sizes, seed=1))
    dbm = whole.dequantised().to(torch.float64)
    h = dict(enumerate(joint(dbm)))
    p = (h[0][:, -1] == 1).double()
    for layer in (*dbm.even, *dbm.odd):
        x = dbm.input(layer, h) if layer % 2 else torch.linspace(-1, 1, dbm.sizes[layer])
        on = torch.sigmoid(x).double()
        p = p * (h[layer] * on + (1 - h[layer]) * (1 - on)).prod(1)
    where = state_index(torch.cat([h[i] for i in dbm.odd], 1))
    expected = torch.zeros(int(where.max()) + 1, dtype=torch.float64).index_add_(0, where, p)
    chain = Chain(functions, whole, seed=6)
    held = np.zeros((CHAINS, sizes[0]), bool)
    held[:, -1] = True
    feed = {f"noise_{name_of(i)}": u for i, u in chain.noise(CHAINS).items()}
    states = chain.sessions["start"].run(None, feed | {"clamp_mask": held, "clamp_values": held})
    found = odd_index(dict(zip(whole.odd, states, strict=True)))
    assert distance_in_floors(found, (expected / expected.sum()).numpy()) < 4


MIDDLING = {
    "8 bits": (8, (77, 53, 41)),
    "16 bits": (16, (77, 53, 41)),
    "three layers": (8, (77, 31, 29, 23)),
}


@pytest.fixture(scope="module", params=MIDDLING)
def middling(request) -> tuple[QuantisedDbm, dict[str, Function]]:
    """Odd sizes, so that no vector width divides them."""
    bits, sizes = MIDDLING[request.param]
    return export(deep_machine(*sizes, seed=8, scale=0.4), bits=bits, shape=(1, 7, 11))


def random_odd(whole: QuantisedDbm, n: int, seed: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {i: (rng.random((n, whole.sizes[i])) < 0.5).astype(np.uint8) for i in whole.odd}


def test_a_chain_equals_the_reference_bit_for_bit(middling):
    whole, functions = middling
    chain = Chain(functions, whole, seed=1)
    rng = np.random.default_rng(2)
    odd = random_odd(whole, 40, 3)
    clamps = {name: rng.random((40, 77)) < 0.3 for name in ("clamp_mask", "clamp_values")}
    for step in range(60):
        noise = chain.noise(40)
        fixed = {**clamps, "beta": 0.5 + step / 50}
        found = chain.sweep(odd, noise=noise, **fixed)
        expected = reference_sweep(whole, odd, noise, **chain.fixed(40, **fixed))
        for layer in whole.odd:
            assert np.array_equal(found[layer], expected[layer]), f"sweep {step}, layer {layer}"
        odd = found


def test_a_row_is_the_same_in_any_batch_and_with_any_number_of_threads(middling):
    whole, functions = middling
    start = random_odd(whole, 64, 3)
    drawer = Chain(functions, whole, seed=4)
    noises = [drawer.noise(64) for _ in range(20)]

    def run(rows: int, threads: int) -> list[np.ndarray]:
        chain = Chain(functions, whole, seed=0, threads=threads)
        odd = {i: h[:rows] for i, h in start.items()}
        for noise in noises:
            odd = chain.sweep(odd, noise={i: u[:rows] for i, u in noise.items()})
        feed = {"h1": odd[1], "noise_v": noises[0][0][:rows],
                "beta": np.ones((rows, 1), np.float32)}  # fmt: skip
        return [*odd.values(), *chain.sessions["readout"].run(None, feed)]

    whole_batch = run(64, 1)
    for rows in (1, 5, 64):
        for threads in (1, 2):
            for part, everything in zip(run(rows, threads), whole_batch, strict=True):
                assert part.tobytes() == everything[:rows].tobytes()


def test_decode_of_a_binary_state_is_the_mean_of_the_readout_bit_for_bit(middling):
    whole, functions = middling
    noise = Chain(functions, whole, seed=5).noise(64)[0]
    for n in (1, 7, 64):
        h = random_odd(whole, n, 4)[1]
        feed = {"h1": h, "noise_v": noise[:n], "beta": np.ones((n, 1), np.float32)}
        mean, sample = session(functions["readout"]).run(None, feed)
        decoded = session(functions["decode"]).run(None, {"h": h.astype(np.float32)})[0]
        assert decoded.tobytes() == mean.tobytes()
        assert decoded.shape == (n, 1, 7, 11)
        assert set(np.unique(sample)) <= {0.0, 1.0}


def test_the_mean_is_the_sigmoid_and_the_sample_is_a_draw_of_it(middling):
    whole, functions = middling
    n = 4000
    h = np.repeat(random_odd(whole, 1, 5)[1], n, 0)
    noise = Chain(functions, whole, seed=6).noise(n)[0]
    feed = {"h1": h, "noise_v": noise, "beta": np.full((n, 1), 0.7, np.float32)}
    mean, sample = session(functions["readout"]).run(None, feed)
    exact = torch.sigmoid(0.7 * whole.dequantised().input(0, {1: torch.from_numpy(h[:1]).float()}))
    np.testing.assert_allclose(mean[0].ravel(), exact[0], atol=1e-4)
    spread = np.sqrt(mean[0] * (1 - mean[0]) / n)
    assert (np.abs(sample.mean(0) - mean[0]) <= 5 * spread + 1e-4).all()


def test_the_float_functions_agree_with_torch(middling):
    whole, functions = middling
    dbm = whole.dequantised()
    x = np.random.default_rng(6).random((9, 1, 7, 11), dtype=np.float32)
    rows = torch.from_numpy(x.reshape(9, 77))
    mu = mean_field(dbm, rows, MeanField(updates=7, tolerance=0))
    features = session(functions["encode"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(features, mu[1], atol=2e-5)

    odd = random_odd(whole, 9, 7)
    energy = session(functions["energy"]).run(None, {name_of(i): h for i, h in odd.items()})[0]
    expected = dbm.free_energy({i: torch.from_numpy(h).float() for i, h in odd.items()})
    np.testing.assert_allclose(energy, expected, rtol=1e-5, atol=1e-3)

    score, heatmap = session(functions["score"]).run(None, {"x": x})
    np.testing.assert_allclose(score, -unnormalised_bound(dbm, mu), rtol=1e-4, atol=1e-3)
    p = torch.sigmoid(dbm.input(0, {1: mu[1]})).double()
    q = rows.double()
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    np.testing.assert_allclose(heatmap.reshape(9, 77), divergence, atol=1e-3)


def test_black_and_white_pixels_have_finite_scores(middling):
    _, functions = middling
    x = np.zeros((2, 1, 7, 11), np.float32)
    x[1] = 1
    score, heatmap = session(functions["score"]).run(None, {"x": x})
    assert np.isfinite(score).all()
    assert np.isfinite(heatmap).all()
    assert (heatmap >= 0).all()


def test_a_state_of_several_layers_says_which_features_it_has(middling):
    whole, functions = middling
    assert ("features" in functions) == (len(whole.odd) > 1)
    if "features" in functions:
        h = random_odd(whole, 3, 1)[1]
        found = session(functions["features"]).run(None, {"h1": h})[0]
        assert np.array_equal(found, h.astype(np.float32))


def test_graphs_carry_nothing_but_the_computation(middling):
    _, functions = middling
    for function in functions.values():
        model = onnx.load_from_string(function.graph)
        assert model.ir_version <= IR_VERSION
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert not model.metadata_props
        assert not model.doc_string
        assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Bernoulli", "RandomUniform", "RandomUniformLike", "RandomNormal"}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_quantising_is_as_fine_as_it_can_be_and_sums_stay_exact(bits, scale):
    dbm = deep_machine(40, 30, 20, 10, scale=scale)
    whole = quantise_deep(dbm, bits=bits)
    back = whole.dequantised()
    for found, exact in zip((*back.W, *back.b), (*dbm.W, *dbm.b), strict=True):
        most = LARGEST_WEIGHT[bits] * float(whole.step) if found.ndim == 2 else math.inf
        error = (found.double() - exact.clamp(-most, most)).abs().max()
        assert float(error) <= float(whole.step) * 0.51
    assert max(np.abs(W).max() for W in whole.W) <= LARGEST_WEIGHT[bits]
    for layer, bias in enumerate(whole.b):
        total = sum(np.abs(W).sum(0) for _, W in whole.neighbours(layer)) + np.abs(bias)
        assert total.max() < EXACT_FLOAT32
