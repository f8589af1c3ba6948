"""The exported graphs: the reference's bits, torch's chains, the exact distribution."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.domain.randomness import logistic
from tests.training.test_bm import KINDS, random_bm
from training.bm import mean_field, unnormalised_bound
from training.bm_connections import colour_blocks, connections
from training.bm_exact import distribution
from training.bm_graphs import MEAN_STEPS, bm_functions, score_method
from training.bm_quantised import (
    OUT_OF_REACH,
    QuantisedBm,
    quantise_bm,
    reference_sweep,
    thresholds,
)
from training.bm_sampling import Held, sweep
from training.dbm import MeanField
from training.exact import binary_states, state_index
from training.graph_builder import IR_VERSION, OPSET
from training.package import Function
from training.quantised import EXACT_FLOAT32, LARGEST_WEIGHT

CHAINS = 20_000
ROUNDS = MeanField(updates=7, tolerance=0.0, damping=0.5)


def session(function: Function, *, threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(function.graph, options, providers=["CPUExecutionProvider"])


class Exported:
    """A machine's graphs, and the sweeps of many chains."""

    def __init__(self, kind: str, *, shape=(1, 1, 3), hidden=2, bits=8, seed=1, scale=1.5) -> None:
        visible_links, hidden_links = KINDS[kind]
        links = connections(
            shape, hidden=hidden, visible_links=visible_links, hidden_links=hidden_links
        )
        visible = shape[1] * shape[2]
        self.blocks = colour_blocks(links, visible=visible)
        bm = random_bm(links, visible=visible, seed=seed, scale=scale)
        self.whole = quantise_bm(bm, bits=bits)
        self.base = np.linspace(-1, 1, len(links), dtype=np.float32)
        self.functions = bm_functions(
            self.whole, blocks=self.blocks, base_bias=self.base, shape=shape, posterior=ROUNDS
        )
        self.sessions = {name: session(f) for name, f in self.functions.items()}

    def run(self, name: str, **feed):
        return self.sessions[name].run(None, feed)

    def sweep(self, x, noise, *, clamp_mask=None, clamp_values=None, beta=1.0):
        fixed = self.fixed(len(x), clamp_mask=clamp_mask, clamp_values=clamp_values, beta=beta)
        return self.run("sweep", x=x, noise=noise, **fixed)[0]

    def fixed(self, n, *, clamp_mask=None, clamp_values=None, beta=1.0):
        free = np.zeros((n, self.whole.visible), bool)
        return {
            "clamp_mask": free if clamp_mask is None else clamp_mask,
            "clamp_values": free if clamp_values is None else clamp_values,
            "beta": np.full((n, 1), beta, np.float32),
        }


def noise_of(rng: np.random.Generator, n: int, units: int) -> np.ndarray:
    return logistic(rng.integers(0, 65_536, (n, units), np.uint16))


def random_states(rng: np.random.Generator, n: int, units: int) -> np.ndarray:
    return (rng.random((n, units)) < 0.5).astype(np.uint8)


def assert_stays(exported: Exported, p: np.ndarray, *, sweeps=(1, 4, 16), **fixed) -> None:
    """Total variation between p and the chains' distribution stays under 4 × the floor."""
    floor = 0.5 * np.sqrt(p * (1 - p) / CHAINS).sum()
    rng, done = np.random.default_rng(5), 0
    units = exported.whole.units
    x = binary_states(units).numpy().astype(np.uint8)[rng.choice(len(p), CHAINS, p=p / p.sum())]
    for count in sweeps:
        while done < count:
            x = exported.sweep(x, noise_of(rng, CHAINS, units), **fixed)
            done += 1
        where = state_index(torch.from_numpy(x)).numpy()
        seen = np.bincount(where, minlength=len(p)) / CHAINS
        far = 0.5 * np.abs(seen - p).sum() / floor
        assert far < 4, f"after {count} sweeps: {far:.2f} floors"


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("bits", "beta"), [(8, 1.0), (8, 0.6), (16, 1.7)])
def test_the_exported_sweep_leaves_the_exact_distribution_where_it_is(kind, bits, beta):
    exported = Exported(kind, bits=bits)
    p = distribution(exported.whole.dequantised(), beta=beta).numpy()
    assert_stays(exported, p, beta=beta)


@pytest.mark.statistical
def test_the_stationarity_test_notices_another_temperature():
    exported = Exported("full")
    p = distribution(exported.whole.dequantised(), beta=1.3).numpy()
    with pytest.raises(AssertionError, match="after"):
        assert_stays(exported, p)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", KINDS)
