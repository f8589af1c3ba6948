"""A deep belief network in whole numbers: what is exported, served and evaluated.

Dbn (float) ──quantise_network──► QuantisedDbn: integers, a step for each layer and direction

As `training.quantised` has it for one machine: the chain runs in the top one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from training.dbn import Dbn, Directed
from training.guide import Guide
from training.label_units import with_label
from training.quantised import Bits, QuantisedRbm, quantise
from training.rbm import Rbm
from training.rounding import MOST_ROWS, Moments, binary


@dataclass(frozen=True)
class QuantisedGuide:
    """A guide in units of the top machine's step: integers of any size, since they are looked up.

    Attributes:
        up: added to the inputs of h^L.
        down: added to the inputs of h^{L-1}.
    """

    up: Int32[np.ndarray, "labels hidden"]
    down: Int32[np.ndarray, "labels units"]


@dataclass(frozen=True)
class QuantisedDbn:
    """A network in whole numbers, with a step of its own in each layer and direction.

    Attributes:
        up: recognition weights of each directed layer, the lowest first; b is 0.
        down: generative weights of each; c is 0.
        top: the top machine; its last `labels` visible units are label units.
        labels: how many there are; 0 for none.
        guide: what chains that hold a label are guided by; the label units' weights without one.
    """

    up: tuple[QuantisedRbm, ...]
    down: tuple[QuantisedRbm, ...]
    top: QuantisedRbm
    labels: int
    guide: QuantisedGuide | None = None

    @property
    def units(self) -> int:
        """Units of the topmost directed layer: a chain's state."""
        return self.top.visible - self.labels

    @property
    def held(self) -> QuantisedGuide:
        """What a label that a chain holds adds to the inputs of the top machine's units."""
        assert self.labels, "a network with label units"
        if self.guide is not None:
            return self.guide
        own = self.top.W[self.units :]
        return QuantisedGuide(up=own, down=np.zeros((self.labels, self.units), np.int32))

    def dequantised(self) -> Dbn:
        """The network in float32, which is the model that is published."""
        layers = []
        for up, down in zip(self.up, self.down, strict=True):
            q, p = up.dequantised(), down.dequantised()
            layers.append(Directed(up=q.W, c=q.c, down=p.W, b=p.b))
        return Dbn(layers=tuple(layers), top=self.top.dequantised(), labels=self.labels)


@dataclass(frozen=True)
class NetworkMoments:
    """Moments on both sides of every matrix, where states are recognised from data.

    A matrix that is directed has units on its far side that make up for nothing.
    """

    up: tuple[tuple[Moments, Moments], ...]
    down: tuple[tuple[Moments, Moments], ...]
    top: tuple[Moments, Moments]


def network_moments(
    dbn: Dbn, p: Float[Tensor, "rows pixels"], y: Int64[Tensor, " rows"]
) -> NetworkMoments:
    """Where pixels are drawn from each row's grey values, and hidden units on the way up."""
    x, y = binary(p[:MOST_ROWS]), y[:MOST_ROWS]
    up, down = [], []
    for layer in dbn.layers:
        q = torch.sigmoid(layer.c + x @ layer.up)
        h = binary(q)
        up.append((Moments.of(x), Moments.apart(q)))
        down.append((Moments.apart(x), Moments.of(h)))
        x = h
    v = with_label(x, y, labels=dbn.labels)
    top = Moments.of(v), Moments.of(torch.sigmoid(dbn.top.c + v @ dbn.top.W))
    return NetworkMoments(tuple(up), tuple(down), top)


def quantise_network(
    dbn: Dbn, *, bits: Bits, guide: Guide | None = None, moments: NetworkMoments | None = None
) -> QuantisedDbn:
    """Each layer and direction rounded by itself; a guide to the top machine's step.

    With `moments` a matrix's weights are rounded together, as in `quantise`.
    """
    depth = len(dbn.layers)
    up_moments = moments.up if moments else (None,) * depth
    down_moments = moments.down if moments else (None,) * depth
    top = quantise(dbn.top, bits=bits, labels=dbn.labels, moments=moments.top if moments else None)

    def whole(x: Float[Tensor, "labels units"]) -> Int32[np.ndarray, "labels units"]:
        rounded: Int32[np.ndarray, "labels units"] = np.rint(
            x.detach().cpu().double().numpy() / float(top.step)
        ).astype(np.int32)
        return rounded

    return QuantisedDbn(
        up=tuple(
            quantise(Rbm(W=d.up, b=torch.zeros_like(d.b), c=d.c), bits=bits, moments=known)
            for d, known in zip(dbn.layers, up_moments, strict=True)
        ),
        down=tuple(
            quantise(Rbm(W=d.down, b=d.b, c=torch.zeros_like(d.c)), bits=bits, moments=known)
            for d, known in zip(dbn.layers, down_moments, strict=True)
        ),
        top=top,
        labels=dbn.labels,
        guide=None if guide is None else QuantisedGuide(up=whole(guide.up), down=whole(guide.down)),
    )


def reference_sweep(
    dbn: QuantisedDbn,
    h: np.ndarray[Any, Any],
    *,
    label: np.ndarray[Any, Any],
    noise: Mapping[str, np.ndarray[Any, Any]],
    beta: np.ndarray[Any, Any],
) -> np.ndarray[Any, Any]:
    """One sweep in 64-bit arithmetic, for the parity check of an export."""
    top, units = dbn.top, dbn.units
    scale = top.step * beta.astype(np.float32)
    # float64 products are exact here, and much faster than numpy's integer ones.
    a = h.astype(np.float64) @ top.W[:units] + top.c
    b = top.b[:units].astype(np.float64)
    if dbn.labels:
        a, b = a + dbn.held.up[label], b + dbn.held.down[label]
    above = noise["noise_top"] < a.astype(np.float32) * scale
    a = above.astype(np.float64) @ top.W[:units].T + b
    on: np.ndarray[Any, Any] = noise["noise_h"] < a.astype(np.float32) * scale
    return on.astype(np.uint8)
