"""What does a large order cost? `make bench BENCH=augmentation`

memory       the most that a process holds while it makes an order: it must not grow with the rows
core         rows for a second of one core: what docs/scale.md plans with
rate         rows a second of an order on an idle service, against `sample` alone in one process
interactive  p99 of single samples that arrive on their own clock, with and without an order

Memory is measured on a generator of 4 × 4 pixels, so that ten million rows take minutes; the others
on a published model, in turns. Arrivals are open-loop: a sample that waits is late from the moment
it should have begun.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from benchmarks.harness import report
from benchmarks.load.orders import cost, tiny_generator
from service.augmentation.desk import Desk
from service.augmentation.resolve import Asked
from service.engine import Engine, open_engine
from service.imports import add_generator
from service.queries import Call, Sample
from service.settings import Settings

MEMORY_ROWS = [10_000, 100_000, 1_000_000]
BLOCK, IN_FLIGHT = 64, 4  # as an order asks
MB = 1e6


def main() -> None:
    """Measure what is asked for, and print a table each."""
    options = _options()
    cases = {"memory": _memory, "core": _core, "rate": _rate, "interactive": _interactive}
    for name in options.case or (["memory"] if options.memory else cases):
        cases[name](options)


def _memory(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as store:
        add_generator(tiny_generator(), store=Path(store), name="tiny", version=1)
        rows: list[dict[str, object]] = []
        for n in options.memory or MEMORY_ROWS:
            began = time.monotonic()
            took = cost(model="tiny", store=store, n=n, format=options.format)
            spent = time.monotonic() - began
            peak = took["peak_bytes"] / MB
            rows.append({"case": f"{n:,} rows", "peak, MB": peak, "seconds": spent})
    first = float(str(rows[0]["peak, MB"]))
    for row in rows:
        row["÷ first"] = float(str(row["peak, MB"])) / first
    report("augmentation-memory", f"Memory of an order, {options.format}, 4 × 4 pixels", rows)


def _core(options: argparse.Namespace) -> None:
    """Processor time, of all threads: it counts no waiting for a processor that others have."""
    rows: list[dict[str, object]] = []
    for model in options.model:
        done = [
            cost(
                model=model, store=options.models_store, n=options.n, format=options.format,
                dtype=options.dtype, burn_in=options.burn_in, chunk_rows=options.chunk_rows,
            )
            for _ in range(options.rounds)
        ]  # fmt: skip
        rates = sorted(options.n / round_["cpu_s"] for round_ in done)
        rows.append(
            {
                "case": model,
                "rows/s of a core": statistics.median(rates),
                "lowest": rates[0],
                "highest": rates[-1],
                "bytes/row": done[0]["bytes"] / options.n,
                "peak, MB": max(round_["peak_bytes"] for round_ in done) / MB,
            }
        )
    report("augmentation-core", f"An order on one core, {options.format}", rows)


def _rate(options: argparse.Namespace) -> None:
    rows: list[dict[str, object]] = []
    for model in options.model:
        alone, ordered = asyncio.run(_in_turns(model, options))
        rows.append(
            {
                "case": model,
                "sample rows/s": statistics.median(alone),
                "order rows/s": statistics.median(ordered),
                "order ÷ sample": statistics.median(
                    b / a for a, b in zip(alone, ordered, strict=True)
                ),
            }
        )
    report("augmentation-rate", f"An order on an idle service, {options.format}", rows)


async def _in_turns(model: str, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Rates of `sample` alone and of an order, round by round; the first round warms up."""
    alone: list[float] = []
    ordered: list[float] = []
    async with _service(options) as (engine, desk):
        for k in range(options.rounds + 1):
            found = (
                await _timed(options.n, lambda: _sample(engine, model, options)),
                await _timed(options.n, lambda k=k: _order(desk, model, options, seed=k)),  # type: ignore[misc]
            )
            if k:
                alone.append(found[0])
                ordered.append(found[1])
    return alone, ordered


