"""What a deep Boltzmann machine learns from: statistics, centred.

v ──mean-field──► layers ──────────────────────► <h^{l-1} h^lᵀ>, <h^l>   of the data, in the bound
             └─draw──► sweeps with v held ─────► the same                of the data, in likelihood
particles ──draw──► even layers ──half summed──► the same                of the model
data, model, offsets ──► centred gradient

Mean-field takes all hidden units as independent, and charges the bound for what two layers have to
tell each other. A second layer that is to improve a machine whose first layer is good already has
to earn that charge before it earns anything, and from small weights it never does. Sweeps of the
posterior follow the likelihood itself: Younes (1989); Salakhutdinov & Hinton (2009), §3. The
centring is that of Melchior, Fischer & Wiskott (2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from training.dbm import Dbm, Layers
from training.rbm import draw


@dataclass(frozen=True)
class Statistics:
    """Means over a batch.

    Attributes:
        pairs: pairs[l - 1] = <h^{l-1} h^lᵀ>.
        means: means[l] = <h^l>.
    """

    pairs: tuple[Float[Tensor, "lower upper"], ...]
    means: tuple[Float[Tensor, " units"], ...]


def statistics(h: Layers) -> Statistics:
    """The sufficient statistics of layers that are independent given the batch's row."""
    return Statistics(
        pairs=tuple(lower.T @ upper / len(lower) for lower, upper in pairwise(h)),
        means=tuple(layer.mean(0) for layer in h),
    )


def posterior_statistics(
    dbm: Dbm,
    v: Float[Tensor, "batch visible"],
    *,
    start: Layers,
    sweeps: int,
    generator: torch.Generator,
) -> Statistics:
    """<h^{l-1} h^lᵀ> and <h^l> under p(h | v), by block Gibbs sweeps from draws of `start`.

    Args:
        dbm: the machine.
        v: binary data, held.
        start: probabilities of all layers, the visible one first: mean-field.
        sweeps: 1 or more.
        generator: of the draws.
    """
    assert sweeps >= 1, "a sweep gives the first draws of the odd layers"
    hidden = [layer for layer in dbm.even if layer > 0]
    even = {0: v} | {layer: draw(start[layer], generator) for layer in hidden}
    for _ in range(sweeps - 1):
        odd = {layer: draw(torch.sigmoid(dbm.input(layer, even)), generator) for layer in dbm.odd}
        for layer in hidden:
            even[layer] = draw(torch.sigmoid(dbm.input(layer, odd)), generator)
    found, _ = half_summed(dbm, even, generator)
    return found


def half_summed(
    dbm: Dbm, even: dict[int, Tensor], generator: torch.Generator
) -> tuple[Statistics, dict[int, Tensor]]:
    """Statistics of chains whose even layers are `even`, and the odd layers drawn from these.

    A pair is the draw of one layer and the probabilities of the other given it, so it has no bias,
    and the less noise the less that other layer says: v and p(h¹), then h¹ and p(h²), ….
    """
    p = {layer: torch.sigmoid(dbm.input(layer, even)) for layer in dbm.odd}
    odd = {layer: draw(p[layer], generator) for layer in dbm.odd}
    p |= {layer: torch.sigmoid(dbm.input(layer, odd)) for layer in dbm.even if layer > 0}
    second = p | odd
    layers = range(2, len(dbm.b))
    pairs = [even[0].T @ p[1], *(second[layer - 1].T @ second[layer] for layer in layers)]
    means = [even[0], *(p[layer] for layer in range(1, len(dbm.b)))]
    rows = len(even[0])
    return Statistics(
        pairs=tuple(pair / rows for pair in pairs), means=tuple(mean.mean(0) for mean in means)
    ), odd


def centred_gradient(
    *,
    data: Statistics,
    model: Statistics,
    offsets: tuple[Float[Tensor, " units"], ...],
    upper_share: float = 1.0,
) -> Dbm:
    """The centred gradient in the parameters of the ordinary machine, in its shape: ascend it.

    ∇W^l = <(h^{l-1} - o^{l-1})(h^l - o^l)ᵀ>_data - the same under the model
    ∇b^l = <h^l>_data - <h^l>_model - (∇W^l)ᵀ o^{l-1} - ∇W^{l+1} o^{l+1}

    With o = 0 it is the plain gradient. What is above the first hidden layer goes `upper_share`
    times as far, and the biases below it make up for all of that: a step that is scaled afterwards,
    layer by layer, is not centred any more, and diverges where W² learns much faster than b¹.
    """
    d = [seen - dreamt for seen, dreamt in zip(data.means, model.means, strict=True)]
    shares = [1.0, *(upper_share for _ in data.pairs[1:])]
    W, b = [], [x * share for x, share in zip(d, [1.0, *shares], strict=True)]
    for i, (seen, dreamt) in enumerate(zip(data.pairs, model.pairs, strict=True)):
        step = seen - dreamt
        step = step - torch.outer(offsets[i], d[i + 1]) - torch.outer(d[i], offsets[i + 1])
        step = step * shares[i]
        b[i] = b[i] - step @ offsets[i + 1]
        b[i + 1] = b[i + 1] - offsets[i] @ step
        W.append(step)
    return Dbm(W=tuple(W), b=tuple(b))
