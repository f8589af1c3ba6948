"""MLServer: a custom runtime in the server's own process, batched adaptively.

It merges and splits batches by rows, so that a request brings its seed once a row; equal seeds side
by side are one request's. Its REST has no binary tensors: /sample gives npy by a custom handler.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from fastapi import Request, Response
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.handlers import custom_handler
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.work import Generator, npy


class Sampler(MLModel):
    """seed [n] to samples [n, C, H, W]."""

    async def load(self) -> bool:
        """Once."""
        self._generator = Generator()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """A batch, of one request or of several."""
        seeds = NumpyCodec.decode_input(payload.inputs[0]).ravel().tolist()
        asked = [(len(list(rows)), seed) for seed, rows in groupby(seeds)]
        parts = [self._generator.latents(n, seed) for n, seed in asked]
        x = self._generator.run_rows(parts)
        output = NumpyCodec.encode_output("samples", x)
        return InferenceResponse(model_name=self.name, outputs=[output])

    @custom_handler(rest_path="/sample")
    async def sample(self, request: Request) -> Response:
        """{"n", "seed"} to npy."""
        asked: dict[str, Any] = await request.json()
        x = self._generator.run(self._generator.latents(asked["n"], asked["seed"]))
        return Response(npy(x), media_type="application/x-npy")
