"""Orders over HTTP: placed once, watched, downloaded in parts, and refused in problems."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.api import orders
from service.app import create_app
from service.settings import Settings
from tests.api.servers import served, serving
from tests.api.test_errors import problem_of

PATH = "/v1/augmentations"
ORDER: dict[str, Any] = {
    "model": "colour", "labels": {"cat": 60, "2": 30}, "seed": 7, "format": "npz",
    "chunk_rows": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def client(api_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service that takes orders."""
    data = tmp_path_factory.mktemp("orders")
    with served(models_store=api_store, data_dir=data, pool_rows=0) as found:
        yield found


def events_of(client: httpx.Client, id_: str, **headers: str) -> list[dict[str, Any]]:
    """Every event of an order, until the stream ends."""
    found: list[dict[str, Any]] = []
    with client.stream("GET", f"{PATH}/{id_}/events", headers=headers) as stream:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if not line:
                found.append(event)
                event = {}
            else:
                event[name] = json.loads(value) if name == "data" else value
    return found


@pytest.fixture(scope="module")
def done(client: httpx.Client) -> dict[str, Any]:
    """An order that is done."""
    placed = client.post(PATH, json=ORDER)
    assert placed.status_code == 202, placed.text
    orders.Augmentation.model_validate_json(placed.content)
    assert placed.headers["location"] == f"{PATH}/{placed.json()['id']}"
    events_of(client, placed.json()["id"])
    return client.get(placed.headers["location"]).json()


def test_an_order_is_placed_made_and_shown(done: dict[str, Any]):
    orders.Augmentation.model_validate_json(json.dumps(done))
    assert done["state"] == "done"
    assert done["requested"] == done["delivered"] == {"cat": 60, "dog": 0, "owl": 30}
    assert done["progress"]["rows_done"] == done["progress"]["rows_total"] == 90
    assert [f["name"] for f in done["files"]] == ["data/chunk-00000.npz", "data/chunk-00001.npz"]
    assert len(done["id"]) > 30


def test_events_are_numbered_and_replayed_after_the_last_that_was_heard(
    client: httpx.Client, done: dict[str, Any]
):
    heard = events_of(client, done["id"])
    assert [int(e["id"]) for e in heard] == list(range(1, len(heard) + 1))
    assert heard[-1]["data"]["state"] == "done"
    for event in heard:
        orders.AugmentationSummary.model_validate_json(json.dumps(event["data"]))
    rest = events_of(client, done["id"], **{"Last-Event-ID": heard[0]["id"]})
    assert rest == heard[1:]


