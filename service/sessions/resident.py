"""A session whose weights, states and buffers stay on its device.

run:      send ──► run ──► fetch            iterate: send ──► (send noise ──► run)… ──► fetch states

Everything runs on a thread of the session's own: the CUDA provider keeps its recordings (CUDA
graphs) by thread, and two functions may share one session.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import onnxruntime as ort
import structlog

from service.contract import PackageError
from service.domain.arrays import Arrays
from service.sessions import Session, Signature
from service.sessions.buffers import Buffers, padded_size
from service.sessions.onnx import RUNTIME, reason_of, signature_of

log = structlog.get_logger(__name__)

LARGEST_NARROW = 127

OpenGraph = Callable[[bool], ort.InferenceSession]  # whether runs are to be recorded ──► session


class ResidentSession(Session):
    """One graph on one device, behind buffers for each padded batch size."""

    runtime = RUNTIME

    def __init__(
        self,
        open_graph: OpenGraph,
        *,
        device: str,
        narrow: frozenset[str] = frozenset(),
        recording: bool = True,
    ) -> None:
        """Open the graph, recording its runs if that is wanted and can be.

        Args:
            open_graph: opens it on the device; PackageError where it cannot be recorded.
            device: `cuda:N`, or `cpu` in tests.
            narrow: inputs that must not hold more than 127.
            recording: False for a session that records nothing, to compare with.

        Raises:
            PackageError: not an ONNX graph, or one that leads to other files.
        """
        self.device = device
        self._open_graph = open_graph
        self._narrow = narrow
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=device)
        self._open(recording=recording)

    @property
    def records(self) -> bool:
        """Whether runs are recorded, as CUDA graphs are."""
        return self._records

    def signature(self) -> Signature:
        """Inputs and outputs by name: dtype and shape as the graph declares them."""
        return signature_of(self._session)

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs."""

        def once() -> Arrays:
            buffers = self._ready(inputs)
            buffers.run()
            return buffers.fetch(outputs, _rows(inputs))

        return self._on_thread(once)

    def iterate(
        self, feedback: Mapping[str, str], inputs: Arrays, noises: Iterable[Arrays]
    ) -> Arrays:
        """Run a step function once for each of `noises`; states stay on the device in between."""
        again = _Replay(noises)

        def steps() -> Arrays:
            buffers: Buffers | None = None
            for noise in again:
                if buffers is None:
                    buffers = self._ready(inputs | noise)
                else:
                    buffers.send(noise)
                buffers.run()
                buffers.feed_back(feedback)
            assert buffers is not None, "a chain takes one step at least"
            return buffers.fetch_states(feedback, _rows(inputs))

        return self._on_thread(steps)

    def _ready(self, inputs: Arrays) -> Buffers:
        """The buffers of this batch's padded size, with the inputs in them."""
        self._check(inputs)
        size = padded_size(_rows(inputs))
        if size in self._buffers:
            self._buffers[size].send(inputs)
        else:
            self._buffers[size] = Buffers(
                self._session,
                inputs,
                size=size,
                device=self.device,
                recordings=self._ids if self._records else None,
            )
        return self._buffers[size]

    def _check(self, inputs: Arrays) -> None:
        """Buffers keep what they were sent, so that an input left out would go unnoticed."""
        if inputs.keys() != self._wanted:
            raise ValueError(f"the graph wants {sorted(self._wanted)}, not {sorted(inputs)}")
        for name in self._narrow:
            largest = int(inputs[name].max(initial=0))
            if largest > LARGEST_NARROW:
                raise ValueError(
                    f"{name!r} holds {largest}, more than {LARGEST_NARROW}: run it on the CPU"
                )

    def _on_thread(self, work: Callable[[], Arrays]) -> Arrays:
        return self._thread.submit(self._guarded, work).result()

    def _guarded(self, work: Callable[[], Arrays]) -> Arrays:
        """Do the work; after an error the session is opened anew.

        An error within a recording leaves the device's stream unusable, and one for want of memory
        leaves buffers half made. What fails while runs are recorded is tried without: if it works,
        this graph cannot be recorded, and is run without from then on.
        """
        try:
            return work()
        except ValueError:  # the caller's inputs, and no fault of the device
            raise
        except Exception as error:
            recorded = self._records
            self._open(recording=False)
            if not recorded:
                raise
            try:
                found = work()
            except Exception:
                self._open(recording=True)
                raise
            log.warning("cuda_graphs_off", device=self.device, reason=reason_of(error))
            return found

    def _open(self, *, recording: bool) -> None:
        """Open the graph, recording if that is wanted and can be; without any buffers yet."""
        self._buffers: dict[int, Buffers] = {}
        self._ids: Iterator[int] = itertools.count(1)
        self._records = recording
        try:
            self._session = self._open_graph(recording)
        except PackageError as error:
            if not recording:
                raise
            # Control flow, or a node that the device has no kernel for; a graph that is none at
            # all fails again.
            self._records = False
            self._session = self._open_graph(False)
            log.info("cuda_graphs_off", device=self.device, reason=str(error))
        self._wanted = {argument.name for argument in self._session.get_inputs()}


class _Replay:
    """An iterable that can be gone through again, before it was gone through to its end."""

    def __init__(self, source: Iterable[Arrays]) -> None:
        self._source = iter(source)
        self._seen: list[Arrays] = []

    def __iter__(self) -> Iterator[Arrays]:
        yield from tuple(self._seen)
        for item in self._source:
            self._seen.append(item)
            yield item


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))
