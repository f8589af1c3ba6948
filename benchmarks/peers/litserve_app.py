"""LitServe: FastAPI in front, one worker process behind ZeroMQ (`fast_queue`).

Without its batching, which made the small model's binary answers slower here, by half or more.
Annotations are not postponed: LitServe reads the type of `request` from the function.
"""

from typing import Any

import litserve as ls
from fastapi import Response

from benchmarks.peers.work import PORT, Array, Generator, npy

Asked = tuple[str, Array]


class Sampler(ls.LitAPI):
    """A request at a time."""

    def setup(self, device: str) -> None:  # noqa: ARG002  LitServe passes it
        """Once, in the worker."""
        self._generator = Generator()

    def decode_request(self, request: dict[str, Any]) -> Asked:
        """(format, z)."""
        return request["format"], self._generator.latents(request["n"], request["seed"])

    def predict(self, x: Asked) -> Asked:
        """(format, images)."""
        return x[0], self._generator.run(x[1])

    def encode_response(self, output: Asked) -> Any:  # noqa: ANN401  a Response or a document
        """npy or JSON."""
        form, x = output
        if form == "npy":
            return Response(npy(x), media_type="application/x-npy")
        return {"samples": x.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        Sampler(api_path="/sample"), accelerator="cpu", workers_per_device=1, timeout=60,
        fast_queue=True,
    )  # fmt: skip
    server.run(
        host="127.0.0.1", port=PORT, num_api_servers=1, log_level="warning", access_log=False,
        generate_client_file=False,
    )  # fmt: skip
