"""Health, metrics and the log of requests."""

from __future__ import annotations

import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from service.api import answers, bodies, waiting
from service.app import create_app
from service.settings import Settings
from tests.api.servers import call

RBM = "/v1/models/tiny-rbm"
IMAGES = [[[0.0] * 4] * 4] * 3


@pytest.fixture
async def app(tiny_store: Path) -> AsyncIterator[FastAPI]:
    app = create_app(Settings(_env_file=None, models_store=tiny_store))
    async with app.router.lifespan_context(app):
        await app.state.engine.loaded()
        yield app


async def get(app: FastAPI, path: str, **headers: str):
    return await call(app, path, method="GET", headers=headers)


async def test_readiness_is_red_until_every_model_is_loaded(tiny_store: Path):
    app = create_app(Settings(_env_file=None, models_store=tiny_store))
    before = await get(app, "/readyz")
    assert before.status == 503
    async with app.router.lifespan_context(app):
        loading = await get(app, "/readyz")
        assert loading.status == 503
        assert int(loading.headers["retry-after"]) >= 1
        assert loading.json()["status"] == "loading"
        assert {m["model"] for m in loading.json()["models"]} == {"tiny-gan@1", "tiny-rbm@1"}
        await app.state.engine.loaded()
        ready = await get(app, "/readyz")
        assert ready.status == 200
        bodies.Readiness.model_validate(ready.json())
        assert {m["state"] for m in ready.json()["models"]} == {"ready"}


async def test_readiness_is_red_while_draining_but_liveness_is_not(app: FastAPI):
    app.state.engine.leaving = True
    answer = await get(app, "/readyz")
    assert (answer.status, answer.json()["status"]) == (503, "draining")
    assert "retry-after" in answer.headers
    assert (await get(app, "/livez")).status == 200


def test_a_model_that_failed_does_not_keep_the_others_from_serving(client: httpx.Client):
    response = client.get("/readyz")
    assert response.status_code == 200
    states = {m["model"]: m for m in response.json()["models"]}
    assert states["broken@1"]["state"] == "failed"
    assert "sha256" in states["broken@1"]["reason"]


async def test_liveness_is_red_once_a_worker_has_died(app: FastAPI, monkeypatch):
    assert (await get(app, "/livez")).json() == {"status": "alive"}
    monkeypatch.setattr(type(app.state.engine), "alive", False)
    assert (await get(app, "/livez")).status == 503


def value(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.engine.metrics.registry.get_sample_value(f"reverie_{name}", labels) or 0.0


async def test_requests_rows_phases_and_p_values_are_counted(app: FastAPI):
    await call(app, f"{RBM}/sample", {"n": 5, "seed": 1})
    await call(app, f"{RBM}/sample", {"n": 0})
    await call(app, f"{RBM}/score", {"images": IMAGES})
    body = {"images": IMAGES, "mask": [[0, 1, 1, 1]] * 4, "n": 2}
    await call(app, f"{RBM}/inpaint", body)
    points = {"points": [{"seed": 1}, {"seed": 2}], "frames": 7}
    await call(app, f"{RBM}/interpolate", points)

    def requests(operation: str, outcome: str) -> float:
        return value(app, "requests_total", model="tiny-rbm", operation=operation, outcome=outcome)

    assert requests("sample", "ok") == 1
    assert requests("sample", "invalid") == 1
    assert requests("score", "ok") == 1
    rows = {
        o: value(app, "rows_total", model="tiny-rbm", operation=o)
        for o in ("sample", "score", "inpaint", "interpolate")
    }
    assert rows == {"sample": 5, "score": 3, "inpaint": 6, "interpolate": 7}
    assert value(app, "score_p_value_count", model="tiny-rbm") == 3
    seen = {"model": "tiny-rbm", "operation": "score"}
    assert value(app, "request_duration_seconds_count", **seen) == 1
    spent = [
        value(app, "phase_duration_seconds_sum", **seen, phase=phase)
        for phase in ("decode", "queue", "compute", "encode")
    ]
    assert all(s > 0 for s in spent)
    assert math.fsum(spent) <= value(app, "request_duration_seconds_sum", **seen)


async def test_unknown_models_share_one_label(app: FastAPI):
    for name in ("a", "b", "c@3"):
        await call(app, f"/v1/models/{name}/sample", {})
    labels = {"model": "unknown", "operation": "sample", "outcome": "invalid"}
    assert value(app, "requests_total", **labels) == 3


async def test_an_answer_that_is_not_made_again_is_ok(app: FastAPI):
    headers = {"if-none-match": "*"}
    assert (await call(app, f"{RBM}/sample", {"seed": 1}, headers=headers)).status == 304
    labels = {"model": "tiny-rbm", "operation": "sample"}
    assert value(app, "requests_total", **labels, outcome="ok") == 1
    assert value(app, "rows_total", **labels) == 0


async def test_metrics_are_prometheus_text_or_openmetrics_when_asked(app: FastAPI):
    plain = await get(app, "/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    names = {family.name for family in prometheus(plain.body.decode())}
    assert {"reverie_requests", "reverie_model_ready", "reverie_queue_rows"} <= names
    asked = await get(app, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(asked.body.decode())} >= {"reverie_requests"}


async def test_each_request_has_one_line_in_the_log(app: FastAPI):
    with structlog.testing.capture_logs() as lines:
        await call(app, f"{RBM}/sample", {"seed": 1}, headers={"x-request-id": "me"})
        await call(app, f"{RBM}/sample", {"n": 0})
        await get(app, "/nowhere/at/all")
    told = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in told] == [200, 422, 404]
    first = told[0]
    assert first["method"] == "POST"
    assert first["path"] == "/v1/models/{model}/sample"
    assert first["model"] == "tiny-rbm@1"
    assert first["request_id"] == "me"
    assert first["duration_ms"] > 0
    assert told[1]["error"] == "invalid-input"
    assert told[2]["path"] == "(none)"


async def test_a_failure_of_ours_is_in_the_log_with_its_cause_under_the_request_s_id(
    app: FastAPI, monkeypatch
):
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(app.state.engine, "run", fail)
    with structlog.testing.capture_logs() as lines:
        answer = await call(app, f"{RBM}/sample", {"seed": 1})
    assert answer.status == 500
    (line,) = [line for line in lines if line["event"] == "request_failed"]
    assert line["request_id"] == answer.json()["request_id"]
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert b"a bug" not in answer.body


async def test_large_answers_are_written_beside_the_event_loop(app: FastAPI, monkeypatch):
    threads: list[threading.Thread] = []

    def represent(*args: object, **options: object) -> bytes:
        threads.append(threading.current_thread())
        return real(*args, **options)

    real = answers.represent
    monkeypatch.setattr(answers, "represent", represent)
    monkeypatch.setattr(waiting, "OFF_LOOP_BYTES", 1000)
    for n in (1, 100):
        assert (await call(app, f"{RBM}/sample", {"n": n, "seed": 1})).status == 200
    small, large = threads
    assert small is threading.current_thread()
    assert large is not threading.current_thread()
