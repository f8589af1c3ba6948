"""The fast lane beside the application: the same answers, however the requests come."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.api.servers import served, serving

PATH = "/v1/models/tiny-gan/sample"
VARYING = {"date", "x-request-id", "server-timing"}
LIMITS: dict[str, Any] = {"max_rows": 64}


@pytest.fixture(scope="module")
def lanes(api_store: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A client of the fast lane, and one of the application."""
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(served(models_store=api_store, fast_lane=fast, **LIMITS))
            for fast in (True, False)
        )


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose requests went through the lane."""
    seen: list[str] = []
    begin = Engine.begin

    def watched(self: Engine, model: Any, query: Any, call: Any) -> Any:
        seen.append(model.id)
        return begin(self, model, query, call)

    monkeypatch.setattr(Engine, "begin", watched)
    return seen


numbers = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70), st.floats(-1, 2), st.text(max_size=3)
)
bodies = st.one_of(
    st.fixed_dictionaries(
        {"seed": st.integers(0, 2**53 - 1)},
        optional={"n": st.integers(1, 5), "truncation": st.floats(0.01, 1)},
    ),
    st.dictionaries(
        st.sampled_from(["n", "seed", "labels", "truncation", "values", "burn_in", "scale", "x"]),
        numbers,
    ).map(lambda fields: {**fields, "seed": 7 if fields.get("seed") is None else fields["seed"]}),
)
models = st.sampled_from(["tiny-gan", "tiny-gan@1", "colour", "tiny-rbm", "broken", "nobody"])
headers = st.fixed_dictionaries(
    {},
    optional={
        "accept": st.sampled_from(
            ["*/*", "application/json", "application/x-npy", "image/png", "text/html",
             "application/json;q=0.1, application/x-npy"]
        ),
        "x-timeout-ms": st.sampled_from(["60000", "0", "soon"]),
        "x-priority": st.sampled_from(["batch", "interactive", "urgent"]),
        "x-request-id": st.just("mine"),
        "content-type": st.sampled_from(["application/json", "text/plain", "application/x-npy"]),
    },
)  # fmt: skip


@settings(max_examples=150)
@given(model=models, body=bodies, sent=headers)
def test_both_lanes_answer_every_request_alike(lanes, model, body, sent):
    content = orjson.dumps(body)
    path = f"/v1/models/{model}/sample"
    fast, plain = (lane.post(path, content=content, headers=sent) for lane in lanes)
    assert fast.status_code == plain.status_code
    told = [{k: v for k, v in r.headers.items() if k not in VARYING} for r in (fast, plain)]
    assert told[0] == told[1]
    if fast.status_code == 200:
        assert fast.content == plain.content
    else:
        assert fast.json() | {"request_id": ""} == plain.json() | {"request_id": ""}


@pytest.mark.parametrize("accept", ["application/json", "application/x-npy"])
def test_a_seeded_sample_of_a_generator_takes_the_lane(lanes, taken, accept):
    assert lanes[0].post(PATH, json={"n": 2, "seed": 1}, headers={"Accept": accept}).is_success
    assert lanes[0].post(PATH).is_success
    assert taken == ["tiny-gan@2"] * 2


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"seed": 1, "scale": 2}, {}),
        ({"latents": [[0, 0, 0, 0]]}, {}),
        ({"seed": 1}, {"accept": "image/png"}),
        ({"seed": 1}, {"if-none-match": '"x"'}),
    ],
)
def test_what_is_unusual_is_left_to_the_application(lanes, taken, body, sent):
    assert lanes[0].post(PATH, json=body, headers=sent).is_success
    assert taken == []


def connected(client: httpx.Client) -> socket.socket:
    found = socket.create_connection((client.base_url.host, client.base_url.port or 0), 20)
    found.settimeout(20)
    return found


def request(seed: int, *, path: str = PATH, version: str = "1.1", more: str = "") -> bytes:
    body = orjson.dumps({"seed": seed})
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def answers(sock: socket.socket, count: int) -> list[tuple[str, dict[str, str], bytes]]:
    """(status line, headers, body) of the next `count` responses."""
    file = sock.makefile("rb")
    found = []
    for _ in range(count):
        status = file.readline().decode().strip()
        headers = {}
        while (line := file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        found.append((status, headers, file.read(int(headers["content-length"]))))
    return found


def test_pipelined_requests_are_answered_in_order_whichever_lane_they_take(lanes):
    with connected(lanes[0]) as sock:
        sock.sendall(
            request(1) + request(2, path="/v1/models/tiny-rbm/sample") + request(3) + request(4)
        )
        seeds = [orjson.loads(body)["seed"] for _, _, body in answers(sock, 4)]
    assert seeds == [1, 2, 3, 4]


@pytest.mark.parametrize("pause_s", [0.0, 0.2])
def test_a_body_may_come_later_than_its_head(lanes, pause_s):
    whole = request(5)
    with connected(lanes[0]) as sock:
        sock.sendall(whole[:-4])
        time.sleep(pause_s)
        sock.sendall(whole[-4:])
        ((status, _, body),) = answers(sock, 1)
    assert status.endswith("200 OK")
    assert orjson.loads(body)["seed"] == 5


@pytest.mark.parametrize(
    ("version", "more"), [("1.0", ""), ("1.1", "Connection: close\r\n")], ids=["1.0", "close"]
)
def test_the_connection_closes_when_the_client_asks(lanes, taken, version, more):
    with connected(lanes[0]) as sock:
        sock.sendall(request(6, version=version, more=more))
        ((_, headers, _),) = answers(sock, 1)
        assert headers["connection"] == "close"
        assert sock.recv(1) == b""
    assert taken


def test_keys_are_asked_for_in_the_lane_too(api_store, taken):
    with served(models_store=api_store, api_keys=("secret",)) as client:
        assert client.post(PATH).status_code == 401
        assert client.post(PATH, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert taken == []
        assert client.post(PATH, headers={"Authorization": "Bearer secret"}).is_success
        assert taken == ["tiny-gan@2"]


class Held:
    """A generator that waits until a test lets it go."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function, self.started, self.go = function, threading.Event(), threading.Event()

    def __call__(self, inputs: Any) -> Any:
        self.started.set()
        assert self.go.wait(20)
        return self.function(inputs)