def test_a_file_comes_whole_or_in_ranges_under_its_digest(
    client: httpx.Client, done: dict[str, Any]
):
    file = done["files"][0]
    url = f"{PATH}/{done['id']}/files/{file['name']}"
    whole = client.get(url)
    tag = f'"{file["sha256"]}"'
    assert hashlib.sha256(whole.content).hexdigest() == file["sha256"]
    assert (len(whole.content), whole.headers["etag"]) == (file["bytes"], tag)
    part = client.get(url, headers={"Range": "bytes=10-19", "If-Range": tag})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    rest = client.get(url, headers={"Range": f"bytes={file['bytes'] - 5}-"})
    assert rest.content == whole.content[-5:]
    changed = client.get(url, headers={"Range": "bytes=10-19", "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    beyond = client.get(url, headers={"Range": f"bytes={file['bytes']}-"})
    problem_of(beyond, 416, "requested-range-not-satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{file['bytes']}"


def test_a_row_of_a_file_is_the_row_of_sample_that_it_names(
    client: httpx.Client, done: dict[str, Any]
):
    name = done["files"][1]["name"]
    content = client.get(f"{PATH}/{done['id']}/files/{name}").content
    with np.load(io.BytesIO(content)) as arrays:
        i = 17
        query = {
            "seed": int(arrays["seed"][i]),
            "n": int(arrays["row"][i]) + 1,
            "labels": int(arrays["label"][i]),
        }
        answer = client.post(
            "/v1/models/colour/sample", json=query, headers={"Accept": "application/x-npy"}
        )
        assert np.load(io.BytesIO(answer.content))[-1].tobytes() == arrays["images"][i].tobytes()


def test_the_manifest_is_what_the_schema_says(client: httpx.Client, done: dict[str, Any]):
    manifest = client.get(f"{PATH}/{done['id']}/manifest")
    orders.OrderManifest.model_validate_json(manifest.content)
    assert manifest.json()["files"] == done["files"]
    assert manifest.json()["request"]["counts"] == [60, 0, 30]


def test_a_key_with_the_same_body_is_the_same_order(client: httpx.Client):
    headers = {"Idempotency-Key": "mine"}
    first = client.post(PATH, json=ORDER, headers=headers)
    again = client.post(PATH, json={**ORDER, "timeout_ms": 60_000}, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    clash = client.post(PATH, json={**ORDER, "seed": 8}, headers=headers)
    assert "'mine'" in problem_of(clash, 409, "idempotency-clash")["detail"]
    for bad in ("", "x" * 256, "a\tb"):
        response = client.post(PATH, json=ORDER, headers={"Idempotency-Key": bad})
        problem_of(response, 422, "invalid-input")


def test_orders_are_listed_in_pages(client: httpx.Client, done: dict[str, Any]):
    client.post(PATH, json=ORDER)
    seen, cursor = [], "9999"
    while cursor is not None:
        page = client.get(PATH, params={"limit": 1, "cursor": cursor})
        orders.AugmentationList.model_validate_json(page.content)
        seen += [order["id"] for order in page.json()["augmentations"]]
        cursor = page.json()["next"]
    assert len(seen) == len(set(seen)) >= 2
    assert seen[-1] == done["id"]
    assert client.get(PATH).json()["augmentations"][0]["id"] == seen[0]
    for params in ({"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"limit": "-1"}):
        problem_of(client.get(PATH, params=params), 422, "invalid-input")


def test_an_order_can_be_cancelled_and_has_a_manifest_then(client: httpx.Client):
    long = {"model": "tiny-rbm", "n": 50_000, "burn_in": 2000}
    placed = client.post(PATH, json=long).json()
    early = client.get(f"{PATH}/{placed['id']}/manifest")
    assert "when it has ended" in problem_of(early, 404, "unknown-order")["detail"]
    cancelled = client.delete(f"{PATH}/{placed['id']}")
    orders.Augmentation.model_validate_json(cancelled.content)
    assert cancelled.json()["state"] == "cancelled"
    assert client.delete(f"{PATH}/{placed['id']}").json() == cancelled.json()
    manifest = client.get(f"{PATH}/{placed['id']}/manifest").json()
    assert manifest["error"] == "the order was cancelled"


@pytest.mark.parametrize(
    ("body", "status", "slug", "said"),
    [
        ({"model": "nobody", "n": 1}, 404, "unknown-model", "no model"),
        ({"model": "broken", "n": 1}, 503, "not-ready", "sha256"),
        ({"n": 1}, 422, "invalid-input", "model is missing"),
        ({"model": "tiny-gan"}, 422, "invalid-input", "n is missing"),
        ({"model": "tiny-gan", "n": 0}, 422, "invalid-input", "n=0 is below 1"),
        ({"model": "tiny-gan", "n": 5, "labels": "balanced"}, 422, "invalid-input", "leave labels"),
        ({"model": "tiny-gan", "n": 5, "format": "xls"}, 422, "invalid-input", "not one of"),
        ({"model": "tiny-gan", "n": 5, "accept": {"max_p": 1}}, 422, "invalid-input", "unknown"),
        ({"model": "tiny-gan", "n": 5, "truncation": 2}, 422, "invalid-input", "exceeds 1"),
        ({"model": "colour", "top_up": {"have": {}}}, 422, "invalid-input", "to is missing"),
        ({"model": "colour", "n": 3, "accept": {"judge": "tiny-gan"}}, 422,
         "missing-capability", "cannot classify"),
        ({"model": "tiny-gan", "n": 900_000_000}, 507, "no-space", "MB are free"),
    ],
)  # fmt: skip
def test_what_cannot_be_ordered_is_told_at_once(
    client: httpx.Client, body: dict[str, Any], status: int, slug: str, said: str
):
    assert said in problem_of(client.post(PATH, json=body), status, slug)["detail"]


def test_other_bodies_and_unknown_orders_are_problems_too(
    client: httpx.Client, done: dict[str, Any]
):
    text = client.post(PATH, content=b"x", headers={"Content-Type": "text/plain"})
    problem_of(text, 415, "unsupported-format")
    npy = client.post(PATH, content=b"x", headers={"Content-Type": "application/x-npy"})
    problem_of(npy, 415, "unsupported-format")
    problem_of(client.post(PATH, content=b"[1]"), 422, "invalid-input")
    for path in ("", "/events", "/manifest", "/files/data/chunk-00000.npz"):
        problem_of(client.get(f"{PATH}/ord-nothing{path}"), 404, "unknown-order")
    problem_of(client.delete(f"{PATH}/ord-nothing"), 404, "unknown-order")
    for name in (
        "order.json",
        "manifest.json",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "data/chunk-9.npz",
    ):
        assert client.get(f"{PATH}/{done['id']}/files/{name}").status_code == 404
    bad = client.get(f"{PATH}/{done['id']}/events", headers={"Last-Event-ID": "x"})
    problem_of(bad, 422, "invalid-input")


def test_top_ups_and_unique_orders_are_made(client: httpx.Client):
    top_up = {"have": {"cat": 10, "dog": 4}, "to": "largest"}
    placed = client.post(PATH, json={"model": "colour", "top_up": top_up, "unique": True}).json()
    assert placed["requested"] == {"cat": 0, "dog": 6, "owl": 10}
    last = events_of(client, placed["id"])[-1]["data"]
    assert (last["state"], last["delivered"]) == ("done", placed["requested"])


def test_orders_are_counted_by_state_and_rows_by_model(client: httpx.Client, done: dict[str, Any]):
    text = client.get("/metrics").text
    assert 'reverie_augmentations{state="done"}' in text
    rows = next(x for x in text.splitlines() if "augmentation_rows_total{model=" in x)
    assert float(rows.rpartition(" ")[2]) >= 90


def test_with_keys_orders_want_one(api_store: Path, tmp_path: Path):
    with served(models_store=api_store, data_dir=tmp_path, api_keys=("k",)) as client:
        problem_of(client.get(PATH), 401, "unauthorised")
        problem_of(client.post(PATH, json=ORDER), 401, "unauthorised")
        sent = {"Authorization": "Bearer k"}
        assert client.get(PATH, headers=sent).json() == {"augmentations": [], "next": None}


def test_a_service_that_takes_no_orders_leaves_no_trace(api_store: Path, tmp_path: Path):
    with served(models_store=api_store, data_dir=tmp_path / "data") as client:
        assert client.get(PATH).json()["augmentations"] == []
        problem_of(client.get(f"{PATH}/x"), 404, "unknown-order")
    assert not (tmp_path / "data").exists()


def test_a_stream_of_events_ends_when_the_service_leaves(api_store: Path, tmp_path: Path):
    app = create_app(Settings(_env_file=None, models_store=api_store, data_dir=tmp_path))
    with serving(app) as client:
        long = {"model": "tiny-rbm", "n": 50_000, "burn_in": 2000}
        id_ = client.post(PATH, json=long).json()["id"]
        with client.stream("GET", f"{PATH}/{id_}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            app.state.engine.leaving = True
            assert list(lines) is not None
        app.state.engine.leaving = False
        client.delete(f"{PATH}/{id_}")
