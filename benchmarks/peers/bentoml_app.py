"""BentoML: one service, one worker.

Without its adaptive batching, which takes one list for a parameter and answers in JSON alone; in
one noisy trial it gave a quarter to a third more JSON answers a second of the small model. Calling
a batchable endpoint from a plain one, by the service's own client, cost several times a request
and gave answers of the wrong size.
Annotations are not postponed here: BentoML makes its schemas of them.
"""

from typing import Any

import bentoml
import numpy as np
from starlette.responses import Response

from benchmarks.peers.work import Generator, npy


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
)
class Sampler:
    """A path for each format."""

    def __init__(self) -> None:
        self._generator = Generator()

    @bentoml.api
    async def npy(self, n: int, seed: int) -> Any:  # noqa: ANN401  BentoML takes no Response here
        """An npy file."""
        x = self._generator.run(self._generator.latents(n, seed))
        return Response(npy(x), media_type="application/x-npy")

    @bentoml.api
    async def json(self, n: int, seed: int) -> np.ndarray:
        """Nested numbers, by BentoML's own encoder of arrays."""
        return self._generator.run(self._generator.latents(n, seed))
