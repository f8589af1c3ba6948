"""The GPU's session on the CPU: the same buffers, ping-pong and recovery, with ordinary memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime as ort

from service.contract import PackageError
from service.sessions.onnx import open_graph, options
from service.sessions.onnx_signed import with_signed_products
from service.sessions.resident import ResidentSession


def resident(
    content: bytes, wrap: Callable[[ort.InferenceSession, bool], Any] = lambda s, _: s
) -> ResidentSession:
    """`wrap` gets each session that is opened, and whether its runs are to be recorded."""
    graph = with_signed_products(content)

    def opened(recording: bool) -> Any:
        found = open_graph(graph.content, options(1), ["CPUExecutionProvider"])
        return wrap(found, recording)

    return ResidentSession(opened, device="cpu", narrow=graph.narrow)


class Faulty:
    """A session whose bound runs fail when `fails(rows, recording id)` says so."""

    def __init__(self, session: ort.InferenceSession, fails: Callable[[int, int], bool]) -> None:
        self._session = session
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: Any, chosen: ort.RunOptions | None = None) -> None:
        rows = next(iter(binding._bound_inputs.values())).shape()[0]
        recording = int(chosen.get_run_config_entry("gpu_graph_id")) if chosen else -1
        if self._fails(rows, recording):
            raise RuntimeError("CUDA failure 900: operation not permitted")
        self._session.run_with_iobinding(binding, chosen)


def unrecordable(session: ort.InferenceSession, recording: bool) -> ort.InferenceSession:
    """As ONNX Runtime refuses to record a graph with control flow, when it opens it."""
    if recording:
        raise PackageError("the model has control flow nodes")
    return session
