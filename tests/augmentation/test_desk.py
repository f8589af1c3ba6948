"""The service's orders: kept, resumed, held, cancelled, forgotten; one service a folder."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.augmentation import errand as errands
from service.augmentation import intake
from service.augmentation.desk import Desk
from service.augmentation.order import Acceptance
from service.augmentation.resolve import Asked
from service.augmentation.store import DATABASE
from service.errors import (
    IdempotencyClash,
    InvalidInput,
    NoSpace,
    NotReady,
    Overloaded,
    UnknownModel,
    UnknownOrder,
)
from service.queries import Call
from tests.augmentation.orders import contents, engine_of, fulfil

SMALL = Asked(model="tiny-gan", n=100, seed=7, format="npz", chunk_rows=20)
LONG = Asked(model="tiny-rbm", n=20_000, seed=7, format="npz", chunk_rows=500, burn_in=400)


@asynccontextmanager
async def desk_of(store: Path, data: Path, *, clock=None, **settings):
    """A desk that works, on an engine of its own."""
    async with engine_of(store, data_dir=data, **settings) as engine:
        desk = Desk(engine, **({} if clock is None else {"clock": clock}))
        await desk.start()
        try:
            yield desk
        finally:
            await desk.stop()


async def place(desk, asked, *, key=None, body="body"):
    return await desk.place(asked, Call.lasting(30), key=key, body=body)


async def until(desk, id_, *states):
    """The order once it is in one of these states, by its events."""
    async for event in desk.board.events(id_, after=0):
        if event is not None and event.data["state"] in states:
            return await desk.board.find(id_)
    raise AssertionError(f"it ended as {(await desk.board.find(id_))['state']}")


def files_of(data: Path, id_: str) -> dict[str, bytes]:
    return contents(data / "augmentations" / id_)


async def test_an_order_is_made_as_it_would_be_by_hand(order_store, tmp_path):
    async with desk_of(order_store, tmp_path / "data") as desk:
        placed = await place(desk, SMALL)
        assert placed["state"] == "queued"
        done = await until(desk, placed["id"], "done", "failed")
        assert done["state"] == "done"
        assert done["delivered"] == done["requested"] == {"all": 100}
        assert [file["rows"] for file in done["files"]] == [20] * 5
        taken = await intake.take_in(SMALL, desk.engine, desk.engine, Call.lasting(30))
        await fulfil(desk.engine, taken.order, tmp_path / "hand")
        assert files_of(tmp_path / "data", placed["id"]) == contents(tmp_path / "hand")
        file = await desk.board.file(placed["id"], "data/chunk-00001.npz")
        assert file.sha256 == done["files"][1]["sha256"]
        manifest = await desk.board.manifest(placed["id"])
        assert manifest["files"] == done["files"]


async def test_events_tell_the_whole_story_in_order_and_again_from_any_point(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        id_ = (await place(desk, SMALL))["id"]
        heard = [e async for e in desk.board.events(id_, after=0) if e is not None]
        assert [e.number for e in heard] == list(range(1, len(heard) + 1))
        assert heard[0].data["state"] == "queued"
        assert heard[-1].data["state"] == "done"
        assert heard[-1].data["progress"]["rows_done"] == 100
        again = [e async for e in desk.board.events(id_, after=1)]
        assert again == heard[1:]


async def test_a_new_life_goes_on_where_the_last_one_stopped(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        id_ = (await place(desk, LONG))["id"]
        while not (await desk.board.find(id_))["files"]:
            await asyncio.sleep(0)
    left = files_of(tmp_path, id_)
    assert any(name.endswith(".npz") for name in left)
    async with desk_of(order_store, tmp_path) as desk:
        found = await until(desk, id_, "running")
        assert found["state"] in {"running", "queued"}
        await desk.cancel(id_)
    kept = files_of(tmp_path, id_)
    assert left.items() <= kept.items() | {(n, c) for n, c in left.items() if ".receipts" in n}


async def test_cancelling_frees_the_models_and_says_what_was_delivered(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        model = desk.engine.registry.get("tiny-rbm")
        id_ = (await place(desk, LONG))["id"]
        while not (await desk.board.find(id_))["files"]:
            await asyncio.sleep(0)
        cancelled = await desk.cancel(id_)
        async with asyncio.timeout(2):
            while model.running_rows or model.queued_rows:
                await asyncio.sleep(0)
        assert cancelled["state"] == "cancelled"
        assert 0 < cancelled["delivered"]["all"] == 500 * len(cancelled["files"]) < 20_000
        manifest = await desk.board.manifest(id_)
        assert manifest["complete"] is False
        assert manifest["error"] == "the order was cancelled"
        assert (await desk.cancel(id_)) == cancelled
    async with desk_of(order_store, tmp_path) as desk:
        assert (await desk.board.find(id_)) == cancelled


async def test_a_queued_order_can_be_cancelled_and_others_take_its_turn(order_store, tmp_path):
    async with desk_of(order_store, tmp_path, max_running_orders=1) as desk:
        running = (await place(desk, LONG))["id"]
        waiting = (await place(desk, LONG))["id"]
        last = (await place(desk, SMALL))["id"]
        assert (await desk.cancel(waiting))["state"] == "cancelled"
        assert (await desk.board.find(last))["state"] == "queued"
        await desk.cancel(running)
        assert (await until(desk, last, "done"))["files"]


async def test_an_idempotency_key_names_one_order_over_lives(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        assert await desk.known("key", "body") is None
        first = await place(desk, SMALL, key="key")
        second, third = await asyncio.gather(
            place(desk, SMALL, key="key"), place(desk, SMALL, key="key")
        )
        assert first["id"] == second["id"] == third["id"]
        with pytest.raises(IdempotencyClash, match="'key' was used with another request"):
            await place(desk, SMALL, key="key", body="another")
        await until(desk, first["id"], "done")
    async with desk_of(order_store, tmp_path) as desk:
        assert (await desk.known("key", "body"))["id"] == first["id"]
        with pytest.raises(IdempotencyClash):
            await desk.known("key", "another")
        assert len((await desk.board.page(limit=10, before=None))[0]) == 1


async def test_pages_of_orders_are_newest_first(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        assert await desk.board.page(limit=2, before=None) == ([], None)
        ids = [(await place(desk, SMALL))["id"] for _ in range(5)]
        seen, before = [], None
        while True:
            page, before = await desk.board.page(limit=2, before=before)
            seen += [order["id"] for order in page]
            if before is None:
                break
        assert seen == ids[::-1]
        assert "files" not in page[0]


async def test_an_order_expires_with_its_files(order_store, tmp_path):
    now = [1000.0]
    async with desk_of(order_store, tmp_path, clock=lambda: now[0], order_ttl_s=60) as desk:
        id_ = (await place(desk, SMALL))["id"]
        await until(desk, id_, "done")
        await desk._settle()
        assert (await desk.board.find(id_))["expires_at"].startswith("1970-01-01T00:17:40")
        now[0] += 61
        await desk._settle()
        with pytest.raises(UnknownOrder, match="never was, or has expired"):
            await desk.board.find(id_)
        assert files_of(tmp_path, id_) == {}


async def test_a_full_disk_holds_an_order_and_nothing_else(order_store, tmp_path, monkeypatch):
    monkeypatch.setattr(errands, "RETRY_HELD_S", 0.0)
    real, full = os.fsync, [True]

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if full[0] and path.suffix == ".tmp":
            raise OSError(errno.ENOSPC, "full")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    usage = shutil.disk_usage(tmp_path)
    async with desk_of(order_store, tmp_path) as desk:
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _: usage._replace(free=100 if full[0] else usage.free)
        )
        monkeypatch.setattr("service.augmentation.desk.check_space", lambda *_, **__: None)
        id_ = (await place(desk, SMALL))["id"]
        held = await until(desk, id_, "on_hold")
        assert held["reason"] == "no_space"
        assert "no space left" in held["error"]
        assert files_of(tmp_path, id_) == {}
        model = desk.engine.registry.get("tiny-gan")
        from service.queries import Sample

        assert (await desk.engine.run(model, Sample(n=1, seed=1), Call.lasting(5))).seed == 1
        full[0] = False
        assert (await until(desk, id_, "done"))["delivered"] == {"all": 100}


async def test_what_the_disk_cannot_hold_is_refused_with_the_figures(
    order_store, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=40 * 2**20))
    async with desk_of(order_store, tmp_path) as desk:
        with pytest.raises(NoSpace, match=r"would take about [\d,]+ MB, and 25 MB are free"):
            await place(desk, Asked(model="tiny-gan", n=10_000_000))
        assert (await desk.board.page(limit=1, before=None))[0] == []


async def test_a_full_database_takes_no_order(order_store, tmp_path, monkeypatch):
    async with desk_of(order_store, tmp_path) as desk:
        await place(desk, SMALL)
        store = await desk._store()

        class Full(sqlite3.OperationalError):
            sqlite_errorcode = sqlite3.SQLITE_FULL

        class Disk:
            in_transaction = False

            def execute(self, *_):
                raise Full

        real, store._db = store._db, Disk()
        with pytest.raises(NoSpace, match="nothing was ordered"):
            await place(desk, SMALL)
        store._db = real


async def test_too_many_open_orders_are_too_many(order_store, tmp_path):
    async with desk_of(order_store, tmp_path, max_open_orders=1, max_running_orders=1) as desk:
        id_ = (await place(desk, LONG))["id"]
        with pytest.raises(Overloaded, match="1 orders have not ended"):
            await place(desk, SMALL)
        await desk.cancel(id_)
        await desk._settle()
        await place(desk, SMALL)


async def test_what_a_model_refuses_is_refused_at_once(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        for asked, error, complaint in [
            (Asked(model="nobody", n=1), UnknownModel, "no model"),
            (Asked(model="tiny-gan", n=1, burn_in=1), InvalidInput, "no Markov chain"),
            (Asked(model="tiny-rbm", n=1, truncation=0.5), InvalidInput, "leave truncation out"),
            (Asked(model="colour", n=1, accept=Acceptance(judge="no")), UnknownModel, "no model"),
        ]:
            with pytest.raises(error, match=complaint):
                await place(desk, asked)
        assert not (tmp_path / "augmentations").exists()
        for missing in (desk.board.find("x"), desk.cancel("x"), desk.board.manifest("x")):
            with pytest.raises(UnknownOrder):
                await missing


async def test_two_services_do_not_share_a_folder(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as first:
        id_ = (await place(first, SMALL))["id"]
        async with desk_of(order_store, tmp_path) as second:
            with pytest.raises(NotReady, match="another process"):
                await second.board.find(id_)
            await first.stop()
            assert (await second.board.find(id_))["id"] == id_


async def test_a_folder_that_cannot_be_written_takes_no_orders(order_store, tmp_path):
    (tmp_path / "data").write_text("a file")
    async with desk_of(order_store, tmp_path / "data") as desk:
        with pytest.raises(NotReady, match="REVERIE_DATA_DIR"):
            await place(desk, SMALL)


async def test_an_order_waits_for_a_model_that_went_away(store, tmp_path, monkeypatch):
    monkeypatch.setattr(errands, "RETRY_HELD_S", 0.0)
    data, gone = tmp_path / "data", tmp_path / "gone"
    async with desk_of(store, data, max_running_orders=1) as desk:
        blocking = (await place(desk, LONG))["id"]
        id_ = (await place(desk, SMALL))["id"]
        shutil.move(store / "tiny-gan", gone)
        await desk.engine.reload()
        await desk.cancel(blocking)
        held = await until(desk, id_, "on_hold")
        assert held["reason"] == "model_missing"
        shutil.move(gone, store / "tiny-gan")
        await desk.engine.reload()
        assert (await until(desk, id_, "done"))["delivered"] == {"all": 100}


async def test_a_client_that_leaves_in_the_middle_does_not_lose_the_order(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        await place(desk, SMALL)
        store = await desk._store()
        kept = store.place
        leave = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(*args, **kwargs):
            loop.call_soon_threadsafe(leave.set)
            return kept(*args, **kwargs)

        store.place = slow
        placing = asyncio.create_task(place(desk, SMALL, key="mine"))
        await leave.wait()
        placing.cancel()
        await asyncio.gather(placing, return_exceptions=True)
        while (found := await desk.known("mine", "body")) is None:
            await asyncio.sleep(0)
        assert (await until(desk, found["id"], "done"))["delivered"] == {"all": 100}


async def test_streams_of_events_end_when_the_service_leaves(order_store, tmp_path):
    async with desk_of(order_store, tmp_path) as desk:
        id_ = (await place(desk, LONG))["id"]
        async with asyncio.timeout(5):
            async for _ in desk.board.events(id_, after=0):
                desk.engine.leaving = True
        desk.engine.leaving = False
        await desk.cancel(id_)
    assert (tmp_path / "augmentations" / DATABASE).exists()
