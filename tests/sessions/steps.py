"""Step functions to iterate in tests: their graphs, first states, clamps and noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from service.contract import FunctionSpec, Role, read_manifest, sha256_of
from service.domain.arrays import Arrays
from service.domain.feeding import cut_noise
from service.invariance import random_rows
from tests.packages import SHAPE, VISIBLE
from tests.training.test_dbm import deep_machine
from training.boltzmann_graphs import rbm_functions
from training.deep_graphs import dbm_functions
from training.package import Function
from training.quantised import quantise
from training.quantised_deep import quantise_deep
from training.rbm import Rbm


@dataclass(frozen=True)
class Step:
    """A step function and its graph."""

    spec: FunctionSpec
    content: bytes

    @property
    def feedback(self) -> dict[str, str]:
        return {old.name: new.name for old, new in self.spec.state_pairs}

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.spec.outputs)

    def start(self, rows: int, seed: int = 0) -> Arrays:
        """0/1 states, some units clamped, several temperatures."""
        draw = np.random.default_rng([seed, rows])
        inputs = random_rows(self.spec, rows)
        for tensor in self.spec.inputs:
            shape = (rows, *tensor.row_shape)
            if tensor in self.spec.noises:
                del inputs[tensor.name]
            elif tensor.role is Role.STATE and tensor.dtype == "uint8":
                inputs[tensor.name] = draw.integers(0, 2, shape, np.uint8)
            elif tensor.role is Role.CLAMP_MASK:
                inputs[tensor.name] = draw.random(shape) < 0.3
            elif tensor.role is Role.BETA:
                inputs[tensor.name] = draw.uniform(0.5, 2, shape).astype(np.float32)
        return inputs

    def noises(self, rows: int, steps: int, seed: int = 0) -> list[Arrays]:
        draw = np.random.default_rng([seed, rows, steps])
        width = sum(t.row_size for t in self.spec.noises)
        if not width:
            return [{}] * steps
        return [cut_noise(self.spec, draw.integers(0, 65536, (rows, width), np.uint16))
                for _ in range(steps)]  # fmt: skip


def packaged(directory: Path, name: str) -> Step:
    """A function of a package on disk."""
    spec = read_manifest(directory).functions[name]
    return Step(spec, (directory / spec.file).read_bytes())


def exported(functions: dict[str, Function], name: str) -> Step:
    """A function that was just exported."""
    function = functions[name]
    return Step(
        FunctionSpec(
            kind=function.kind,
            file=f"{name}.onnx",
            sha256=sha256_of(function.graph),
            inputs=function.inputs,
            outputs=function.outputs,
            start=function.start,
            readout=function.readout,
            exact=function.exact,
        ),
        function.graph,
    )


def sixteen_bit_rbm() -> dict[str, Function]:
    """A 16-6 machine whose weights need two int8 parts."""
    draw = torch.Generator().manual_seed(1)
    machine = Rbm(
        W=torch.randn(VISIBLE, 6, generator=draw),
        b=torch.randn(VISIBLE, generator=draw),
        c=torch.randn(6, generator=draw),
    )
    base = np.zeros(VISIBLE, np.float32)
    return rbm_functions(quantise(machine, bits=16), base_bias=base, shape=SHAPE)


def tiny_dbm(sizes: tuple[int, ...] = (16, 8, 6, 4)) -> dict[str, Function]:
    """A deep machine whose chain has a state of two tensors."""
    whole = quantise_deep(deep_machine(*sizes), bits=8)
    base = {i: np.linspace(-1, 1, whole.sizes[i], dtype=np.float32) for i in whole.even}
    return dbm_functions(whole, base_bias=base, shape=SHAPE, mean_field_updates=3)
