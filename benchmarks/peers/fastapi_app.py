"""Plain FastAPI: what a good engineer writes in an afternoon.

/sample        a sync endpoint, which FastAPI runs in a thread; JSON is FastAPI's own
/sample-tuned  by hand: no thread, since the run is short, and JSON by orjson from the array itself
"""

from __future__ import annotations

from typing import Any, Literal

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field

from benchmarks.peers.work import Generator, npy

app = FastAPI()
generator = Generator()


class Request(BaseModel):
    """The body."""

    n: int = Field(1, ge=1, le=1024)
    seed: int = Field(ge=0)
    format: Literal["npy", "json"] = "npy"


@app.post("/sample")
def sample(request: Request) -> Any:  # noqa: ANN401  a Response or a document
    """Samples of a seed."""
    x = generator.run(generator.latents(request.n, request.seed))
    if request.format == "npy":
        return Response(npy(x), media_type="application/x-npy")
    return {"samples": x.tolist(), "seed": request.seed}


@app.post("/sample-tuned")
async def sample_tuned(request: Request) -> Response:
    """The same, on the event loop."""
    x = generator.run(generator.latents(request.n, request.seed))
    if request.format == "npy":
        return Response(npy(x), media_type="application/x-npy")
    document = {"samples": x, "seed": request.seed}
    content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")
