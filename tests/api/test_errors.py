"""Errors: one table, RFC 9457, and nothing that a stranger should not see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from service import errors
from service.api import bodies
from service.api.decoding import READABLE
from service.api.exchange import Exchange
from service.api.handlers import TABLE, ClientLeft, problem, row_of
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.api.servers import Answer, call, scope_of, served

RBM = "/v1/models/tiny-rbm"


def problem_of(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    bodies.Problem.model_validate(found)
    assert found["status"] == status
    assert found["type"] == f"urn:reverie:problem:{slug}"
    assert found["request_id"] == response.headers["x-request-id"]
    return found


def _kinds(root: type) -> Iterator[type]:
    for kind in root.__subclasses__():
        yield kind
        yield from _kinds(kind)


def test_every_error_of_the_service_has_a_row_of_its_own_or_of_its_kind():
    for kind in _kinds(errors.ServiceError):
        if kind is not errors.Retryable:
            assert any(base in TABLE for base in kind.__mro__), kind


def test_unknown_errors_are_500():
    assert row_of(ZeroDivisionError()).status == 500
    assert row_of(errors.ServiceError("?")).status == 500


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.InvalidInput("x"), 422, {}),
        (errors.MissingCapability("x"), 422, {}),
        (errors.UnknownModel("x"), 404, {}),
        (errors.UnwritableFormat("x"), 406, {}),
        (errors.TooLarge("x"), 413, {}),
        (errors.UnreadableFormat("x"), 415, {"accept-post": ", ".join(READABLE)}),
        (errors.Overloaded("x", retry_after_s=1.2), 429, {"retry-after": "2"}),
        (errors.Overloaded("x", retry_after_s=0), 429, {"retry-after": "1"}),
        (errors.NotReady("x", retry_after_s=7), 503, {"retry-after": "7"}),
        (errors.DeadlineExceeded("x"), 504, {}),
        (HTTPException(405, headers={"Allow": "GET"}), 405, {"allow": "GET"}),
    ],
)  # fmt: skip
def test_the_table_gives_status_and_headers(error: Exception, status: int, headers: dict[str, str]):
    response = problem(error, Exchange(request_id="id"))
    assert response.status_code == status
    assert headers.items() <= dict(response.headers).items()


@pytest.mark.parametrize(
    "error",
    [errors.ComputeFailed("/srv/models/x.onnx"), RuntimeError("at 0x7f00"), OSError("/etc/secret")],
)
def test_500_gives_an_id_and_nothing_else(error: Exception):
    response = problem(error, Exchange(request_id="the-id"))
    assert response.status_code == 500
    text = bytes(response.body).decode()
    assert "the-id" in text
    assert str(error) not in text


def test_an_unknown_path_is_404(client: httpx.Client):
    for path in ("/v1", "/v2", "/v1/models/tiny-rbm/dream", "/nowhere", "/v1/models/", "/livez/"):
        problem_of(client.get(path), 404, "not-found")


def test_another_method_is_405_and_names_the_right_one(client: httpx.Client):
    response = client.get(f"{RBM}/sample")
    problem_of(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"
    assert client.post("/livez").headers["allow"] == "GET"


@pytest.mark.parametrize(
    "name", ["nobody", "tiny-rbm@7", "tiny-rbm@x", "..", "%2e%2e%2fetc", "TINY-RBM", "a" * 500]
)
def test_an_unknown_model_is_404_with_those_there_are(client: httpx.Client, name: str):
    response = client.post(f"/v1/models/{name}/sample")
    assert response.status_code == 404
    assert response.json()["type"].startswith("urn:reverie:problem:")


def test_a_model_that_failed_says_why_with_503(client: httpx.Client):
    response = client.post("/v1/models/broken/sample")
    found = problem_of(response, 503, "not-ready")
    assert "sha256" in found["detail"]
    assert int(response.headers["retry-after"]) >= 1


def test_406_lists_what_there_is(client: httpx.Client):
    response = client.post(f"{RBM}/score", json={}, headers={"Accept": "image/png"})
    found = problem_of(response, 406, "not-acceptable")
    assert "application/x-npy" in found["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_415_says_what_is_read(client: httpx.Client, headers: dict[str, str]):
    response = client.post(f"{RBM}/score", content=b"x=1", headers=headers)
    problem_of(response, 415, "unsupported-format")
    assert "application/x-npy" in response.headers["accept"]


@pytest.fixture(scope="module")
def small(api_store: Path) -> Iterator[httpx.Client]:
    with served(
        models_store=api_store, max_body_bytes=2000, api_keys=("first-key", "second-key")
    ) as client:
        client.headers["Authorization"] = "Bearer second-key"
        yield client


def test_a_body_over_the_limit_is_413_by_its_length(small: httpx.Client):
    found = problem_of(small.post(f"{RBM}/score", content=b"x" * 2001), 413, "too-large")
    assert "2001 bytes" in found["detail"]
    assert "2000" in found["detail"]


def test_a_chunked_body_over_the_limit_is_413_as_it_comes(small: httpx.Client):
    response = small.post(f"{RBM}/score", content=(b"x" * 500 for _ in range(9)))
    problem_of(response, 413, "too-large")


def test_a_body_at_the_limit_is_read(small: httpx.Client):
    body = b'{"seed": 1}'
    assert small.post(f"{RBM}/sample", content=body.ljust(2000)).status_code == 200


def test_v1_wants_a_key_when_there_are_keys(small: httpx.Client):
    for sent in ("", "Bearer", "Bearer wrong", "Basic first-key", "Bearer first-key,second-key"):
        response = small.get("/v1/models", headers={"Authorization": sent})
        problem_of(response, 401, "unauthorised")
        assert response.headers["www-authenticate"].startswith("Bearer")
    for key in ("Bearer first-key", "bearer second-key", "Bearer  first-key"):
        assert small.get("/v1/models", headers={"Authorization": key}).status_code == 200


def test_health_metrics_and_pages_want_no_key(small: httpx.Client):
    for path in ("/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"):
        assert small.get(path, headers={"Authorization": ""}).status_code == 200


@pytest.mark.parametrize("sent", ["0", "-1", "x", "1.5", "", "99999999999999999999", "٣"])
def test_a_timeout_that_is_no_time_is_422(client: httpx.Client, sent: str):
    response = client.post(f"{RBM}/sample", headers={b"X-Timeout-Ms": sent.encode()})
    assert "X-Timeout-Ms" in problem_of(response, 422, "invalid-input")["detail"]


def test_priority_is_one_of_two(client: httpx.Client):
    for good in ("interactive", "batch", "BATCH"):
        headers = {"X-Priority": good}
        assert client.post(f"{RBM}/sample", headers=headers).status_code == 200
    response = client.post(f"{RBM}/sample", headers={"X-Priority": "urgent"})
    assert "X-Priority" in problem_of(response, 422, "invalid-input")["detail"]


class Held(Engine):
    """An engine whose work waits until it is let go, and tells what became of it."""

    error: Exception | None = None

    def hold(self) -> None:
        self.running, self.go = asyncio.Event(), asyncio.Event()
        self.calls: list[Any] = []
        self.cancelled = asyncio.Event()

    async def run(self, model: Any, query: Any, call: Any) -> Any:
        self.calls.append(call)
        self.running.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return await super().run(model, query, call)


@pytest.fixture
async def held(tiny_store: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(_env_file=None, models_store=tiny_store))
    app.state.engine = Held(app.state.settings, app.state.engine.metrics)
    app.state.engine.hold()
    async with app.router.lifespan_context(app):
        await app.state.engine.loaded()
        yield app


def outcomes(app: FastAPI) -> dict[str, float]:
    """requests_total of sample on tiny-rbm, by outcome."""
    registry = app.state.engine.metrics.registry
    found = {}
    for outcome in ("ok", "invalid", "overloaded", "deadline", "cancelled", "error"):
        labels = {"model": "tiny-rbm", "operation": "sample", "outcome": outcome}
        value = registry.get_sample_value("reverie_requests_total", labels)
        if value:
            found[outcome] = value
    return found


async def test_a_client_that_leaves_takes_its_work_with_it(held: FastAPI):
    leave = asyncio.Event()
    request = asyncio.create_task(call(held, f"{RBM}/sample", {"seed": 1}, leave=leave))
    await held.state.engine.running.wait()
    leave.set()
    answer = await request
    assert answer.status is None
    assert held.state.engine.cancelled.is_set()
    assert outcomes(held) == {"cancelled": 1}


async def test_a_client_that_leaves_does_not_disturb_its_neighbour(held: FastAPI):
    leave = asyncio.Event()
    leaver = asyncio.create_task(call(held, f"{RBM}/sample", {"seed": 1}, leave=leave))
    stayer = asyncio.create_task(call(held, f"{RBM}/sample", {"seed": 1}))
    await held.state.engine.running.wait()
    leave.set()
    await leaver
    held.state.engine.go.set()
    assert (await stayer).status == 200
    assert outcomes(held) == {"cancelled": 1, "ok": 1}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"timeout_ms": 30}, {}),
        ({}, {"X-Timeout-Ms": "30"}),
        ({"timeout_ms": 60000}, {"X-Timeout-Ms": "30"}),
    ],
)
async def test_the_deadline_bounds_the_whole_request(
    held: FastAPI, body: dict[str, int], headers: dict[str, str]
):
    answer = await call(held, f"{RBM}/sample", body, headers=headers)
    assert answer.status == 504
    assert "X-Timeout-Ms" in answer.json()["detail"]
    assert held.state.engine.cancelled.is_set()
    assert outcomes(held) == {"deadline": 1}


@pytest.mark.parametrize(
    ("body_ms", "header_ms", "allowed_s"),
    [(120_000, None, 120), (120_000, "9000", 9), (9000, "20000", 9)],
)
async def test_the_sooner_of_two_timeouts_counts_and_either_may_exceed_the_default(
    held: FastAPI, body_ms: int, header_ms: str | None, allowed_s: float
):
    held.state.engine.go.set()
    headers = {} if header_ms is None else {"X-Timeout-Ms": header_ms}
    before = time.monotonic()
    answer = await call(held, f"{RBM}/sample", {"timeout_ms": body_ms}, headers=headers)
    assert answer.status == 200
    (seen,) = held.state.engine.calls
    assert before + allowed_s <= seen.deadline + 0.01
    assert seen.deadline <= time.monotonic() + allowed_s


async def test_a_body_that_does_not_arrive_is_504(held: FastAPI):
    never = asyncio.Event()

    async def receive() -> Any:
        await never.wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = scope_of("POST", f"{RBM}/sample", {"x-timeout-ms": "20"})
    await held(scope, receive, send)
    assert sent[0]["status"] == 504


async def test_the_engine_hears_of_deadline_and_priority(held: FastAPI):
    held.state.engine.go.set()
    for headers, priority, allowed_s in (
        ({"X-Priority": "batch", "X-Timeout-Ms": "50000"}, "batch", 50),
        ({}, "interactive", held.state.settings.default_timeout_s),
    ):
        before = time.monotonic()
        assert (await call(held, f"{RBM}/sample", {}, headers=headers)).status == 200
        seen = held.state.engine.calls[-1]
        assert seen.priority == priority
        assert before + allowed_s <= seen.deadline <= time.monotonic() + allowed_s


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (errors.Overloaded("full", retry_after_s=3), 429, "overloaded"),
        (errors.ComputeFailed("no"), 500, "error"),
        (errors.DeadlineExceeded("late"), 504, "deadline"),
        (errors.InvalidInput("bad"), 422, "invalid"),
        (RuntimeError("bug at /home/someone"), 500, "error"),
    ],
)
async def test_what_the_engine_raises_is_answered_and_counted(
    held: FastAPI, error: Exception, status: int, outcome: str
):
    held.state.engine.error = error
    held.state.engine.go.set()
    answer: Answer = await call(held, f"{RBM}/sample", {})
    assert answer.status == status
    assert answer.headers["x-model"] == "tiny-rbm@1"
    assert outcomes(held) == {outcome: 1}
    assert b"/home" not in answer.body


async def test_a_draining_service_is_503(held: FastAPI):
    held.state.engine.go.set()
    held.state.engine.draining = True
    answer = await call(held, f"{RBM}/sample", {})
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1


def test_a_client_that_left_is_told_nothing():
    assert row_of(ClientLeft()).outcome == "cancelled"