async def _timed(n: int, work: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await work()
    return n / (time.perf_counter() - began)


async def _sample(engine: Engine, name: str, options: argparse.Namespace) -> None:
    """As many rows, in blocks of 64, a few at a time, and nothing done with them."""
    model, limit = engine.registry.get(name), asyncio.Semaphore(IN_FLIGHT)

    async def block(seed: int) -> None:
        async with limit:
            query = Sample(n=BLOCK, seed=seed, burn_in=_burn_in(engine, name, options))
            await engine.run(model, query, Call.lasting(3600, "batch"))

    await asyncio.gather(*(block(seed) for seed in range(-(-options.n // BLOCK))))


async def _order(desk: Desk, model: str, options: argparse.Namespace, *, seed: int) -> None:
    id_ = await _place(desk, model, options, n=options.n, seed=seed)
    async for _ in desk.board.events(id_, after=0):
        pass
    order = await desk.board.find(id_)
    assert order["state"] == "done", order


async def _place(desk: Desk, model: str, options: argparse.Namespace, *, n: int, seed: int) -> str:
    burn_in = _burn_in(desk.engine, model, options)
    asked = Asked(model=model, n=n, seed=seed, format=options.format, burn_in=burn_in)
    order = await desk.place(asked, Call.lasting(600), key=None, body="")
    return str(order["id"])


def _burn_in(engine: Engine, model: str, options: argparse.Namespace) -> int | None:
    chain = "sweep" in engine.registry.get(model).manifest.functions
    return options.burn_in if chain else None


def _interactive(options: argparse.Namespace) -> None:
    rows: list[dict[str, object]] = []
    for model in options.model:
        quiet, busy, beside = asyncio.run(_latencies(model, options))
        row: dict[str, object] = {"case": f"{model}, {options.arrivals:g}/s"}
        for share in (50, 99):
            without, with_it = np.percentile(quiet, share), np.percentile(busy, share)
            row[f"p{share} ms"] = 1000 * float(without)
            row[f"p{share} with order"] = 1000 * float(with_it)
            row[f"p{share} ratio"] = float(with_it / without)
        row["order rows/s meanwhile"] = statistics.median(beside)
        rows.append(row)
    report("augmentation-interactive", "Single samples beside a large order", rows)


async def _latencies(
    model: str, options: argparse.Namespace
) -> tuple[list[float], list[float], list[float]]:
    """Seconds from a sample's moment to its answer, in turns without and with an order.

    And the order's rows a second meanwhile.
    """
    quiet: list[float] = []
    busy: list[float] = []
    beside: list[float] = []
    async with _service(options) as (engine, desk):
        await _arrivals(engine, model, options, seed=0)
        for k in range(options.rounds):
            quiet += await _arrivals(engine, model, options, seed=k)
            id_ = await _place(desk, model, options, n=10_000_000, seed=k)
            async for event in desk.board.events(id_, after=0):
                if event is not None and event.data["state"] == "running":
                    break
            await asyncio.sleep(0.5)
            before, began = await _rows_done(desk, id_), time.perf_counter()
            busy += await _arrivals(engine, model, options, seed=k)
            spent = time.perf_counter() - began
            beside.append((await _rows_done(desk, id_) - before) / spent)
            await desk.cancel(id_)
    return quiet, busy, beside


async def _rows_done(desk: Desk, id_: str) -> int:
    found: int = (await desk.board.find(id_))["progress"]["rows_done"]
    return found


async def _arrivals(
    engine: Engine, name: str, options: argparse.Namespace, *, seed: int
) -> list[float]:
    """Samples of one row at exponential intervals, whether or not those before are answered."""
    model, draw = engine.registry.get(name), np.random.default_rng(seed)
    burn_in = _burn_in(engine, name, options)

    async def one(due: float) -> float:
        query = Sample(n=1, seed=int(draw.integers(2**50)), burn_in=burn_in)
        await engine.run(model, query, Call.lasting(60))
        return time.perf_counter() - due

    tasks: list[asyncio.Task[float]] = []
    due = time.perf_counter()
    for gap in draw.exponential(1 / options.arrivals, options.requests):
        due += float(gap)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))
    return list(await asyncio.gather(*tasks))


@asynccontextmanager
async def _service(options: argparse.Namespace) -> AsyncIterator[tuple[Engine, Desk]]:
    """An engine and its orders, as the service has them, without HTTP."""
    with tempfile.TemporaryDirectory() as data:
        settings = Settings(
            _env_file=None, models_store=Path(options.models_store), data_dir=Path(data),
            device=options.device,
        )  # fmt: skip
        engine = await open_engine(settings)
        desk = Desk(engine)
        await desk.start()
        try:
            yield engine, desk
        finally:
            await desk.stop()
            await engine.stop()


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=["memory", "core", "rate", "interactive"])
    parser.add_argument("--memory", type=int, nargs="+", metavar="ROWS",
                        help="only the case memory, with orders of these sizes")  # fmt: skip
    parser.add_argument("--format", default="parquet", help="of the orders' files")
    parser.add_argument("--model", nargs="+", default=["mnist-dcgan"], help="rate, interactive")
    parser.add_argument("--models-store", default="models_store")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--n", type=int, default=32_768, help="rate: rows a round")
    parser.add_argument("--burn-in", type=int, default=200, help="energy models: sweeps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=400, help="interactive: samples a round")
    parser.add_argument(
        "--arrivals", type=float, default=40.0, help="interactive: samples a second"
    )
    parser.add_argument("--dtype", choices=["float32", "uint8"], help="core: of the images")
    parser.add_argument("--chunk-rows", type=int, help="core: rows a file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
