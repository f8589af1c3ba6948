"""Trying again: what is, what is not, after how long, and until when."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import orjson
import pytest

from service.client import (
    BadAnswer,
    DeadlineExceeded,
    Invalid,
    Overloaded,
    ServerFailed,
    Unauthorised,
    Unavailable,
    Unreachable,
)
from service.client.retrying import pause_s
from tests.client.either import Either
from tests.client.rude import answer, cut, drip, hang_up, refuse, rude, silence

Connect = Callable[..., Either]
MODELS = orjson.dumps({"models": []})


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_pass_is_tried_again(connect: Connect, status: int):
    trouble = answer(b"gateway", status) if status in {502, 504} else refuse(status)
    async with rude(trouble, trouble, answer(MODELS)) as server:
        assert await connect(server.url).models() == []
    assert len(server.heard) == 3


@pytest.mark.parametrize("trouble", [hang_up, cut(MODELS, after=5)])
async def test_a_connection_that_breaks_is_made_again(connect: Connect, trouble):
    async with rude(trouble, answer(MODELS)) as server:
        assert await connect(server.url).models() == []
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorised), (422, Invalid), (500, ServerFailed), (504, DeadlineExceeded)],
)
async def test_what_will_not_pass_is_not_tried_again(connect: Connect, status: int, kind: type):
    async with rude(refuse(status)) as server:
        with pytest.raises(kind, match=f"said {status}") as caught:
            await connect(server.url).models()
    assert len(server.heard) == 1
    assert caught.value.request_id == "r1"


async def test_retry_after_is_waited_for_and_not_cut_short(connect: Connect):
    async with rude(refuse(503, Retry_After="1"), answer(MODELS)) as server:
        began = time.monotonic()
        await connect(server.url).models()
        assert time.monotonic() - began >= 1


async def test_a_wait_that_would_outlast_the_deadline_is_not_begun(connect: Connect):
    async with rude(refuse(429, Retry_After="30")) as server:
        began = time.monotonic()
        with pytest.raises(Overloaded, match="said 429") as caught:
            await connect(server.url).sample("m", timeout_s=10)
        assert time.monotonic() - began < 5
    assert caught.value.retry_after_s == 30
    assert len(server.heard) == 1


async def test_after_enough_tries_the_last_error_is_told(connect: Connect):
    async with rude(refuse(503)) as server:
        with pytest.raises(Unavailable, match="said 503"):
            await connect(server.url, tries=3).models()
    assert len(server.heard) == 3


async def test_a_server_that_is_not_there_is_named(connect: Connect):
    async with rude(hang_up) as server:
        pass
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1.*is the service running there"):
        await connect(server.url, tries=2).models()


@pytest.mark.parametrize("trouble", [silence, drip])
async def test_the_deadline_ends_an_answer_that_does_not(connect: Connect, trouble):
    async with rude(trouble) as server:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.3 s"):
            await connect(server.url).models(timeout_s=0.3)
        assert time.monotonic() - began < 5


async def test_each_try_tells_the_server_how_much_time_is_left(connect: Connect):
    async with rude(refuse(503, Retry_After="1"), answer(MODELS)) as server:
        await connect(server.url).models(timeout_s=20)
    first, second = (int(heard.headers["x-timeout-ms"]) for heard in server.heard)
    assert 15_000 < first <= 20_000
    assert second <= first - 1000


async def test_the_same_body_is_sent_again(connect: Connect):
    async with rude(hang_up, refuse(422)) as server:
        with pytest.raises(Invalid):
            await connect(server.url).sample("m", n=3, seed=4)
    assert orjson.loads(server.heard[0].body) == {"n": 3, "seed": 4}
    assert server.heard[0].body == server.heard[1].body


async def test_an_order_that_is_sent_again_keeps_its_idempotency_key(connect: Connect):
    async with rude(hang_up, refuse(422)) as server:
        for key in (None, "mine"):
            with pytest.raises(Invalid):
                await connect(server.url).augment("m", n=3, idempotency_key=key)
    keys = [heard.headers["idempotency-key"] for heard in server.heard]
    assert keys[0] == keys[1] != keys[2] == "mine"
    assert len(keys[0]) >= 32


async def test_cancelling_a_call_ends_its_tries():
    from service.client import AsyncClient

    async with rude(silence) as server, AsyncClient(server.url) as client:
        task = asyncio.ensure_future(client.models())
        while not server.heard:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(server.heard) == 1


async def test_the_key_goes_with_every_request_and_is_not_shown(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("REVERIE_API_KEY", "from-env")
    async with rude(answer(MODELS)) as server:
        given, found = connect(server.url, api_key="given"), connect(server.url)
        await given.models()
        await found.models()
    sent = [heard.headers["authorization"] for heard in server.heard]
    assert sent == ["Bearer given", "Bearer from-env"]
    assert "given" not in repr(given.inner.connection)


async def test_the_address_may_come_from_the_environment_and_have_a_path(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    async with rude(answer(MODELS)) as server:
        monkeypatch.setenv("REVERIE_URL", f"{server.url}/models/")
        await connect(None).models()
    assert server.heard[0].path == "/models/v1/models"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"models": 3}', b'{"models": [{}]}', b""])
async def test_an_answer_of_another_service_is_told_as_such(connect: Connect, body: bytes):
    async with rude(answer(body)) as server:
        with pytest.raises(BadAnswer, match="is the address right"):
            await connect(server.url).models()
    assert len(server.heard) == 1


async def test_redirects_are_not_followed(connect: Connect):
    async with rude(answer(b"", 302, Location="http://127.0.0.1:1/")) as server:
        with pytest.raises(BadAnswer, match="302"):
            await connect(server.url, api_key="secret").models()
    assert len(server.heard) == 1


async def test_a_try_that_failed_is_in_the_log(connect: Connect, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "reverie.client")
    async with rude(refuse(503), answer(MODELS)) as server:
        await connect(server.url).models()
    assert "try 1 failed: said 503" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "localhost:8000"}, "not an address"),
        ({"url": "ftp://x"}, "not an address"),
        ({"timeout_s": 0}, "not above 0"),
        ({"timeout_s": float("nan")}, "not above 0"),
        ({"tries": 0}, "less than 1"),
    ],
)
def test_a_client_of_nothing_is_not_made(connect: Connect, options: dict, said: str):
    with pytest.raises(ValueError, match=said):
        connect(**{"url": "http://x", **options})


def test_pauses_grow_up_to_a_bound_and_come_on_top_of_what_is_asked():
    pauses = [pause_s(None, tries=k, draw=lambda: 1.0) for k in range(1, 9)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    asked = Overloaded("x", retry_after_s=2.0)
    assert pause_s(asked, tries=1, draw=lambda: 0.5) == 2.05
    assert pause_s(None, tries=10**6, draw=lambda: 1.0) == 5.0