def test_clamped_sweeps_sample_the_exact_conditional(kind):
    """p(x | v₀ = 1, v₂ = 0) by enumeration."""
    exported = Exported(kind, seed=3)
    states = binary_states(5)
    p = distribution(exported.whole.dequantised()) * (states[:, 0] == 1) * (states[:, 2] == 0)
    mask = np.tile(np.array([1, 0, 1], bool), (CHAINS, 1))
    # What a unit that is not held would be held at must not matter.
    values = np.tile(np.array([1, 1, 0], bool), (CHAINS, 1))
    assert_stays(exported, (p / p.sum()).numpy(), clamp_mask=mask, clamp_values=values)


@pytest.mark.statistical
def test_fresh_chains_begin_at_independent_units_and_keep_their_clamps():
    exported = Exported("full")
    rng = np.random.default_rng(6)
    held = np.tile(np.array([0, 0, 1], bool), (CHAINS, 1))
    x = exported.run("start", noise=noise_of(rng, CHAINS, 5), clamp_mask=held, clamp_values=held)[0]
    assert x[:, 2].min() == 1
    expected = 1 / (1 + np.exp(-exported.base.astype(np.float64)))
    expected[2] = 1
    spread = np.sqrt(expected * (1 - expected) / CHAINS)
    assert (np.abs(x.mean(0) - expected) <= 5 * spread + 1e-4).all()
    between = x.astype(float).T @ x / CHAINS - np.outer(expected, expected)
    np.fill_diagonal(between, 0)
    assert np.abs(between).max() < 5 * 0.5 / CHAINS**0.5


# Odd sizes, so that no vector width divides them.
MIDDLING = {
    "full": ("full", 8),
    "full, 16 bits": ("full", 16),
    "neighbours": ("neighbours", 8),
    "neighbours, 16 bits": ("neighbours", 16),
    "hidden alone": ("hidden alone", 8),
}


@pytest.fixture(scope="module", params=MIDDLING)
def middling(request) -> Exported:
    kind, bits = MIDDLING[request.param]
    return Exported(kind, bits=bits, shape=(1, 5, 7), hidden=23, seed=8, scale=0.4)


def test_a_chain_equals_the_integer_reference_bit_for_bit(middling):
    """Under clamps that the first state does not keep, and at every temperature."""
    whole, rng = middling.whole, np.random.default_rng(2)
    x = random_states(rng, 40, whole.units)
    clamps = {name: rng.random((40, 35)) < 0.3 for name in ("clamp_mask", "clamp_values")}
    for step in range(60):
        noise = noise_of(rng, 40, whole.units)
        fixed = {**clamps, "beta": 0.2 + step / 30}
        found = middling.sweep(x, noise, **fixed)
        expected = reference_sweep(
            whole, x, noise, blocks=middling.blocks, **middling.fixed(40, **fixed)
        )
        assert np.array_equal(found, expected), f"sweep {step}"
        x = found


def test_a_chain_equals_the_torch_kernel_on_the_same_noise(middling):
    """In float64 the kernel's sums are exact too: no unit differs in 60 sweeps of 40 chains."""
    whole, rng = middling.whole, np.random.default_rng(3)
    bm = whole.dequantised().to(torch.float64)
    x = random_states(rng, 40, whole.units)
    mask, values = np.zeros((2, 40, whole.units), bool)
    mask[:, :35], values[:, :35] = rng.random((2, 40, 35)) < 0.3
    held = Held(mask=torch.from_numpy(mask), values=torch.from_numpy(values).double())
    mine = torch.from_numpy(x).double()
    for _ in range(60):
        noise = noise_of(rng, 40, whole.units)
        clamps = {"clamp_mask": mask[:, :35], "clamp_values": values[:, :35]}
        x = middling.sweep(x, noise, **clamps)
        mine = sweep(bm, mine, torch.from_numpy(noise).double(), order=middling.blocks, held=held)
        assert np.array_equal(x, mine.numpy())


def test_a_row_is_the_same_in_any_batch_and_with_any_number_of_threads(middling):
    rng, units = np.random.default_rng(4), middling.whole.units
    start = random_states(rng, 64, units)
    noise = noise_of(rng, 30 * 64, units).reshape(30, 64, units)

    def run(rows: int, threads: int):
        sweeping, reading = (
            session(middling.functions[name], threads=threads) for name in ("sweep", "readout")
        )
        x = start[:rows]
        for step in noise:
            x = sweeping.run(None, {"x": x, "noise": step[:rows], **middling.fixed(rows)})[0]
        return [x, *reading.run(None, {"x": x, "beta": np.ones((rows, 1), np.float32)})]

    whole_batch = run(64, 1)
    for rows in (1, 5, 16):
        for threads in (1, 2):
            for part, everything in zip(run(rows, threads), whole_batch, strict=True):
                assert part.tobytes() == everything[:rows].tobytes()


