"""The exported graphs: the right distribution, the same bytes in any batch, nothing extra."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from service.domain.randomness import logistic
from tests.training.test_exact import machine
from training.boltzmann_graphs import rbm_functions
from training.exact import (
    binary_states,
    hidden_distribution,
    state_index,
    visible_distribution,
)
from training.graph_builder import IR_VERSION, OPSET
from training.package import Function
from training.quantised import (
    EXACT_FLOAT32,
    LARGEST_WEIGHT,
    QuantisedRbm,
    noise_inputs,
    quantise,
    reference_sweep,
    split_weights,
)
from training.rbm import Rbm

CHAINS = 20_000


def session(function: Function, *, threads: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(function.graph, options, providers=["CPUExecutionProvider"])


def export(rbm: Rbm, *, bits: int = 8, shape=None) -> tuple[QuantisedRbm, dict[str, Function]]:
    whole = quantise(rbm, bits=bits)
    base = np.linspace(-1, 1, whole.visible, dtype=np.float32)
    return whole, rbm_functions(whole, base_bias=base, shape=shape or (1, 1, whole.visible))


class Chain:
    """Exported sweeps of many chains."""

    def __init__(self, functions, whole: QuantisedRbm, *, seed: int, threads: int = 1) -> None:
        self.sessions = {k: session(f, threads=threads) for k, f in functions.items()}
        self.whole, self.rng = whole, np.random.default_rng(seed)

    def noise(self, n: int, width: int) -> np.ndarray:
        return self.rng.integers(0, 65_536, (n, width), np.uint16)

    def sweep(self, h, *, clamp_mask=None, clamp_values=None, beta=1.0, noise=None):
        n, visible = len(h), self.whole.visible
        free = np.zeros((n, visible), bool)
        integers = self.noise(n, visible + self.whole.hidden) if noise is None else noise
        feed = {
            "h": h,
            **noise_inputs(integers, visible=visible),
            "clamp_mask": free if clamp_mask is None else clamp_mask,
            "clamp_values": free if clamp_values is None else clamp_values,
            "beta": np.full((n, 1), beta, np.float32),
        }
        return self.sessions["sweep"].run(None, feed)[0]


def assert_stays(chain: Chain, p: torch.Tensor, draw_states, *, sweeps=(1, 4, 16), **fixed):
    """Total variation between p and the chains' distribution stays under 4 × the floor."""
    n_states = len(p)
    floor = 0.5 * float((p * (1 - p) / CHAINS).sqrt().sum())
    rows = np.random.default_rng(5).choice(n_states, CHAINS, p=p.numpy() / p.numpy().sum())
    h, done = draw_states[rows], 0
    for count in sweeps:
        while done < count:
            h = chain.sweep(h, **fixed)
            done += 1
        seen = np.bincount(state_index(torch.from_numpy(h)).numpy(), minlength=n_states) / CHAINS
        distance = 0.5 * np.abs(seen - p.numpy()).sum()
        assert distance < 4 * floor, f"after {count} sweeps: {distance:.4f}, floor {floor:.4f}"


def hidden_states(units: int) -> np.ndarray:
    return binary_states(units).numpy().astype(np.uint8)


@pytest.mark.statistical
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("beta", [1.0, 0.5, 1.7])
def test_the_exported_sweep_leaves_the_exact_distribution_where_it_is(bits, beta):
    whole, functions = export(machine(5, 4, seed=1), bits=bits)
    p = hidden_distribution(whole.dequantised(), beta=beta)
    assert_stays(Chain(functions, whole, seed=2), p, hidden_states(4), beta=beta)


@pytest.mark.statistical
def test_the_stationarity_test_notices_a_wrong_machine():
    """The same test must fail where the sampler's machine is not the enumerated one."""
    whole, functions = export(machine(5, 4, seed=1))
    p = hidden_distribution(whole.dequantised(), beta=1.15)
    with pytest.raises(AssertionError, match="after"):
        assert_stays(Chain(functions, whole, seed=2), p, hidden_states(4))


@pytest.mark.statistical
def test_clamped_sweeps_sample_the_exact_conditional():
    """p(h | v₀ = 1, v₂ = 0) by enumeration of the free visible units."""
    whole, functions = export(machine(5, 4, seed=3))
    exact = whole.dequantised().to(torch.float64)
    v = binary_states(5)
    p_v = visible_distribution(exact) * (v[:, 0] == 1) * (v[:, 2] == 0)
    on = torch.sigmoid(exact.hidden_input(v))
    h = binary_states(4)
    given = (h * on[:, None] + (1 - h) * (1 - on[:, None])).prod(2)
    p = (p_v / p_v.sum()) @ given
    mask = np.tile(np.array([1, 0, 1, 0, 0], bool), (CHAINS, 1))
    values = np.tile(np.array([1, 0, 0, 0, 0], bool), (CHAINS, 1))
    chain = Chain(functions, whole, seed=4)
    assert_stays(chain, p, hidden_states(4), clamp_mask=mask, clamp_values=values)


