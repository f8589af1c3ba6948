"""The work that every peer does for a request, as their authors would write it.

seed ──default_rng──► z [n, latent] ──ONNX Runtime, one thread──► x [n, C, H, W] ──► npy | JSON

The generator and the port come by the environment: GRAPH, PORT.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, Any]
PORT = int(os.environ.get("PORT", "0"))
MAX_BATCH = 32  # requests
WAIT_S = 0.001  # for a batch to fill; the smallest that every one of them accepts


class Generator:
    """The graph, on one thread that does not spin."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            Path(os.environ["GRAPH"]).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self._latent: int = self._session.get_inputs()[0].shape[1]
        self.run(self.latents(1, 0))

    def latents(self, n: int, seed: int) -> Array:
        """z, float32 [n, latent]."""
        return np.random.default_rng(seed).standard_normal((n, self._latent), np.float32)

    def run(self, z: Array) -> Array:
        """x, float32 [n, C, H, W]."""
        found: Array = self._session.run(None, {"z": z})[0]
        return found

    def run_rows(self, parts: Sequence[Array]) -> Array:
        """The latents of several requests in one call."""
        return self.run(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def run_batch(self, parts: Sequence[Array]) -> list[Array]:
        """The same, and each request's own images."""
        x = self.run_rows(parts)
        return np.split(x, np.cumsum([len(z) for z in parts])[:-1]) if len(parts) > 1 else [x]


def npy(x: Array) -> bytes:
    """The array as an .npy file."""
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()