@pytest.fixture
def held(tiny_store: Path) -> Iterator[tuple[Any, httpx.Client, Held]]:
    """(application, client, its generator, which is at work on one request already)."""
    app = create_app(Settings(_env_file=None, models_store=tiny_store, queue_rows=2))
    with serving(app) as client:
        scheduler = app.state.engine.registry.get("tiny-gan").maps["generate"]
        scheduler._function = function = Held(scheduler._function)
        try:
            yield app, client, function
        finally:
            function.go.set()


def test_a_request_that_outlasts_its_deadline_is_told_so(held):
    _, client, _ = held
    late = client.post(PATH, headers={"X-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert late.json()["type"] == "urn:reverie:problem:deadline-exceeded"


def test_a_full_queue_refuses_with_a_time_to_come_back(held):
    _, client, function = held
    with connected(client) as first, connected(client) as second:
        first.sendall(request(1))
        assert function.started.wait(20)
        second.sendall(request(2))
        wait_for(lambda: 'queue_rows{model="tiny-gan"} 1.0' in client.get("/metrics").text)
        refused = client.post(PATH, json={"n": 2})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        function.go.set()
        assert [answers(s, 1)[0][0] for s in (first, second)] == ["HTTP/1.1 200 OK"] * 2


def test_rows_of_a_client_who_leaves_are_dropped_from_the_queue(held):
    app, client, function = held
    with connected(client) as first:
        first.sendall(request(1))
        assert function.started.wait(20)
        with connected(client) as second:
            second.sendall(request(2))
            wait_for(lambda: 'queue_rows{model="tiny-gan"} 1.0' in client.get("/metrics").text)
        wait_for(lambda: 'queue_rows{model="tiny-gan"} 0.0' in client.get("/metrics").text)
        assert 'outcome="cancelled"' in client.get("/metrics").text
        function.go.set()
        assert answers(first, 1)[0][0] == "HTTP/1.1 200 OK"
    assert app.state.engine.registry.get("tiny-gan").in_flight == 0


def test_a_generator_that_fails_is_told_of_without_its_words(held):
    _, client, function = held
    function.go.set()

    def broken(_: Any) -> Any:
        raise RuntimeError("a secret path")

    function.function = broken
    failed = client.post(PATH)
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert failed.headers["x-model"] == "tiny-gan@1"


def test_a_request_in_the_lane_is_finished_before_the_server_ends(tiny_store: Path):
    app = create_app(Settings(_env_file=None, models_store=tiny_store))
    with ExitStack() as stack:
        with serving(app) as client:
            scheduler = app.state.engine.registry.get("tiny-gan").maps["generate"]
            scheduler._function = function = Held(scheduler._function)
            sock = stack.enter_context(connected(client))
            sock.sendall(request(1))
            assert function.started.wait(20)
            threading.Timer(0.3, function.go.set).start()
        ((status, headers, _),) = answers(sock, 1)
    assert status == "HTTP/1.1 200 OK"
    assert headers["connection"] == "close"


def wait_for(condition: Callable[[], bool], *, timeout_s: float = 20) -> None:
    """Ask again until it holds: the server is another thread, and tells nobody."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_a_uvicorn_without_the_seam_serves_without_the_lane(monkeypatch, tiny_store):
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    from service.api import fast_lane

    monkeypatch.delattr(HttpToolsProtocol, "_start_asgi_task")
    app = create_app(Settings(_env_file=None, models_store=tiny_store))
    assert fast_lane.protocol_of(app, app.state.settings) is HttpToolsProtocol
