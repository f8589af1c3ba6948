"""Exported graphs do what the module does, and carry nothing of the machine that made them."""

import copy
import io
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from training.export import (
    ExportError,
    fold_batch_norm,
    in_halves,
    parity,
    session,
    to_onnx,
    to_torchscript,
    torchscript_parity,
)
from training.graph_file import LARGE
from training.networks import Generator, Shape, seeded

SHAPE = Shape(latent=4, width=4)
SECRETS = (
    b"/home",
    b"/usr",
    b"/work",
    b"/tmp",
    b"site-packages",
    b".py",
    b"Traceback",
    b"stack_trace",
)


def generator() -> nn.Module:
    made = seeded(lambda: Generator(SHAPE), seed=0)
    noise = torch.Generator().manual_seed(1)
    for _ in range(5):  # running statistics that are not 0 and 1
        made(3.0 * torch.randn(16, 4, generator=noise))
    return made.eval()


@pytest.fixture(scope="module")
def exported() -> tuple[nn.Module, bytes]:
    module = fold_batch_norm(generator())
    return module, to_onnx(module, {"z": torch.zeros(2, 4)}, ["x"])


def test_folding_batch_norm_changes_nothing_but_the_last_bits():
    whole = generator()
    folded = fold_batch_norm(whole)
    z = torch.randn(7, 4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in whole.modules())
    assert torch.allclose(folded(z), whole(z), atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_a_graph_agrees_with_torch_for_any_batch(exported, rows):
    module, graph = exported
    assert parity(module, graph, {"z": torch.randn(rows, 4)}, tolerance=1e-5) <= 1e-5


def test_a_graph_that_differs_is_refused(exported):
    _, graph = exported
    with pytest.raises(ExportError, match="differs"):
        parity(fold_batch_norm(seeded(lambda: Generator(SHAPE), seed=8)), graph,
               {"z": torch.randn(3, 4)}, tolerance=1e-5)  # fmt: skip


def test_an_answer_that_is_no_number_is_refused(exported):
    module, graph = exported
    with pytest.raises(ExportError, match="nan"):
        parity(module, graph, {"z": torch.full((2, 4), torch.nan)}, tolerance=1e-5)


def test_a_graph_carries_no_paths_and_no_stack_traces(exported):
    _, graph = exported
    for secret in (*SECRETS, str(Path(__file__).parents[2]).encode()):
        assert secret not in graph, secret
    assert not re.search(rb"[\w.-]+/[\w.-]+/[\w.-]+", graph)


def test_a_graph_has_one_dynamic_axis_and_its_weights_inside(exported):
    module, graph = exported
    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        assert first.dim_param == "n"
        assert all(d.dim_value > 0 for d in others)
    stored = sum(int(np.prod(t.dims)) for t in model.graph.initializer)
    learnt = sum(p.numel() for p in module.parameters())
    assert learnt <= stored <= learnt + 100
    assert not any(t.HasField("data_location") and t.data_location for t in model.graph.initializer)


def test_torchscript_gives_the_same_images():
    module = fold_batch_norm(generator())
    content = to_torchscript(module, {"z": torch.zeros(2, 4)})
    with pytest.warns(DeprecationWarning, match="torch.jit.load"):
        loaded = torch.jit.load(io.BytesIO(content))
    z = torch.randn(5, 4)
    assert torch.allclose(loaded(z), module(z), atol=1e-6)
    assert b"/site-packages/" not in content


def is_half(weight: torch.Tensor) -> bool:
    return torch.equal(weight.half().float(), weight)


def test_large_weights_become_numbers_that_float16_holds_and_the_others_stay():
    module = fold_batch_norm(generator())
    before = copy.deepcopy(module.state_dict())
    rounded = in_halves(module)
    large = {n for n, w in rounded.named_parameters() if w.dim() > 1 and w.numel() >= LARGE}
    assert len(large) == 3
    for name, weight in rounded.state_dict().items():
        old = before[name]
        assert torch.equal(module.state_dict()[name], old), "the module itself is left alone"
        assert is_half(weight) == (name in large)
        assert torch.equal(weight, old) == (name not in large)
        assert (weight - old).abs().le((2**-11 * old.abs()).clamp(min=2**-25)).all()
    assert all(torch.equal(a, b) for a, b in zip(
        in_halves(rounded).parameters(), rounded.parameters(), strict=True))  # fmt: skip


def test_every_format_has_the_rounded_numbers_and_the_graph_half_the_bytes(exported):
    module, whole = exported
    rounded, z = in_halves(module), {"z": torch.randn(5, 4)}
    graph = to_onnx(rounded, {"z": torch.zeros(2, 4)}, ["x"])
    script = to_torchscript(rounded, {"z": torch.zeros(2, 4)})
    assert parity(rounded, graph, z, tolerance=1e-5) < parity(module, graph, z, tolerance=0.1)
    assert torchscript_parity(rounded, script, z, tolerance=1e-5) <= 1e-5
    large = sum(p.numel() for p in rounded.parameters() if p.dim() > 1 and p.numel() >= LARGE)
    assert len(graph) < len(whole) - 2 * large + 1000


@pytest.mark.parametrize("scale", [1e-6, 1e8, torch.nan])
def test_weights_out_of_the_range_of_float16_are_refused_with_a_remedy(scale):
    layer = nn.Linear(32, 32)
    layer.weight.data *= scale
    with pytest.raises(ExportError, match=r"number of weight is .* export\.weights to 'float32'"):
        in_halves(layer)


def test_a_layer_of_zeros_is_in_range():
    layer = nn.Linear(32, 32)
    nn.init.zeros_(layer.weight)
    assert not in_halves(layer).weight.any()


def test_threads_and_batches_do_not_change_a_row(exported):
    _, graph = exported
    z = np.random.default_rng(0).standard_normal((32, 4), np.float32)
    whole = session(graph).run(None, {"z": z})[0]
    for threads in (1, 2):
        runtime = session(graph, threads=threads)
        for rows in (1, 2, 4, 5, 8, 16, 32):
            parts = [runtime.run(None, {"z": z[i : i + rows]})[0] for i in range(0, 32, rows)]
            assert np.concatenate(parts).tobytes() == whole.tobytes(), (threads, rows)
