"""Who takes part: how each is installed, started and asked.

Peer ──pip──► benchmarks/.envs/<environment> ──command──► a server ──ask──► Request
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.settings import Settings

Format = Literal["npy", "json"]

HERE = Path(__file__).parent
RUNTIME = ("onnxruntime==1.32.0", "numpy==2.4.6")  # the same for all, and ours


@dataclass(frozen=True)
class Request:
    """A POST; the word SEED in its body stands for a seed that no other request has."""

    path: str
    body: str
    accept: str = "*/*"


def at(path: str) -> Callable[[str, int, Format], Request]:
    """{"n", "seed", "format"} to this path."""

    def ask(_: str, n: int, form: Format) -> Request:
        return Request(path, f'{{"n": {n}, "seed": SEED, "format": "{form}"}}')

    return ask


def reverie_request(model: str, n: int, form: Format) -> Request:
    """Reverie's own: the format goes by Accept."""
    accept = {"npy": "application/x-npy", "json": "application/json"}[form]
    return Request(f"/v1/models/{model}/sample", f'{{"n": {n}, "seed": SEED}}', accept)


def mlserver_request(_: str, n: int, form: Format) -> Request:
    """The Open Inference Protocol, a row for each sample, so that MLServer may batch; npy by hand.

    Its REST has no binary answers: they come from a custom handler, which it does not batch.
    """
    if form == "npy":
        return Request("/sample", f'{{"n": {n}, "seed": SEED}}')
    seeds = ", ".join(["SEED"] * n)
    tensor = f'{{"name": "seed", "shape": [{n}], "datatype": "INT64", "data": [{seeds}]}}'
    return Request("/v2/models/generator/infer", f'{{"inputs": [{tensor}]}}')


def bentoml_request(_: str, n: int, form: Format) -> Request:
    """A path for each format."""
    return Request(f"/{form}", f'{{"n": {n}, "seed": SEED}}')


def samples_of(document: Any) -> Any:  # noqa: ANN401  whatever JSON says
    """The numbers of a JSON answer."""
    return document["samples"]


def itself(document: Any) -> Any:  # noqa: ANN401  whatever JSON says
    """A JSON answer that is nothing but the numbers."""
    return document


def tensor_of(document: Any) -> Any:  # noqa: ANN401  whatever JSON says
    """The numbers of an Open Inference Protocol answer."""
    return document["outputs"][0]["data"]


@dataclass(frozen=True)
class Peer:
    """A server that takes part.

    Attributes:
        name: short, for a column.
        about: how it is configured, in a sentence.
        environment: folder of benchmarks/.envs; empty for the project's own.
        requirements: what pip installs there.
        command: `{bin}`, `{here}`, `{store}`, `{port}`, `{port2}` and `{port3}` are filled in.
        ask: (model, n, format) → request.
        samples: takes the numbers out of a JSON answer.
        variables: of the process environment, filled in likewise.
    """

    name: str
    about: str
    environment: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]
    ask: Callable[[str, int, Format], Request]
    samples: Callable[[Any], Any] = samples_of
    variables: Mapping[str, str] = field(default_factory=dict)

    def bin(self) -> Path:
        """Where its commands are."""
        if not self.environment:
            return Path(sys.executable).parent
        return HERE.parent / ".envs" / self.environment / "bin"


_PYTHON = "{bin}/python"
_UVICORN = (
    "{bin}/uvicorn", "benchmarks.peers.fastapi_app:app", "--host", "127.0.0.1", "--port", "{port}",
    "--no-access-log", "--log-level", "warning",
)  # fmt: skip
_FASTAPI = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.13.0", *RUNTIME)

PEERS = (
    Peer(
        "fastapi", "plain FastAPI: a sync endpoint, FastAPI's own JSON; uvicorn, one worker",
        "fastapi", _FASTAPI, _UVICORN, ask=at("/sample"),
    ),
    Peer(
        "fastapi-tuned", "FastAPI tuned by hand: runs on the event loop, orjson from the array",
        "fastapi", _FASTAPI, _UVICORN, ask=at("/sample-tuned"),
    ),
    Peer(
        "mosec", "mosec: Rust in front, one worker, max_batch_size=32, max_wait_time=1 ms",
        "mosec", ("mosec==0.9.8", *RUNTIME),
        (_PYTHON, "-m", "benchmarks.peers.mosec_app", "--address", "127.0.0.1", "--port", "{port}",
         "--timeout", "60000", "--capacity", "4096", "--log-level", "warning"),
        ask=at("/inference"),
    ),
    Peer(
        "litserve", "LitServe: fast_queue, one worker, no batching (see litserve_app.py for why)",
        "litserve", ("litserve==0.2.19", *RUNTIME),
        (_PYTHON, "-m", "benchmarks.peers.litserve_app"), ask=at("/sample"),
    ),
    Peer(
        "bentoml", "BentoML: one service, one worker, no batching (see bentoml_app.py for why)",
        "bentoml", ("bentoml==1.4.39", *RUNTIME),
        ("{bin}/bentoml", "serve", "benchmarks.peers.bentoml_app:Sampler",
         "--host", "127.0.0.1", "--port", "{port}"),
        ask=bentoml_request, samples=itself,
        variables={"BENTOML_DO_NOT_TRACK": "true", "PATH": "{bin}:/usr/bin:/bin"},
    ),
    Peer(
        "ray", "Ray Serve: one replica, @serve.batch of 32, batch_wait_timeout_s=1 ms",
        "ray", ("ray[serve]==2.60.0", *RUNTIME),
        (_PYTHON, "-m", "benchmarks.peers.ray_app"), ask=at("/sample"),
        variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    ),
    Peer(
        "mlserver", "MLServer: parallel_workers=0, max_batch_size=32, max_batch_time=1 ms",
        "mlserver", ("mlserver==1.7.1", RUNTIME[0]),
        ("{bin}/mlserver", "start", "{here}/mlserver_model"),
        ask=mlserver_request, samples=tensor_of,
        variables={"MLSERVER_HOST": "127.0.0.1", "MLSERVER_HTTP_PORT": "{port}",
                   "MLSERVER_GRPC_PORT": "{port2}", "MLSERVER_METRICS_PORT": "{port3}",
                   "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"},
    ),
)  # fmt: skip


def reverie(name: str = "reverie", **settings: str) -> Peer:
    """This project's own, as its users start it; `settings` by their names in lower case."""
    given = {"log_level": "warning"} | settings
    return Peer(
        name, f"as its users start it, with {json.dumps(given)}", "", (),
        ("{bin}/reverie", "serve", "--port", "{port}", "--store", "{store}"),
        ask=reverie_request,
        variables={f"REVERIE_{key.upper()}": value for key, value in given.items()},
    )  # fmt: skip


def ours(**settings: str) -> tuple[Peer, ...]:
    """Reverie, and where its fast lane is a setting, Reverie without it."""
    plain = "fast_lane" in Settings.model_fields and "fast_lane" not in settings
    lanes = (reverie("reverie-plain", fast_lane="false", **settings),) if plain else ()
    return (reverie(**settings), *lanes)
