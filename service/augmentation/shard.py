"""One share of an order, for a Kubernetes Indexed Job or a Slurm array; then `--finish`.

reverie augment MODEL … --out OUT --plan                            OUT/order.json, once
python -m service.augmentation.shard --out OUT --index I --of N     for each I in 0 … N − 1
python -m service.augmentation.shard --out OUT --finish             OUT/manifest.json, at the end

Ends with 0 when its part is done, with 1 when it may be tried again, with 2 when it may not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from service.augmentation.destination import Destination, LocalFolder, open_destination
from service.augmentation.folder import ORDER_FILE, RECEIPTS, AnotherOrder, OrderFolder, Receipt
from service.augmentation.holds import Failed, Held
from service.augmentation.shares import Share, find_order, finish, make_share
from service.augmentation.showing import summary_of
from service.augmentation.store import Lock
from service.errors import InvalidInput, NotReady, ServiceError
from service.settings import Settings

AGAIN, NEVER = 1, 2  # exit statuses: worth a retry, and not

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def shard(  # noqa: PLR0917  options are what a job may give
    out: Annotated[str, typer.Option("--out", "-o", help="Folder or URL of the order.")],
    order: Annotated[
        str | None, typer.Option(help="Path or URL of order.json. [OUT/order.json]")
    ] = None,
    index: Annotated[
        int | None,
        typer.Option(
            envvar=["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"], help="Which share, from 0."
        ),
    ] = None,
    of: Annotated[int | None, typer.Option(min=1, help="How many shares there are.")] = None,
    finishing: Annotated[
        bool, typer.Option("--finish", help="Check every chunk and write manifest.json.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --finish: read every file, and compare sha256.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Chunks made side by side.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N.")] = "auto",
    store: Annotated[
        Path, typer.Option("--store", envvar="REVERIE_MODELS_STORE", help="Folder of packages.")
    ] = Path("models_store"),
) -> None:
    """Make what is missing of one share of an order, or finish an order whose shares are done."""
    try:
        settings = Settings(models_store=store, device=device)
        destination = _open(out)
        folder = OrderFolder(find_order(order or f"{out.rstrip('/')}/{ORDER_FILE}"), destination)
        with _claimed(destination, alone=finishing):
            if finishing:
                asyncio.run(_finish(folder, settings, workers=workers, verify=verify))
            else:
                asyncio.run(_make(folder, _share(index, of), settings, workers=workers))
    except (Held, Failed, NotReady) as trouble:
        _end(str(trouble), AGAIN)
    except (ServiceError, AnotherOrder) as error:
        _end(str(error), AGAIN if finishing else NEVER)
    except ValidationError as error:
        first = error.errors()[0]
        _end(f"setting {first['loc'][0]}={first['input']!r}: {first['msg']}", NEVER)


async def _make(folder: OrderFolder, share: Share, settings: Settings, *, workers: int) -> None:
    mine = len(share.chunks_of(folder.order))
    name = f"share {share.index} of {share.of}"
    _say(f"{name}: {mine} of {folder.order.chunks} chunks of {folder.order.model}")

    def note(receipt: Receipt) -> None:
        _say(f"{name}: chunk {receipt.chunk}, {receipt.rows} rows, {receipt.bytes} bytes")

    there = await make_share(folder, share, settings, workers=workers, on_chunk=note)
    _say(f"{name}: done; {mine - there} chunks made, {there} were there")


async def _finish(folder: OrderFolder, settings: Settings, *, workers: int, verify: bool) -> None:
    def note(receipt: Receipt) -> None:
        _say(f"finish: chunk {receipt.chunk} made again, since it repeated rows of others")

    done = await finish(folder, settings, workers=workers, verify=verify, on_chunk=note)
    assert done.manifest is not None
    _say(summary_of(done.manifest, seed=folder.order.seed, shown=folder.destination.shown))


def _share(index: int | None, of: int | None) -> Share:
    if index is None or of is None:
        raise InvalidInput(
            "say which share: --index I (or JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID) and --of N, "
            "or --finish"
        )
    return Share(index, of)


def _open(out: str) -> Destination:
    try:
        return open_destination(out)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


@contextmanager
def _claimed(destination: Destination, *, alone: bool) -> Iterator[None]:
    """Keep `--finish` and `reverie augment` out of a local folder while shares are made in it."""
    if not isinstance(destination, LocalFolder):
        yield
        return
    path = destination.path / RECEIPTS
    path.mkdir(parents=True, exist_ok=True)
    lock = Lock(path / "lock")
    try:
        taken = True
        with suppress(OSError):  # a cluster's file system may know no locks
            taken = lock.taken(shared=not alone)
        if not taken:
            raise NotReady(f"others are writing to {destination.path}: wait", retry_after_s=60)
        yield
    finally:
        lock.close()


def _say(text: str) -> None:
    print(text, flush=True)


def _end(text: str, code: int) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