def test_the_readout_is_each_pixel_given_all_others_and_decode_agrees_bit_for_bit(middling):
    bm, rng = middling.whole.dequantised(), np.random.default_rng(5)
    for n in (1, 7, 64):
        x = random_states(rng, n, middling.whole.units)
        mean, sample = middling.run("readout", x=x, beta=np.ones((n, 1), np.float32))
        assert mean.shape == sample.shape == (n, 1, 5, 7)
        assert np.array_equal(sample.reshape(n, 35), x[:, :35])
        exact = bm.reconstruction(torch.from_numpy(x).float())
        np.testing.assert_allclose(mean.reshape(n, 35), exact, atol=1 / (7 * MEAN_STEPS))
        (decoded,) = middling.run("decode", h=x.astype(np.float32))
        assert decoded.tobytes() == mean.tobytes()
    cold = middling.run("readout", x=x, beta=np.full((64, 1), 2, np.float32))[0]
    exact = torch.sigmoid(2 * torch.logit(exact.double()))
    np.testing.assert_allclose(cold.reshape(64, 35), exact, atol=1 / (7 * MEAN_STEPS))


def test_the_float_functions_agree_with_torch(middling):
    bm, rng = middling.whole.dequantised(), np.random.default_rng(6)
    images = rng.random((9, 1, 5, 7), dtype=np.float32)
    rows = torch.from_numpy(images.reshape(9, 35))
    states = mean_field(bm, rows, ROUNDS)
    (features,) = middling.run("encode", image=images)
    np.testing.assert_allclose(features, states, atol=1e-5)
    x = random_states(rng, 9, middling.whole.units)
    (energy,) = middling.run("energy", x=x)
    np.testing.assert_allclose(energy, bm.energy(torch.from_numpy(x).float()), rtol=1e-4, atol=1e-4)
    score, heatmap = middling.run("score", image=images)
    np.testing.assert_allclose(score, -unnormalised_bound(bm, states), rtol=1e-4, atol=1e-4)
    p, q = bm.reconstruction(states).double(), rows.double()
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    np.testing.assert_allclose(heatmap.reshape(9, 35), divergence, atol=1e-4)
    named = [t.name for t in middling.functions["score"].outputs]
    assert named == [score_method(middling.whole), "heatmap"]
    assert (named[0] == "free_energy") == middling.whole.hidden_are_free


def test_black_and_white_images_have_finite_scores_and_heatmaps(middling):
    images = np.zeros((2, 1, 5, 7), np.float32)
    images[1] = 1
    score, heatmap = middling.run("score", image=images)
    assert np.isfinite(score).all()
    assert np.isfinite(heatmap).all()
    assert (heatmap >= 0).all()


def test_graphs_carry_nothing_but_the_computation_and_no_loops(middling):
    for name, function in middling.functions.items():
        model = onnx.load_from_string(function.graph)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= IR_VERSION
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert not model.metadata_props
        assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Loop", "Scan", "If", "Bernoulli", "RandomUniform"}
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "n", name


@pytest.mark.parametrize("kind", ["full", "neighbours"])
def test_every_product_of_a_sweep_can_be_made_of_signed_integers(kind):
    """So that a GPU makes them too: what is multiplied is an input, or a cast of bools."""
    model = onnx.load_from_string(Exported(kind).functions["sweep"].graph)
    made = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            cast = made[node.input[0]]
            assert cast.op_type == "Cast"
            assert made[cast.input[0]].op_type in {"Greater", "Or"}


def test_exporting_twice_gives_the_same_bytes():
    first, second = (Exported("full").functions for _ in range(2))
    assert {k: f.graph for k, f in first.items()} == {k: f.graph for k, f in second.items()}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_quantising_is_as_fine_as_it_can_be_and_sums_stay_exact(bits, scale):
    bm = random_bm(connections((1, 5, 8), hidden=30), visible=40, scale=scale)
    whole = quantise_bm(bm, bits=bits)
    back = whole.dequantised()
    assert float((back.W.double() - bm.W).abs().max()) <= float(whole.step) * 0.51
    assert float((back.b.double() - bm.b).abs().max()) <= float(whole.step) * 0.51
    assert np.abs(whole.W).max() <= LARGEST_WEIGHT[bits]
    assert np.array_equal(whole.W, whole.W.T)
    assert (np.abs(whole.W).sum(0) + np.abs(whole.b)).max() < EXACT_FLOAT32


def test_thresholds_never_leave_the_integers():
    whole: QuantisedBm = Exported("full").whole
    noise = np.array([[-11.8, 0.0, 11.8, 1.0, 2.0]], np.float32)
    for beta in (1e-30, 1.0, 1e30):
        found = thresholds(whole, noise, np.full((1, 1), beta, np.float32))
        assert np.abs(found).max() <= OUT_OF_REACH
