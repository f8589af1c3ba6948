"""Reports of orders: made after the last file, made again after a crash, and never in the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.augmentation import reporting
from service.augmentation.destination import LocalFolder
from service.augmentation.folder import OrderFolder
from service.augmentation.order import Order, Reporting, from_document
from service.augmentation.report_process import make_report, report_of
from service.augmentation.reporting import Reporter, pinned
from service.contract import PackageError, read_manifest, sha256_of
from service.engine import Engine
from service.reports.writing import HTML_FILE, JSON_FILE, files_of
from tests.augmentation.orders import contents, engine_of, fulfil, order_of
from tests.packages import write_tiny_gan
from tests.reports.conftest import referenced, write_tiny_judge


@pytest.fixture
async def engine(reported_store: Path) -> AsyncIterator[Engine]:
    async with engine_of(reported_store) as found:
        yield found


def ordered(engine: Engine, **asked) -> Order:
    """An order of tiny-gan with the report that it would get."""
    store = engine.settings.models_store
    order = order_of(engine, "tiny-gan", n=200, chunk_rows=64, **asked)
    manifest = engine.registry.get("tiny-gan").manifest
    return from_document(order.document() | {"report": vars(pinned(manifest, store))})


def reporter_of(engine: Engine, order: Order, folder: Path, **more) -> Reporter:
    there = OrderFolder(order, LocalFolder(folder))
    return Reporter(there, engine.settings.models_store, **more)


async def test_an_order_gets_a_report_with_its_figures_in_the_manifest(engine, tmp_path):
    order = ordered(engine)
    report = reporter_of(engine, order, tmp_path)
    made = (await fulfil(engine, order, tmp_path, report=report)).manifest["quality_report"]
    assert made["state"] == "made"
    for entry in made["files"]:
        content = (tmp_path / entry["name"]).read_bytes()
        assert (len(content), sha256_of(content)) == (entry["bytes"], entry["sha256"])
    document = json.loads((tmp_path / JSON_FILE).read_bytes())
    assert document["about"]["model"].startswith("tiny-gan@1")
    assert document["about"]["features"].startswith("tiny-judge@1")
    told = made["figures"]["attack.pixels"]
    assert set(told) == {"synthetic", "real"}
    assert "80% of them are at hand" in (tmp_path / HTML_FILE).read_text()


async def test_a_report_is_made_again_to_the_same_bytes(engine, tmp_path):
    order, store = ordered(engine), engine.settings.models_store

    async def here() -> dict:
        return await asyncio.to_thread(make_report, order, LocalFolder(tmp_path / "one"), store)

    await fulfil(engine, order, tmp_path / "one", report=here)

    async def dies() -> None:
        (tmp_path / "two" / HTML_FILE).write_text("half of a page")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await fulfil(engine, order, tmp_path / "two", report=dies)
    assert not (tmp_path / "two" / "manifest.json").exists()
    again = reporter_of(engine, order, tmp_path / "two")
    await fulfil(engine, order, tmp_path / "two", report=again)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


async def test_formats_change_nothing_in_a_report_but_8_bits(engine, tmp_path):
    found = {}
    for format_ in ("npz", "csv", "webdataset"):
        order = ordered(engine, format=format_)
        folder = OrderFolder(order, LocalFolder(tmp_path / format_))

        async def look(order=order, folder=folder, format_=format_):
            report = await asyncio.to_thread(report_of, order, folder, engine.settings.models_store)
            found[format_] = files_of(report)[JSON_FILE]

        await fulfil(engine, order, tmp_path / format_, report=look)
    assert len(set(found.values())) == 1


async def test_a_report_that_fails_does_not_fail_the_order(engine, tmp_path, monkeypatch):
    order = ordered(engine)
    monkeypatch.setattr(reporting, "MODULE", "service.there_is_no_such_module")
    done = await fulfil(engine, order, tmp_path, report=reporter_of(engine, order, tmp_path))
    assert done.manifest["complete"]
    assert done.manifest["quality_report"] == {
        "state": "missing", "files": [],
        "reason": "the service failed to make it; its log has the cause",
    }  # fmt: skip


async def test_a_report_that_takes_too_long_is_left_out(engine, tmp_path):
    order = ordered(engine)
    slow = reporter_of(engine, order, tmp_path, timeout_s=0.01)
    done = await fulfil(engine, order, tmp_path, report=slow)
    assert "after 0.01 seconds" in done.manifest["quality_report"]["reason"]


async def test_an_order_without_a_report_says_null(engine, tmp_path):
    order = order_of(engine, "tiny-gan", n=10)
    assert order.report is None
    done = await fulfil(engine, order, tmp_path, report=reporter_of(engine, order, tmp_path))
    assert done.manifest["quality_report"] is None


async def test_a_reference_or_a_judge_that_changed_is_told_of(engine, tmp_path):
    order, store = ordered(engine), engine.settings.models_store
    sha = engine.registry.get("tiny-gan").manifest.reference.sha256

    def fails(report: Reporting, says: str) -> None:
        other = from_document(order.document() | {"report": vars(report)})
        with pytest.raises(PackageError, match=says):
            make_report(other, LocalFolder(tmp_path), store)

    async def tries() -> None:
        fails(Reporting(reference="0" * 64), "another reference")
        judge = Reporting(reference=sha, judge="tiny-judge@1", judge_digest="x")
        fails(judge, "not the judge that was ordered")

    await fulfil(engine, order, tmp_path, report=tries)


async def test_without_a_reference_the_report_says_what_is_missing(tmp_path):
    write_tiny_gan(tmp_path / "store")
    async with engine_of(tmp_path / "store") as engine:
        order = ordered(engine)
        out = tmp_path / "out"
        done = await fulfil(engine, order, out, report=reporter_of(engine, order, out))
    made = done.manifest["quality_report"]
    assert made["state"] == "made"
    assert "membership inference" in [m["what"] for m in made["missing"]]


def test_a_judge_that_is_not_there_is_not_pinned(tmp_path):
    package = referenced(write_tiny_gan(tmp_path))
    assert pinned(read_manifest(package), tmp_path).judge is None
    write_tiny_judge(tmp_path, version=1)
    write_tiny_judge(tmp_path, version=2)
    assert pinned(read_manifest(package), tmp_path).judge == "tiny-judge@2"


def test_a_report_does_not_change_an_orders_fingerprint():
    order = Order(model="m@1", digest="d", n=1, seed=0, format="npz", dtype="uint8", chunk_rows=1)
    reported = from_document(order.document() | {"report": vars(Reporting(judge="j@1"))})
    assert reported.report == Reporting(judge="j@1")
    assert reported.fingerprint == order.fingerprint
