"""Inpainting by latent optimisation, as a start, a step and a readout without any autograd inside.

x, mask, noise ──LatentStart──► (z, m, v, t) ──k × LatentStep──► (z, m, v, t) ──G──► x

One step is one Adam step on the contextual loss of Yeh et al. (2017), §3.2. An exported graph
cannot differentiate, so `trace_gradient` writes the gradient out as plain operators: the transposed
convolution for a convolution, a convolution for a transposed one. For a labelled generator the
state holds the label too, which the encoder reads from the visible part and no step changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import conv2d, conv_transpose2d, softplus

from training.networks import Discriminator, Encoder, Shape

Latents = Float[Tensor, "n latent"]
Images = Float[Tensor, "n c h w"]
Masks = Float[Tensor, "n 1 h w"]
Counts = Float[Tensor, "n 1"]
Label = Int[Tensor, " n"]
State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Descent:
    """How z is improved.

    Attributes:
        rate: Adam's step size, in units of the latent's standard deviation.
        beta1, beta2: Adam's decays.
        prior: weight of ½‖z‖², the negative log-density of the latent prior.
        realism: weight of softplus(−D(G(z))), the prior loss of Yeh et al. (2017), eq. 5.
        spread: standard deviation of the noise that makes fillings differ.
    """

    rate: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.99
    prior: float = 0.5
    realism: float = 0.0
    spread: float = 0.1


def contextual_loss(
    z: Latents,
    x: Images,
    mask: Masks,
    label: Label | None = None,
    *,
    generator: Callable[..., Tensor],
    discriminator: Callable[[Tensor], Tensor] | None,
    descent: Descent,
) -> Float[Tensor, " n"]:
    """L(z) = ‖(1 − mask)·(G(z) − x)‖² + λ·½‖z‖² + μ·softplus(−D(G(z))), for every row."""
    made = generator(z, label)
    error = (1.0 - mask) * (made - x)
    loss = (error * error).sum((1, 2, 3)) + descent.prior * 0.5 * (z * z).sum(1)
    if discriminator is not None and descent.realism > 0:
        loss = loss + descent.realism * softplus(-discriminator(made))
    return loss


class LatentStep(nn.Module):
    """(z, m, v, t[, label]), x, mask ↦ the next ones: one Adam step (Kingma & Ba 2015, alg. 1).

    m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², z ← z − rate·m̂/(√v̂ + ε), with the bias of the first
    steps corrected by each row's own count t, so that rows of any age can share a batch.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator | None,
        *,
        shape: Shape,
        descent: Descent,
    ) -> None:
        super().__init__()
        self.descent = descent
        example: tuple[Tensor, ...] = (
            torch.zeros(2, shape.latent),
            torch.zeros(2, shape.channels, shape.side, shape.side),
            torch.zeros(2, 1, shape.side, shape.side),
        )
        if shape.labelled:
            example += (torch.zeros(2, dtype=torch.int64),)

        def loss(*inputs: Tensor) -> Tensor:
            rows = contextual_loss(
                *inputs, generator=generator, discriminator=discriminator, descent=descent
            )
            return rows.sum()

        self.gradient = trace_gradient(loss, example)

    def forward(  # noqa: PLR0917  (the order is the graph's)
        self,
        z: Latents,
        m: Latents,
        v: Latents,
        t: Counts,
        x: Images,
        mask: Masks,
        label: Label | None = None,
    ) -> State:
        """The state after one step."""
        how = self.descent
        known = () if label is None else (label,)
        g = self.gradient(z, x, mask, *known)
        t = t + 1.0
        m = how.beta1 * m + (1.0 - how.beta1) * g
        v = how.beta2 * v + (1.0 - how.beta2) * g * g
        m_hat = m / (1.0 - torch.pow(torch.tensor(how.beta1), t))
        v_hat = v / (1.0 - torch.pow(torch.tensor(how.beta2), t))
        z = z - how.rate * m_hat / (torch.sqrt(v_hat) + 1e-8)
        return (z, m, v, t) if label is None else (z, m, v, t, label.clone())


class LatentStart(nn.Module):
    """x, mask, noise ↦ the first state: the mask-aware encoder's code, and noise around it."""

    def __init__(self, encoder: Encoder, *, descent: Descent) -> None:
        super().__init__()
        self.encoder = encoder
        self.spread = descent.spread

    def forward(self, x: Images, mask: Masks, noise: Latents) -> State:
        """Moments and count are zero; the label is the likeliest class of what is known."""
        code, label = self.encoder.understand(x, mask)
        z = code + self.spread * noise
        zero = z * 0.0
        state = z, zero, zero, zero[:, :1]
        return state if label is None else (*state, label)


def trace_gradient(loss: Callable[..., Tensor], example: tuple[Tensor, ...]) -> GraphModule:
    """∂loss/∂(first argument) as a graph of core operators that any batch size can run.

    Args:
        loss: maps tensors to a scalar, a sum over rows; its networks hold no batch norm.
        example: arguments, with 2 or more rows.
    """
    table = dict(core_aten_decompositions())
    table[torch.ops.aten.convolution_backward.default] = convolution_input_gradient
    table[torch.ops.aten._softmax_backward_data.default] = softmax_gradient  # noqa: SLF001
    table.pop(torch.ops.aten.convolution.default, None)
    gradient = torch.func.grad(loss)
    tracer = make_fx(
        gradient,
        decomposition_table=table,
        tracing_mode="symbolic",  # so that the batch of the example is not written into the graph
        _allow_non_fake_inputs=True,  # the networks' weights
    )
    return tracer(*example)


def softmax_gradient(
    grad: Tensor,
    output: Tensor,
    _dim: int,
    _dtype: torch.dtype,
) -> Tensor:
    """`aten._softmax_backward_data` of [n, k] rows: y·g − y·Σ y·g, the sum by a convolution.

    ONNX Runtime adds up a short row in an order that depends on where in memory it begins, hence
    on the batch; a convolution treats each row by itself.
    """
    product = grad * output
    ones = torch.ones(1, output.shape[1], 1, 1)
    total = conv2d(product.unsqueeze(2).unsqueeze(3), ones).squeeze(3).squeeze(2)
    return product - output * total


def convolution_input_gradient(  # noqa: PLR0917  (the operator's own signature)
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    _bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    _wanted: list[bool],
) -> tuple[Tensor, None, None]:
    """`aten.convolution_backward` for the input alone: the adjoint is the other convolution.

    y = W * x downsamples by s; its adjoint upsamples by s, and has to be told which of the s input
    sizes that give the same output was meant: output_padding = size(x) − (its smallest such size).
    """
    assert all(d == 1 for d in dilation), "no network here is dilated"
    if transposed:
        assert not any(output_padding), "no network here pads its output"
        return conv2d(grad, weight, None, stride, padding, 1, groups), None, None
    missing: list[Any] = []
    for axis in (0, 1):
        smallest = (
            (grad.shape[2 + axis] - 1) * stride[axis] - 2 * padding[axis] + weight.shape[2 + axis]
        )
        missing.append(int(x.shape[2 + axis]) - int(smallest))
    adjoint = conv_transpose2d(grad, weight, None, stride, padding, missing, groups)
    return adjoint, None, None
