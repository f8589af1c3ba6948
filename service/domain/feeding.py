"""Feeding functions by role: what a caller has, in the names, dtypes and shapes of the contract.

{role: array} + FunctionSpec ──► {name: array}
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray

from service.contract import FunctionSpec, Role, TensorSpec
from service.domain.arrays import NUMPY_DTYPES, Arrays
from service.domain.randomness import Stream, logistic, standard_normal, uniform16

ByRole = dict[Role, NDArray[Any]]


def feed(spec: FunctionSpec, by_role: ByRole, by_name: Arrays | None = None) -> Arrays:
    """A function's inputs by name, each in the dtype and shape that its contract says.

    Args:
        spec: the function.
        by_role: arrays whose role says where they go.
        by_name: arrays of which there are several with one role: states and noise.
    """
    named = by_name or {}
    return {t.name: _fit(t, named[t.name] if t.name in named else by_role[t.role])
            for t in spec.inputs}  # fmt: skip


def _fit(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    shaped = array.reshape(len(array), *tensor.row_shape)
    return np.ascontiguousarray(shaped, dtype=NUMPY_DTYPES[tensor.dtype])


def draw_noise(spec: FunctionSpec, *, seed: int, rows: Sequence[int], stream: Stream) -> Arrays:
    """What a function's noise inputs want, by name: normals, or one row of integers cut up."""
    normal = [t for t in spec.noises if t.role is Role.NOISE and t.dtype == "float32"]
    if normal:
        (tensor,) = spec.noises
        width = tensor.row_size
        return {tensor.name: standard_normal(seed=seed, rows=rows, stream=stream, width=width)}
    width = sum(t.row_size for t in spec.noises)
    return cut_noise(spec, uniform16(seed=seed, rows=rows, stream=stream, width=width))


class NoiseCut:
    """Shares a row's 16-bit integers out among a function's noise inputs, in their order."""

    def __init__(self, spec: FunctionSpec) -> None:
        """What is to be had from the contract once and for all."""
        self.width = sum(t.row_size for t in spec.noises)
        ends = accumulate(t.row_size for t in spec.noises)
        self._parts = [
            (t.name, slice(end - t.row_size, end), t.row_shape, t.role is Role.LOGISTIC)
            for t, end in zip(spec.noises, ends, strict=True)
        ]

    def __call__(self, integers: UInt16[np.ndarray, "*sweeps rows width"]) -> Arrays:
        """The noise inputs by name, each [*sweeps, rows, …]."""
        before = integers.shape[:-1]
        made: Arrays = {}
        for name, columns, row_shape, is_logistic in self._parts:
            part = integers[..., columns]
            drawn = logistic(part) if is_logistic else np.ascontiguousarray(part)
            made[name] = drawn if len(row_shape) == 1 else drawn.reshape(*before, *row_shape)
        return made


def cut_noise(spec: FunctionSpec, integers: UInt16[np.ndarray, "*sweeps rows width"]) -> Arrays:
    """Each row's 16-bit integers, shared out among the noise inputs in their order."""
    return NoiseCut(spec)(integers)


def feed_parameters(step: FunctionSpec, fixed: ByRole) -> Arrays:
    """What holds during every sweep of a step function."""
    drawn = {Role.STATE, Role.NOISE, Role.LOGISTIC}
    others = tuple(t for t in step.inputs if t.role not in drawn)
    return feed(step.model_copy(update={"inputs": others}), fixed)


def started(step: FunctionSpec, start: FunctionSpec, outputs: Arrays) -> Arrays:
    """The states that a start function gave, under the step function's names."""
    made = [t.name for t in start.outputs if t.role is Role.STATE]
    wanted = [old.name for old, _ in step.state_pairs]
    return {to: outputs[source] for to, source in zip(wanted, made, strict=True)}
