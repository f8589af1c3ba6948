"""Runtimes behind one Protocol: a session runs one graph on arrays and knows nothing of requests.

bytes (verified) ──► open_session ──► Session.run({name: array}) ──► {name: array}
"""

from __future__ import annotations

from typing import Protocol

from service.domain.arrays import Arrays


class Session(Protocol):
    """One loaded graph. `run` may be called from any thread, one call at a time."""

    runtime: str
    device: str

    def signature(self) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
        """Inputs and outputs by name."""
        ...

    def run(self, outputs: tuple[str, ...], inputs: Arrays) -> Arrays:
        """The named outputs; each input has the rows of the batch as its first axis."""
        ...


TensorType = tuple[str, tuple[int | str | None, ...]]  # dtype, shape: sizes or symbols
