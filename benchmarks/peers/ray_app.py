"""Ray Serve: a proxy, and one replica that batches; tuned as its performance guide says."""

from __future__ import annotations

import signal

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.peers.work import MAX_BATCH, PORT, WAIT_S, Array, Generator, npy


@serve.deployment(max_ongoing_requests=1024)
class Sampler:
    """One replica."""

    def __init__(self) -> None:
        self._generator = Generator()

    async def __call__(self, request: Request) -> Response:
        """npy or JSON."""
        asked = await request.json()
        x = await self.generate(self._generator.latents(asked["n"], asked["seed"]))
        if asked["format"] == "npy":
            return Response(npy(x), media_type="application/x-npy")
        return JSONResponse({"samples": x.tolist(), "seed": asked["seed"]})

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def generate(self, parts: list[Array]) -> list[Array]:
        """Latents of several requests to their images."""
        return self._generator.run_batch(parts)


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Sampler.bind(), route_prefix="/sample")  # type: ignore[attr-defined]  # the decorator's
    signal.pause()