@pytest.mark.statistical
def test_fresh_chains_begin_at_the_base_rates_and_keep_their_clamps():
    whole, functions = export(machine(5, 4, seed=1))
    exact = whole.dequantised().to(torch.float64)
    v = binary_states(5)
    on = torch.sigmoid(torch.linspace(-1, 1, 5)).double()
    p_v = (v * on + (1 - v) * (1 - on)).prod(1) * (v[:, 4] == 1)
    q = torch.sigmoid(exact.hidden_input(v))
    h = binary_states(4)
    given = (h * q[:, None] + (1 - h) * (1 - q[:, None])).prod(2)
    p = (p_v / p_v.sum()) @ given
    chain = Chain(functions, whole, seed=6)
    held = np.tile(np.array([0, 0, 0, 0, 1], bool), (CHAINS, 1))
    noise = noise_inputs(chain.noise(CHAINS, 9), visible=5)
    feed = {**noise, "clamp_mask": held, "clamp_values": held}
    states = chain.sessions["start"].run(None, feed)[0]
    seen = np.bincount(state_index(torch.from_numpy(states)).numpy(), minlength=16) / CHAINS
    floor = 0.5 * float((p * (1 - p) / CHAINS).sqrt().sum())
    assert 0.5 * np.abs(seen - p.numpy()).sum() < 4 * floor


@pytest.fixture(scope="module", params=[8, 16])
def middling(request) -> tuple[QuantisedRbm, dict[str, Function]]:
    """Odd sizes, so that no vector width divides them."""
    return export(machine(77, 53, seed=8, scale=0.4), bits=request.param, shape=(1, 7, 11))


def test_a_chain_equals_the_int64_reference_bit_for_bit(middling):
    whole, functions = middling
    chain = Chain(functions, whole, seed=1)
    rng = np.random.default_rng(2)
    h = (rng.random((40, 53)) < 0.5).astype(np.uint8)
    mask = rng.random((40, 77)) < 0.3
    values = rng.random((40, 77)) < 0.5
    for step in range(100):
        noise = chain.noise(40, 130)
        fixed = {"clamp_mask": mask, "clamp_values": values, "beta": 0.5 + step / 50}
        found = chain.sweep(h, noise=noise, **fixed)
        beta = np.full((40, 1), fixed["beta"], np.float32)
        expected = reference_sweep(whole, h, noise, clamp_mask=mask, clamp_values=values, beta=beta)
        assert np.array_equal(found, expected), f"sweep {step}"
        h = found


def test_a_row_is_the_same_in_any_batch_and_with_any_number_of_threads(middling):
    whole, functions = middling
    rng = np.random.default_rng(3)
    start = (rng.random((64, 53)) < 0.5).astype(np.uint8)
    noise = rng.integers(0, 65_536, (50, 64, 130), np.uint16)
    read_noise = logistic(rng.integers(0, 65_536, (64, 77), np.uint16))

    def run(rows: int, threads: int):
        chain = Chain(functions, whole, seed=0, threads=threads)
        h = start[:rows]
        for step in noise:
            h = chain.sweep(h, noise=step[:rows])
        feed = {"h": h, "noise_v": read_noise[:rows], "beta": np.ones((rows, 1), np.float32)}
        return [h, *chain.sessions["readout"].run(None, feed)]

    whole_batch = run(64, 1)
    for rows in (1, 5, 16, 64):
        for threads in (1, 2):
            for part, everything in zip(run(rows, threads), whole_batch, strict=True):
                assert part.tobytes() == everything[:rows].tobytes()


def test_decode_of_a_binary_state_is_the_mean_of_the_readout_bit_for_bit(middling):
    whole, functions = middling
    rng = np.random.default_rng(4)
    for n in (1, 7, 64):
        h = (rng.random((n, 53)) < 0.5).astype(np.uint8)
        noise = logistic(rng.integers(0, 65_536, (n, 77), np.uint16))
        feed = {"h": h, "noise_v": noise, "beta": np.ones((n, 1), np.float32)}
        mean, sample = session(functions["readout"]).run(None, feed)
        decoded = session(functions["decode"]).run(None, {"h": h.astype(np.float32)})[0]
        assert decoded.tobytes() == mean.tobytes()
        assert decoded.shape == (n, 1, 7, 11)
        assert set(np.unique(sample)) <= {0.0, 1.0}


