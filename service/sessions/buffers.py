"""Device memory for one padded batch size: inputs and outputs at addresses that never change.

{name: [rows, …]} ──send what differs──► inputs ──run──► outputs ──fetch──► {name: [rows, …]}
                                           ▲                │
                                           └─── feed_back ──┘  a step's states change places

A CUDA graph is a recording of one run and reads and writes the addresses that it was recorded
with, so states take turns between two sets of buffers, each with a recording of its own. One set
would not do: the runtime runs a graph more than once while it records it, and states that are
overwritten in place would go several steps ahead (onnxruntime#32243).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.domain.arrays import Arrays

_NO_RECORDING = "-1"  # a run beside the CUDA graphs


def padded_size(rows: int) -> int:
    """The power of two that `rows` rows are padded to."""
    return 1 << max(rows - 1, 0).bit_length()


class Buffers:
    """The inputs and outputs of one session for batches of up to `size` rows."""

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Arrays,
        *,
        size: int,
        device: str,
        recordings: Iterator[int] | None,
    ) -> None:
        """Take memory on `device`, and learn the shapes of the outputs by running once.

        Args:
            session: the graph.
            inputs: every input, [rows, …] with at most `size` rows; sent already.
            size: rows of each buffer.
            device: `cuda:N`; or `cpu`, where the same works with ordinary memory.
            recordings: ids for CUDA graphs, unique within the session; None: no CUDA graphs.
        """
        self._session = session
        self._kind, _, number = device.partition(":")
        self._number = int(number or 0)
        self._recordings = recordings
        self._sent = {name: _padded(array, size) for name, array in inputs.items()}
        self._inputs = {name: self._on_device(array) for name, array in self._sent.items()}
        self._outputs = self._learn_outputs()
        self._moved: set[str] = set()  # inputs that no longer hold what was sent last
        self._turned = False
        self._runs: dict[bool, tuple[Any, ort.RunOptions | None]] = {}

    def send(self, arrays: Arrays) -> None:
        """Copy what differs from what is there; labels, clamps and settled states stay."""
        for name, array in arrays.items():
            kept = self._sent[name]
            if name not in self._moved and _same(kept[: len(array)], array):
                continue
            self._moved.add(name)
            np.copyto(kept[: len(array)], array, casting="no")
            self._inputs[name].update_inplace(kept)
            self._moved.discard(name)

    def run(self) -> None:
        """Run the graph on what is there; a first run with CUDA graphs also records it."""
        if self._turned not in self._runs:
            self._runs[self._turned] = self._bound(), self._options()
        binding, options = self._runs[self._turned]
        self._session.run_with_iobinding(binding, options)

    def feed_back(self, feedback: Mapping[str, str]) -> None:
        """What was written becomes what is read, without a copy: state input → state output."""
        for state, output in feedback.items():
            ins, outs = self._inputs[state], self._outputs[output]
            self._inputs[state], self._outputs[output] = outs, ins
        self._moved |= feedback.keys()
        self._turned = not self._turned

    def fetch(self, outputs: tuple[str, ...], rows: int) -> Arrays:
        """The first `rows` rows of the named outputs."""
        return {name: np.array(self._outputs[name].numpy()[:rows]) for name in outputs}

    def fetch_states(self, feedback: Mapping[str, str], rows: int) -> Arrays:
        """The states after `feed_back`, by the names of the outputs that they came from."""
        for state in feedback:
            self._sent[state] = np.array(self._inputs[state].numpy())
        self._moved -= feedback.keys()
        return {output: self._sent[state][:rows].copy() for state, output in feedback.items()}

    def _learn_outputs(self) -> dict[str, Any]:
        binding = self._session.io_binding()
        for name, value in self._inputs.items():
            binding.bind_ortvalue_input(name, value)
        names = [output.name for output in self._session.get_outputs()]
        for name in names:
            binding.bind_output(name, self._kind, self._number)
        self._session.run_with_iobinding(binding, _run_options(_NO_RECORDING))
        return dict(zip(names, binding.get_outputs(), strict=True))

    def _bound(self) -> Any:  # noqa: ANN401  (the runtime has no types)
        binding = self._session.io_binding()
        for name, value in self._inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            binding.bind_ortvalue_output(name, value)
        return binding

    def _options(self) -> ort.RunOptions | None:
        return None if self._recordings is None else _run_options(str(next(self._recordings)))

    def _on_device(self, array: NDArray[Any]) -> Any:  # noqa: ANN401
        return ort.OrtValue.ortvalue_from_numpy(array.copy(), self._kind, self._number)


def _run_options(recording: str) -> ort.RunOptions:
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", recording)
    return options


def _padded(array: NDArray[Any], size: int) -> NDArray[Any]:
    """`size` rows: the given ones, then the last one again and again."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether these are the same bytes; noise is found to differ by its first row."""
    return all(
        np.array_equal(
            np.ascontiguousarray(x).view(np.uint8), np.ascontiguousarray(y).view(np.uint8)
        )
        for x, y in ((a[:1], b[:1]), (a, b))
    )
