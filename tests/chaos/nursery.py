"""Short lives of a service that makes orders, each forked from a process that has imported it all.

test ──{"store", "data", "told"}──► nursery ──fork──► a life: engine, desk, orders ──► `told`

A new interpreter takes seconds to import what a fork has at once; a kill does the same to both.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

import pandas as pd  # noqa: F401  imported before the fork, as pyarrow would after it
import pyarrow.parquet  # noqa: F401  as above
import structlog

from service.augmentation import runner
from service.augmentation.desk import Desk
from service.augmentation.formats import archives, tables  # noqa: F401  as above
from service.augmentation.order import Acceptance
from service.augmentation.resolve import Asked
from service.engine import open_engine
from service.queries import Call
from service.settings import Settings

ORDERS = {
    "plain": Asked(
        model="tiny-gan", n=240, seed=1, format="npz", chunk_rows=40, report=False
    ),
    "chains": Asked(
        model="tiny-rbm", n=160, seed=2, format="parquet", chunk_rows=40, burn_in=40,
        values="sample", unique=True, report=False,
    ),
    "judged": Asked(
        model="colour", labels={"cat": 70, "owl": 50}, seed=3, format="imagefolder",
        chunk_rows=40, accept=Acceptance(judge="colour"), report=False,
    ),
}  # fmt: skip


async def live(store: Path, data: Path, told: Path) -> None:
    """Place every order under its key, and make them all; tell of each step once it is true."""
    settings = Settings(
        _env_file=None, models_store=store, data_dir=data, device="cpu", pool_rows=0,
        max_running_orders=3,
    )  # fmt: skip
    engine = await open_engine(settings)
    desk = Desk(engine)
    await desk.start()
    with told.open("a", buffering=1) as lines:
        placed = {}
        for key, asked in ORDERS.items():
            order = await desk.place(asked, Call.lasting(60), key=key, body=key)
            placed[key] = order["id"]
            lines.write(f"{key} {order['id']}\n")
        for id_ in placed.values():
            async for _ in desk.board.events(id_, after=0):
                pass
            order = await desk.board.find(id_)
            assert order["state"] == "done", order
        lines.write("done\n")
    await desk.stop()
    await engine.stop()


def serve(commands: TextIO, answers: TextIO) -> None:
    """Fork a life for each command; say its process id, and when it has ended."""
    for line in commands:
        paths = {name: Path(path) for name, path in json.loads(line).items()}
        pid = os.fork()
        if pid == 0:
            asyncio.run(live(**paths))
            os._exit(0)
        answers.write(f"{pid}\n")
        answers.flush()
        os.waitpid(pid, 0)
        answers.write("ended\n")
        answers.flush()


if __name__ == "__main__":
    runner.NICENESS = 0  # on a busy machine lives would be long, and test nothing more
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)
    serve(sys.stdin, sys.stdout)