def test_the_mean_is_the_sigmoid_and_the_sample_is_a_draw_of_it(middling):
    whole, functions = middling
    rng = np.random.default_rng(5)
    n = 4000
    h = np.repeat((rng.random((1, 53)) < 0.5).astype(np.uint8), n, 0)
    noise = logistic(rng.integers(0, 65_536, (n, 77), np.uint16))
    feed = {"h": h, "noise_v": noise, "beta": np.full((n, 1), 0.7, np.float32)}
    mean, sample = session(functions["readout"]).run(None, feed)
    exact = torch.sigmoid(0.7 * whole.dequantised().visible_input(torch.from_numpy(h[:1]).float()))
    np.testing.assert_allclose(mean[0].ravel(), exact[0], atol=1e-4)
    spread = np.sqrt(mean[0] * (1 - mean[0]) / n)
    assert (np.abs(sample.mean(0) - mean[0]) <= 5 * spread + 1e-4).all()


def test_the_float_functions_agree_with_torch(middling):
    whole, functions = middling
    rbm = whole.dequantised()
    rng = np.random.default_rng(6)
    x = rng.random((9, 1, 7, 11), dtype=np.float32)
    rows = torch.from_numpy(x.reshape(9, 77))
    h = torch.from_numpy((rng.random((9, 53)) < 0.5).astype(np.uint8))

    features = session(functions["encode"]).run(None, {"x": x})[0]
    np.testing.assert_allclose(features, torch.sigmoid(rbm.hidden_input(rows)), atol=1e-6)
    energy = session(functions["energy"]).run(None, {"h": h.numpy()})[0]
    np.testing.assert_allclose(energy, rbm.hidden_free_energy(h.float()), rtol=1e-5)
    score, heatmap = session(functions["score"]).run(None, {"x": x})
    np.testing.assert_allclose(score, rbm.free_energy(rows), rtol=1e-5)
    p = torch.sigmoid(rbm.visible_input(torch.sigmoid(rbm.hidden_input(rows)))).double()
    q = rows.double()
    divergence = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    np.testing.assert_allclose(heatmap.reshape(9, 77), divergence, atol=1e-4)
    decoded = session(functions["decode"]).run(None, {"h": features})[0]
    expected = torch.sigmoid(rbm.visible_input(torch.from_numpy(features)))
    np.testing.assert_allclose(decoded.reshape(9, 77), expected, atol=1e-4)


def test_black_and_white_pixels_have_a_finite_heatmap(middling):
    _, functions = middling
    x = np.zeros((2, 1, 7, 11), np.float32)
    x[1] = 1
    score, heatmap = session(functions["score"]).run(None, {"x": x})
    assert np.isfinite(score).all()
    assert np.isfinite(heatmap).all()
    assert (heatmap >= 0).all()


def test_graphs_carry_nothing_but_the_computation(middling):
    _, functions = middling
    for name, function in functions.items():
        model = onnx.load_from_string(function.graph)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= IR_VERSION
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        assert not model.metadata_props
        assert not model.doc_string
        assert not model.graph.doc_string
        assert all(not node.doc_string and not node.metadata_props for node in model.graph.node)
        assert all(not tensor.external_data for tensor in model.graph.initializer)
        kinds = {node.op_type for node in model.graph.node}
        assert not kinds & {"Bernoulli", "RandomUniform", "RandomUniformLike", "RandomNormal"}
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.shape.dim[0].dim_param == "n", name


def test_exporting_twice_gives_the_same_bytes():
    first, second = (export(machine(6, 5, seed=1))[1] for _ in range(2))
    assert {k: f.graph for k, f in first.items()} == {k: f.graph for k, f in second.items()}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_quantising_is_as_fine_as_it_can_be_and_sums_stay_exact(bits, scale):
    rbm = machine(40, 30, scale=scale)
    whole = quantise(rbm, bits=bits)
    back = whole.dequantised()
    for name in ("W", "b", "c"):
        error = (getattr(back, name).double() - getattr(rbm, name)).abs().max()
        assert float(error) <= float(whole.step) * 0.51
    assert np.abs(whole.W).max() <= LARGEST_WEIGHT[bits]
    for axis, bias in ((0, whole.c), (1, whole.b)):
        assert (np.abs(whole.W).sum(axis) + np.abs(bias)).max() < EXACT_FLOAT32


def test_a_machine_whose_sums_would_be_too_large_gets_a_coarser_step():
    rbm = Rbm(W=torch.full((2000, 3), 1.0), b=torch.zeros(2000), c=torch.zeros(3))
    whole = quantise(rbm, bits=16)
    assert np.abs(whole.W).sum(0).max() < EXACT_FLOAT32
    assert np.abs(whole.W).max() < LARGEST_WEIGHT[16]


def test_a_weight_of_sixteen_bits_is_two_of_eight():
    W = np.arange(-32_639, 32_640, dtype=np.int32)
    high, low = split_weights(W)
    assert np.array_equal(256 * high + low, W)
    assert min(high.min(), low.min()) >= -128
    assert max(high.max(), low.max()) <= 127
