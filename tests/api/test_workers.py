"""Workers that die turn /livez red; clients that leave free their chains and disturb nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from fastapi import FastAPI

from service.app import create_app
from service.domain.waiting import Pace
from service.model import Model
from service.settings import Settings
from tests.api.servers import call
from tests.test_chains import until

SAMPLE = "/v1/models/tiny-rbm/sample"


@pytest.fixture
async def app(tiny_store: Path) -> AsyncIterator[FastAPI]:
    settings = Settings(_env_file=None, models_store=tiny_store, max_sweeps=10**6, chain_slots=16)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await app.state.engine.loaded()
        yield app


def model_of(app: FastAPI) -> Model:
    return app.state.engine.registry.get("tiny-rbm")


def raise_a_bug(*_: object) -> None:
    raise ZeroDivisionError


def break_the_count_of_sweeps(model: Model) -> None:
    model.chains["sweep"]._on_tick = raise_a_bug


def take_the_worker_thread_away(model: Model) -> None:
    model.chains["sweep"]._thread.shutdown(wait=False)


def break_the_report_of_the_pool(model: Model) -> None:
    assert model.pool is not None
    model.pool._on_round = raise_a_bug


def end_the_loop_of_a_map(model: Model) -> None:
    model.maps["readout"]._loop.cancel()


@pytest.mark.parametrize(
    "break_it",
    [
        break_the_count_of_sweeps,
        take_the_worker_thread_away,
        break_the_report_of_the_pool,
        end_the_loop_of_a_map,
    ],
)
async def test_liveness_is_red_once_a_worker_has_died(
    app: FastAPI, break_it: Callable[[Model], None]
):
    model = model_of(app)
    assert (await call(app, "/livez", method="GET")).status == 200
    break_it(model)
    asked = {"n": 1, "seed": 1, "burn_in": 5}
    answer = await call(app, SAMPLE, asked, headers={"x-timeout-ms": "500"})
    pooled = {"n": 16, "start": "pool"}
    await call(app, SAMPLE, pooled, headers={"x-timeout-ms": "500"})
    async with asyncio.timeout(20):
        await until(lambda: not model.alive)
    dead = await call(app, "/livez", method="GET")
    assert dead.status == 503
    assert answer.status in {200, 503, 504}


async def test_clients_that_leave_free_their_chains_and_disturb_nobody(app: FastAPI):
    """Thirty leave one after the other, most of them while they wait for slots."""
    model = model_of(app)
    asked: dict[str, Any] = {"n": 3, "seed": 7, "burn_in": 400}
    alone = await call(app, SAMPLE, asked)
    gone = [asyncio.Event() for _ in range(30)]
    doomed = {"n": 2, "seed": 8, "burn_in": 5000}
    leaving = [asyncio.create_task(call(app, SAMPLE, doomed, leave=event)) for event in gone]
    await until(lambda: model.chains["sweep"].running_rows >= 16)
    staying = asyncio.create_task(call(app, SAMPLE, asked))
    for event in gone:
        event.set()
        await asyncio.sleep(0)
    beside = await staying
    answers = await asyncio.gather(*leaving)
    assert beside.status == 200
    assert beside.json()["samples"] == alone.json()["samples"]
    assert [answer.status for answer in answers] == [None] * 30
    async with asyncio.timeout(20):
        await until(lambda: model.chains["sweep"]._interactive.slots == [])


async def test_fifty_sweeps_do_not_wait_for_four_thousand(app: FastAPI):
    long = {"n": 4, "seed": 1, "burn_in": 10**6}
    gone = asyncio.Event()
    running = asyncio.create_task(call(app, SAMPLE, long, leave=gone))
    await until(lambda: len(model_of(app).chains["sweep"]._interactive.slots) == 4)
    short = await call(app, SAMPLE, {"n": 2, "seed": 2, "burn_in": 50})
    assert short.status == 200
    assert not running.done()
    gone.set()
    await running


async def test_a_refused_request_is_told_when_to_come_back_and_finds_room_then(app: FastAPI):
    """The chains are told that a sweep takes a tenth of a second."""
    bank = model_of(app).chains["sweep"]._interactive
    bank.pace = Pace()
    bank.pace.learn(16, 0.1)
    gone = asyncio.Event()
    ahead = {"n": 16, "seed": 1, "burn_in": 10**6}
    asked = {"n": 1, "seed": 1, "burn_in": 300}
    with patch.object(Pace, "learn"):
        running = asyncio.create_task(call(app, SAMPLE, ahead, leave=gone))
        await until(lambda: len(bank.slots) == 16)
        refused = await call(app, SAMPLE, asked)
        assert refused.status == 429
        assert refused.json()["type"].endswith("overloaded")
        assert 10**4 < int(refused.headers["retry-after"]) <= 10**5
        gone.set()
        await running
        assert (await call(app, SAMPLE, asked)).status == 200
