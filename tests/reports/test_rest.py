"""The report of an order over REST: in the manifest, and as two files."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api import orders
from tests.api.servers import served

PATH = "/v1/augmentations"


@pytest.fixture(scope="module")
def client(
    reported_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("orders")
    with served(
        models_store=reported_store, data_dir=data, pool_rows=0, order_reports=True
    ) as found:
        yield found


def manifest_of(client: httpx.Client, **order: Any) -> tuple[str, dict[str, Any]]:
    """Place an order, see it to its end, and fetch its manifest."""
    placed = client.post(PATH, json={"model": "tiny-gan", "n": 150, "seed": 7, **order})
    assert placed.status_code == 202, placed.text
    there = placed.headers["location"]
    with client.stream("GET", f"{there}/events", timeout=100) as stream:
        for _ in stream.iter_lines():
            pass
    found = client.get(f"{there}/manifest")
    orders.OrderManifest.model_validate_json(found.content)
    return there, found.json()


def test_a_report_is_fetched_like_any_file_of_its_order(client):
    began = time.monotonic()
    there, manifest = manifest_of(client)
    assert time.monotonic() - began < 100
    report = manifest["quality_report"]
    assert report["state"] == "made", report
    types = {"report.html": "text/html", "report.json": "application/json"}
    for entry in report["files"]:
        found = client.get(f"{there}/files/{entry['name']}")
        assert found.status_code == 200
        assert found.headers["content-type"].startswith(types.pop(entry["name"]))
        assert hashlib.sha256(found.content).hexdigest() == entry["sha256"]
        assert found.headers["etag"] == f'"{entry["sha256"]}"'
    assert not types
    assert json.loads(found.content)["schema_version"] == 1
    assert "report.html" not in [f["name"] for f in client.get(there).json()["files"]]


def test_an_order_that_wants_none_gets_none(client):
    there, manifest = manifest_of(client, report=False)
    assert manifest["quality_report"] is None
    assert client.get(f"{there}/files/report.html").status_code == 404
