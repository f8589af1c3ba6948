"""Machines of published sizes with weights drawn at random, exported as trained ones are.

sizes ──► float weights ──8 bits──► the functions of a package ──► published for a service
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from service.contract import Defaults, FunctionSpec, ImageData, sha256_of
from service.domain.arrays import Arrays
from service.sessions.onnx import OnnxSession
from training.boltzmann_graphs import rbm_functions
from training.dbm import Dbm
from training.deep_graphs import dbm_functions
from training.package import Function, publish
from training.quantised import quantise
from training.quantised_deep import quantise_deep
from training.rbm import Rbm

SHAPE = (1, 28, 28)
BURN_IN = 1000


@dataclass(frozen=True)
class Machine:
    """A stack of layers in float32, and the functions exported from it.

    `W[l]` joins layer l to layer l + 1; `b[l]` are the biases of layer l.
    """

    name: str
    W: tuple[Float[np.ndarray, "lower upper"], ...]
    b: tuple[Float[np.ndarray, " units"], ...]
    functions: Mapping[str, Function]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer."""
        return tuple(len(bias) for bias in self.b)

    @property
    def halves(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The layers that a sweep draws first, and those that it draws then."""
        layers = range(len(self.b))
        return tuple(layers[::2]), tuple(layers[1::2])

    def neighbours(self, layer: int) -> list[tuple[int, Float[np.ndarray, "from to"]]]:
        """The layers next to this one, each with the weights from it to this one."""
        below = [(layer - 1, self.W[layer - 1])] if layer else []
        above = [(layer + 1, self.W[layer].T)] if layer < len(self.W) else []
        return below + above

    def publish(self, store: Path) -> str:
        """Write it as a package, and return the model's name."""
        publish(
            store, name=self.name, version=1, family="dbm" if len(self.W) > 1 else "rbm",
            description="Untrained.", data=ImageData(shape=SHAPE), functions=self.functions,
            defaults=Defaults(burn_in=BURN_IN, inpaint_steps=100), quality=(), provenance={},
            card="", preview=b"",
        )  # fmt: skip
        return self.name


def untrained(*sizes: int) -> Machine:
    """Weights like those of trained machines in size; their values do not matter for speed."""
    draw = torch.Generator().manual_seed(0)
    W = tuple(0.15 * torch.randn(lower, upper, generator=draw) for lower, upper in pairwise(sizes))
    b = tuple(torch.randn(units, generator=draw) for units in sizes)
    return Machine(
        name="-".join(("rbm" if len(W) == 1 else "dbm", *map(str, sizes))),
        W=tuple(np.ascontiguousarray(w.numpy()) for w in W),
        b=tuple(bias.numpy() for bias in b),
        functions=_exported(W, b),
    )


def _exported(W: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> Mapping[str, Function]:
    if len(W) == 1:
        rbm = quantise(Rbm(W=W[0], b=b[0], c=b[1]), bits=8)
        return rbm_functions(rbm, base_bias=b[0].numpy(), shape=SHAPE)
    dbm = quantise_deep(Dbm(W=W, b=b), bits=8)
    rates = {layer: b[layer].numpy() for layer in dbm.even}
    return dbm_functions(dbm, base_bias=rates, shape=SHAPE, mean_field_updates=1)


class Sweep:
    """The exported sweep in the runtime of the service, on one thread."""

    def __init__(self, machine: Machine) -> None:
        function = machine.functions["sweep"]
        self._session = OnnxSession(function.graph, threads=1)
        self._outputs = tuple(t.name for t in function.outputs)
        self._visible = machine.sizes[0]
        self.spec = FunctionSpec(
            kind="step", file="sweep.onnx", sha256=sha256_of(function.graph), exact=True,
            inputs=function.inputs, outputs=function.outputs, start="start", readout="readout",
        )  # fmt: skip

    def run(self, inputs: Arrays) -> Arrays:
        """One sweep."""
        return self._session.run(self._outputs, inputs)

    def states(self, n: int) -> Arrays:
        """Every unit off."""
        return {
            old.name: np.zeros((n, *old.row_shape), np.uint8) for old, _ in self.spec.state_pairs
        }

    def parameters(self, n: int) -> Arrays:
        """Nothing clamped, β = 1."""
        free = np.zeros((n, self._visible), bool)
        return {"clamp_mask": free, "clamp_values": free, "beta": np.ones((n, 1), np.float32)}
