"""From a torch module to an ONNX graph that anyone may publish.

module ──► fold_batch_norm ──► in_halves ──► torch.onnx.export ──► graph file ──► checker ──► parity

A graph has a dynamic batch axis named `n`, its weights inside, and nothing of the machine that
made it.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.graph_file import LARGE, store_halves, strip

OPSET = 20
Convolution = nn.Conv2d | nn.ConvTranspose2d
M = TypeVar("M", bound=nn.Module)


class ExportError(RuntimeError):
    """A graph that does not do what its module does."""


def to_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    output_names: Sequence[str],
    *,
    opset: int = OPSET,
) -> bytes:
    """Export a module as an ONNX model with its weights inside.

    Args:
        module: called with the tensors of `inputs` in their order.
        inputs: name → an example with 2 or more rows; the first axis becomes `n`.
        output_names: names of the outputs, in order.
        opset: of the default ONNX operator set, 18 or more.

    Raises:
        onnx.checker.ValidationError: the exported graph is not valid ONNX.
    """
    rows = torch.export.Dim("n", min=1, max=1 << 20)
    with quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(output_names),
            dynamic_shapes=[{0: rows} for _ in inputs],
            opset_version=opset,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = store_halves(strip(program.model_proto))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def parity(
    module: nn.Module, graph: bytes, inputs: Mapping[str, Tensor], *, tolerance: float
) -> float:
    """The largest difference between the module's outputs and the graph's on ONNX Runtime.

    Raises:
        ExportError: it exceeds `tolerance`, or is not a number.
    """
    found = session(graph).run(None, {name: t.numpy() for name, t in inputs.items()})
    return _agree(module, inputs, found, tolerance=tolerance)


def torchscript_parity(
    module: nn.Module, content: bytes, inputs: Mapping[str, Tensor], *, tolerance: float
) -> float:
    """The same for a TorchScript export, loaded as a service would load it.

    Raises:
        ExportError: it exceeds `tolerance`, or is not a number.
    """
    with quiet(), torch.no_grad():
        loaded = torch.jit.load(io.BytesIO(content))  # type: ignore[no-untyped-call]
        answer = loaded(*inputs.values())
    found = answer if isinstance(answer, tuple) else (answer,)
    return _agree(module, inputs, [t.numpy() for t in found], tolerance=tolerance)


def session(graph: bytes, *, threads: int = 1) -> ort.InferenceSession:
    """ONNX Runtime on the CPU, with a fixed number of threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy for inference, in which each batch norm after a convolution is part of its weights.

    y = γ(Wx − μ)/√(σ² + ε) + β is one convolution with W' = Wγ/√(σ² + ε); the running statistics
    are used, so the copy is what `module.eval()` computes, up to rounding.
    """
    folded = copy.deepcopy(module).eval().requires_grad_(False)
    for owner in list(folded.modules()):
        if isinstance(owner, nn.Sequential):
            _fold_sequence(owner)
    return folded


def in_halves(module: M) -> M:
    """A copy whose large weights are numbers that float16 holds; it computes in float32 as before.

    Each weight moves by 2⁻¹¹ of itself at most, or by 2⁻²⁵ where it is below 2⁻¹⁴. Its graph takes
    half the bytes. Biases and norms stay: they are few, and a shift of one shifts every pixel.

    Raises:
        ExportError: the largest number of a weight is not within 2⁻¹⁴ … 65,504.
    """
    rounded = copy.deepcopy(module)
    with torch.no_grad():
        for name, weight in rounded.named_parameters():
            if weight.dim() > 1 and weight.numel() >= LARGE:
                _check_range(name, weight)
                weight.copy_(weight.half())
    return rounded


def to_torchscript(
    module: nn.Module, inputs: Mapping[str, Tensor], *, tolerance: float = 1e-5
) -> bytes:
    """The module traced as TorchScript, for services that cannot run ONNX.

    TorchScript is deprecated upstream: it is an option, never the main format.

    Raises:
        ExportError: it differs from the module, at another batch size than it was traced with.
    """
    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(module.eval(), tuple(inputs.values()), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced), buffer)
    noise = torch.Generator().manual_seed(0)
    other = {name: torch.cat([t, t.flip(0), t[:1]]) for name, t in inputs.items()}
    other |= {
        name: torch.randn(t.shape, generator=noise)
        for name, t in other.items()
        if t.is_floating_point()
    }
    torchscript_parity(module, buffer.getvalue(), other, tolerance=tolerance)
    return buffer.getvalue()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and its own deprecation warnings off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_range(name: str, weight: Tensor) -> None:
    most, half = float(weight.abs().max()), torch.finfo(torch.float16)
    if most and not half.smallest_normal <= most <= half.max:
        raise ExportError(
            f"the largest number of {name} is {most:.3g}, and float16 holds "
            f"{half.smallest_normal:.2g} to {half.max:,.0f}: set export.weights to 'float32', or "
            "train with another rate where the recipe has no such field"
        )


def _agree(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    found: Sequence[np.ndarray[Any, Any]],
    *,
    tolerance: float,
) -> float:
    with torch.no_grad():
        answer = module.eval()(*inputs.values())
    expected = answer if isinstance(answer, tuple) else (answer,)
    worst = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        difference = float(np.abs(ours.numpy().astype(np.float64) - theirs).max())
        worst = max(worst, difference) if difference == difference else float("nan")  # noqa: PLR0124
    if not worst <= tolerance:
        raise ExportError(
            f"the exported graph differs from its module by {worst:.3g} > {tolerance:.3g}"
        )
    return worst


def _fold_sequence(layers: nn.Sequential) -> None:
    kept: list[nn.Module] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if isinstance(layer, nn.BatchNorm2d):
            assert isinstance(before, Convolution), (
                "a batch norm is folded into the layer before it"
            )
            transposed = isinstance(before, nn.ConvTranspose2d)
            kept[-1] = fuse_conv_bn_eval(before, layer, transpose=transposed)
        else:
            kept.append(layer)
    for name in list(layers._modules):  # noqa: SLF001 — torch has no public way to empty one
        delattr(layers, name)
    for i, layer in enumerate(kept):
        layers.add_module(str(i), layer)
