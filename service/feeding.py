"""Feeding functions by role: what a caller has, in the names, dtypes and shapes of the contract.

{role: array} + FunctionSpec ──► {name: array}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.contract import FunctionSpec, Role, TensorSpec
from service.domain.randomness import Stream, standard_normal, uniform16
from service.sessions import NUMPY_DTYPES, Arrays

ByRole = dict[Role, NDArray[Any]]


def feed(spec: FunctionSpec, by_role: ByRole) -> Arrays:
    """A function's inputs by name, each in the dtype and shape that its contract says."""
    return {t.name: _fit(t, by_role[t.role]) for t in spec.inputs}


def _fit(tensor: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    shaped = array.reshape(len(array), *tensor.row_shape)
    return np.ascontiguousarray(shaped, dtype=NUMPY_DTYPES[tensor.dtype])


def draw_noise(
    spec: FunctionSpec, *, seed: int, rows: Sequence[int], stream: Stream
) -> Float[np.ndarray, "rows width"] | NDArray[np.uint16]:
    """What a function's noise input wants: uniform 16-bit integers, or standard normals."""
    tensor = spec.input(Role.NOISE)
    if tensor is None:
        return np.zeros((len(rows), 0), np.uint16)
    width = int(np.prod(tensor.row_shape))
    if tensor.dtype == "uint16":
        return uniform16(seed=seed, rows=rows, stream=stream, width=width)
    return standard_normal(seed=seed, rows=rows, stream=stream, width=width)


def feed_states(spec: FunctionSpec, state: Arrays, others: ByRole) -> Arrays:
    """Inputs of a function of states: states by name, everything else by role."""
    states = {t.name: state[t.name] for t in spec.inputs if t.role is Role.STATE}
    rest = {t.name: t for t in spec.inputs if t.role is not Role.STATE}
    fitted = feed(spec.model_copy(update={"inputs": tuple(rest.values())}), others)
    return states | fitted


def feed_parameters(step: FunctionSpec, fixed: ByRole) -> Arrays:
    """What holds during every sweep of a step function."""
    others = tuple(t for t in step.inputs if t.role not in {Role.STATE, Role.NOISE})
    return feed(step.model_copy(update={"inputs": others}), fixed)


def started(step: FunctionSpec, start: FunctionSpec, outputs: Arrays) -> Arrays:
    """The states that a start function gave, under the step function's names."""
    made = [t.name for t in start.outputs if t.role is Role.STATE]
    wanted = [old.name for old, _ in step.state_pairs]
    return {to: outputs[source] for to, source in zip(wanted, made, strict=True)}
