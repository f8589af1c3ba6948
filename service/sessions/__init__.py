"""Runtimes behind one Protocol: a session runs one graph on arrays and knows nothing of requests.

bytes (verified) ──► open_session ──► Session.run({name: array}) ──► {name: array}
                                      Session.iterate(…, noises)  ──► the last states

devices.py      which devices models run on
opening.py      from bytes to a session: the runtime, the device, and what to do when it fails
onnx.py         ONNX Runtime on the CPU
cuda.py         ONNX Runtime on a GPU: buffers.py (device memory, CUDA graphs), onnx_signed.py
torchscript.py  TorchScript; the only place that imports torch
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from service.domain.arrays import Arrays

TensorType = tuple[str, tuple[int | str | None, ...]]  # dtype, shape: sizes or symbols
Signature = tuple[dict[str, TensorType], dict[str, TensorType]]


class Session(Protocol):
    """One loaded graph. `run` may be called from any thread, one call at a time."""

    runtime: str
    device: str

    def signature(self) -> Signature:
        """Inputs and outputs by name."""
        ...

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs; each input has the rows of the batch as its first axis."""
        ...

    def iterate(
        self, feedback: Mapping[str, str], inputs: Arrays, noises: Iterable[Arrays]
    ) -> Arrays:
        """Run a step function once for each of `noises`, feeding its states back.

        Args:
            feedback: state input → the state output that becomes it; the last outputs are returned.
            inputs: first states and parameters, each [rows, …].
            noises: what differs from step to step, each [rows, …]; one at least. The next is asked
                for when the step before has run, so that a generator may end the chain when it
                likes. Its arrays stay as they are until the call returns.
        """
        given, outputs = dict(inputs), tuple(feedback.values())
        found: Arrays = {}
        for noise in noises:
            found = self.run(outputs, given | noise)
            given |= {state: found[output] for state, output in feedback.items()}
        assert found, "a chain takes one step at least"
        return found
