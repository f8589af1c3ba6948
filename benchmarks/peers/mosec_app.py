"""mosec: a Rust front that batches, and a Python worker behind a socket."""

from __future__ import annotations

from typing import Any

import msgspec
from mosec import Server, Worker

from benchmarks.peers.work import MAX_BATCH, Array, Generator, npy


class Sampler(Worker):
    """Draws a batch of requests at a time; answers in what each asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._generator = Generator()

    def forward(self, data: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Array]]:
        """Requests to (request, images)."""
        parts = [self._generator.latents(r["n"], r["seed"]) for r in data]
        return list(zip(data, self._generator.run_batch(parts), strict=True))

    def serialize(self, data: tuple[dict[str, Any], Array]) -> bytes:
        """An answer's bytes."""
        request, x = data
        if request["format"] == "npy":
            return npy(x)
        answer: bytes = msgspec.json.encode({"samples": x.tolist(), "seed": request["seed"]})
        return answer


if __name__ == "__main__":
    server = Server()
    server.append_worker(Sampler, num=1, max_batch_size=MAX_BATCH, max_wait_time=1)
    server.run()
