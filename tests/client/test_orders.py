"""Orders of a server that follows the API to the letter, and of ones that do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.client import (
    BadAnswer,
    ChecksumMismatch,
    DeadlineExceeded,
    NotFound,
    OrderFailed,
    Unreachable,
)
from tests.client.either import Either
from tests.client.rude import Rude, Step, answer, cut, hang_up, refuse, rude, silence, stream

Connect = Callable[..., Either]
CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NO_EVENTS = refuse(404)


def document(state: str, rows: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "id": "ord-1", "state": state, "seed": 7, "requested": {"8": 10}, "delivered": {"8": rows},
        "progress": {"rows_done": rows, "rows_total": 10, "rows_per_second": 2.5,
                     "eta_seconds": 4.0}, **more,
    }  # fmt: skip


def said(state: str, rows: int = 0, **more: Any) -> Step:
    return answer(orjson.dumps(document(state, rows, **more)))


def event(number: int, state: str, rows: int = 0) -> str:
    data = orjson.dumps(document(state, rows)).decode()
    return f"id: {number}\nevent: progress\ndata: {data}\n\n"


def listed(content: bytes = CONTENT, name: str = "a.parquet", **changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "bytes": len(content), "sha256": digest, "rows": 10, **changes}


def done(*files: dict[str, Any]) -> Step:
    return said("done", 10, files=list(files or [listed()]))


def paths(server: Rude) -> list[str]:
    return [heard.path.removeprefix("/v1/augmentations") for heard in server.heard]


async def test_an_order_is_placed_and_says_how_it_stands(connect: Connect):
    async with rude(answer(orjson.dumps(document("queued")), 202)) as server:
        order = await connect(server.url).augment(
            "m", n=10, labels={"8": 10}, seed=7, format="npz", chunk_rows=4, unique=True
        )
    assert orjson.loads(server.heard[0].body) == {
        "model": "m", "n": 10, "labels": {"8": 10}, "seed": 7, "format": "npz", "chunk_rows": 4,
        "unique": True,
    }  # fmt: skip
    assert (order.id, order.state, order.seed) == ("ord-1", "queued", 7)
    assert (order.progress.rows_total, order.progress.eta_s) == (10, 4.0)
    assert (order.requested, order.delivered, order.files) == ({"8": 10}, {"8": 0}, ())
    assert "queued, 0 of 10 rows" in repr(order.inner)


@pytest.mark.parametrize("to", ["largest", 50, {"3": 9, "8": 12}])
async def test_what_a_data_set_lacks_is_ordered(connect: Connect, to: Any):
    async with rude(answer(orjson.dumps(document("queued")), 202)) as server:
        await connect(server.url).augment("m", top_up={"have": {"3": 7, "8": 10}, "to": to})
    assert orjson.loads(server.heard[0].body) == {
        "model": "m", "top_up": {"have": {"3": 7, "8": 10}, "to": to},
    }  # fmt: skip


async def test_waiting_follows_the_events_and_goes_on_after_the_last_that_was_heard(
    connect: Connect,
):
    async with rude(
        said("running"),
        stream(": hello\n\n", event(1, "running", 3), event(2, "running", 5)),  # and breaks off
        said("running", 5),
        stream(event(3, "done", 10)),
        done(),
    ) as server:
        order = await (await connect(server.url).order("ord-1")).wait()
    assert order.state == "done"
    assert len(order.files) == 1
    assert paths(server) == ["/ord-1", "/ord-1/events"] * 2 + ["/ord-1"]
    assert "last-event-id" not in server.heard[1].headers
    assert server.heard[3].headers["last-event-id"] == "2"


async def test_without_events_waiting_asks_again_and_again(connect: Connect):
    async with rude(
        said("queued"), NO_EVENTS, said("running"), said("running", 5), done()
    ) as server:
        order = await (await connect(server.url).order("ord-1")).wait()
    assert order.state == "done"
    assert paths(server).count("/ord-1/events") == 1


async def test_events_in_unknown_words_are_no_obstacle(connect: Connect):
    odd = [
        "data: tick\n\n",
        "data: [1]\n\n",
        "data: {}\n\n",
        'data: {"files": [{}]}\n\n',
        "id: 4\n\n",
    ]
    async with rude(said("running"), stream(*odd), done()) as server:
        assert (await (await connect(server.url).order("ord-1")).wait()).state == "done"


async def test_a_service_that_is_gone_for_a_moment_does_not_end_the_wait(connect: Connect):
    async with rude(
        said("running"), stream(event(1, "running", 3)), hang_up, refuse(503), said("running", 3),
        refuse(503), said("running", 4), stream(event(2, "done", 10)), done(),
    ) as server:  # fmt: skip
        assert (await (await connect(server.url).order("ord-1")).wait()).state == "done"


async def test_a_wait_ends_with_its_time_and_the_order_does_not(connect: Connect):
    async with rude(said("running", 2), silence) as server:
        order = await connect(server.url).order("ord-1")
        with pytest.raises(DeadlineExceeded, match=r"2 of 10 rows; wait again, or cancel it"):
            await order.wait(timeout_s=0.3)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_an_order_that_ended_badly_says_why(connect: Connect, state: str):
    async with rude(said(state, 3, error="too few different images")) as server:
        order = await connect(server.url).order("ord-1")
        for ask in (order.wait, lambda: order.download("nowhere")):
            with pytest.raises(OrderFailed, match=rf"{state} after 3 of 10 rows: too few"):
                await ask()


async def test_progress_is_shown_on_request_alone(
    connect: Connect, capsys: pytest.CaptureFixture[str]
):
    script = (said("running"), stream(event(1, "on_hold", 3), event(2, "done", 10)), done())
    for progress in (False, True):
        async with rude(*script) as server:
            await (await connect(server.url).order("ord-1")).wait(progress=progress)
        shown = capsys.readouterr().out
        assert ("order ord-1" in shown) is progress
        assert ("10/10" in shown) is progress


async def test_cancelling_deletes_and_asks_how_it_stands(connect: Connect):
    async with rude(said("running"), answer(b"", 204), said("cancelled")) as server:
        order = await connect(server.url).order("ord-1")
        await order.cancel()
    assert order.state == "cancelled"
    assert [h.method for h in server.heard] == ["GET", "DELETE", "GET"]


async def test_orders_and_manifests_are_read(connect: Connect):
    async with rude(
        answer(orjson.dumps({"augmentations": [document("done")], "next": "17"})),
        answer(orjson.dumps({"augmentations": [document("queued")], "next": None})),
        answer(b'{"quality": 1}'),
    ) as server:
        orders = await connect(server.url).orders()
        assert [order.state for order in orders] == ["done", "queued"]
        assert await orders[0].manifest() == {"quality": 1}
    assert paths(server) == ["", "?cursor=17", "/ord-1/manifest"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def fetch(connect: Connect, folder: Path, *script: Step, **options: Any) -> Rude:
    """Download an order whose server plays a script: its status, then its files one by one."""
    async with rude(*script) as server:
        order = await connect(server.url, **options).order("ord-1")
        server.paths = await order.download(folder, partial=True, parallel=1)
        return server


async def test_files_come_whole_under_their_names(connect: Connect, tmp_path: Path):
    other = b"other"
    folder = tmp_path / "new" / "folder"
    server = await fetch(
        connect, folder, done(listed(), listed(other, "b.parquet")), answer(CONTENT), answer(other)
    )
    assert server.paths == [folder / "a.parquet", folder / "b.parquet"]
    assert [p.read_bytes() for p in server.paths] == [CONTENT, other]
    assert names_in(folder) == ["a.parquet", "b.parquet"]
    assert "range" not in server.heard[1].headers


async def test_a_file_that_breaks_off_goes_on_where_it_did(connect: Connect, tmp_path: Path):
    rest = CONTENT[4000:]
    span = {"Content_Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    server = await fetch(
        connect, tmp_path, done(), cut(CONTENT, after=4000), answer(rest, 206, **span)
    )
    assert (tmp_path / "a.parquet").read_bytes() == CONTENT
    assert server.heard[2].headers["range"] == "bytes=4000-"
    assert server.heard[2].headers["if-range"] == f'"{DIGEST}"'


async def test_a_later_call_goes_on_too_and_keeps_what_is_there(connect: Connect, tmp_path: Path):
    span = {"Content_Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with pytest.raises(Unreachable):
        await fetch(connect, tmp_path, done(), cut(CONTENT, after=4000), hang_up, tries=2)
    assert not (tmp_path / "a.parquet").exists()
    server = await fetch(connect, tmp_path, done(), answer(CONTENT[4000:], 206, **span))
    assert server.heard[1].headers["range"] == "bytes=4000-"
    server = await fetch(connect, tmp_path, done(), refuse(500))
    assert len(server.heard) == 1  # nothing was fetched again
    assert (tmp_path / "a.parquet").read_bytes() == CONTENT


async def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(
    connect: Connect, tmp_path: Path
):
    await fetch(connect, tmp_path, done(), cut(CONTENT, after=4000), answer(CONTENT))
    assert (tmp_path / "a.parquet").read_bytes() == CONTENT


async def test_a_range_that_is_not_there_is_fetched_from_the_start(
    connect: Connect, tmp_path: Path
):
    server = await fetch(
        connect, tmp_path, done(), cut(CONTENT, after=4000), refuse(416), answer(CONTENT)
    )
    assert (tmp_path / "a.parquet").read_bytes() == CONTENT
    assert "range" not in server.heard[3].headers


async def test_another_range_than_was_asked_for_is_not_taken(connect: Connect, tmp_path: Path):
    span = {"Content_Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with pytest.raises(BadAnswer, match="another range"):
        await fetch(
            connect, tmp_path, done(), cut(CONTENT, after=4000), answer(CONTENT, 206, **span)
        )


async def test_a_damaged_file_is_fetched_once_more(connect: Connect, tmp_path: Path):
    damaged = b"\0" * len(CONTENT)
    await fetch(connect, tmp_path, done(), answer(damaged), answer(CONTENT))
    assert (tmp_path / "a.parquet").read_bytes() == CONTENT


async def test_a_file_that_is_damaged_twice_is_not_kept(connect: Connect, tmp_path: Path):
    with pytest.raises(ChecksumMismatch, match="not kept"):
        await fetch(connect, tmp_path, done(), answer(b"\0" * len(CONTENT)))
    assert names_in(tmp_path) == []


async def test_a_server_that_always_breaks_off_at_one_place_is_given_up(
    connect: Connect, tmp_path: Path
):
    async with rude(done(), cut(CONTENT, after=100)) as server:
        order = await connect(server.url, tries=3).order("ord-1")
        with pytest.raises(Unreachable, match=r"broke off after 100 of|no whole answer"):
            await order.download(tmp_path, partial=True)
    assert len(server.heard) == 1 + 4  # one that got further, and three that did not


async def test_a_file_that_is_not_there_ends_the_download(connect: Connect, tmp_path: Path):
    with pytest.raises(NotFound, match="said 404"):
        await fetch(connect, tmp_path, done(listed(), listed(name="b.parquet")), refuse(404))
    assert not (tmp_path / "b.parquet").exists()


async def test_an_empty_file_is_a_file(connect: Connect, tmp_path: Path):
    await fetch(connect, tmp_path, done(listed(b"")), answer(b""))
    assert (tmp_path / "a.parquet").read_bytes() == b""


async def test_many_files_come_side_by_side(connect: Connect, tmp_path: Path):
    files = {f"f{i}.bin": bytes([i]) * 1000 for i in range(12)}

    async def any_file(heard, writer, server) -> None:
        await answer(files[heard.path.rsplit("/", 1)[1]])(heard, writer, server)

    async with rude(done(*(listed(c, n) for n, c in files.items())), any_file) as server:
        order = await connect(server.url).order("ord-1")
        found = await order.download(tmp_path, parallel=5, partial=True)
    assert [p.read_bytes() for p in found] == list(files.values())


async def test_what_stands_in_the_way_is_told(connect: Connect, tmp_path: Path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OSError, match="folder"):
        await fetch(connect, tmp_path / "folder", done(), answer(CONTENT))
