"""Taking an order in: resolve it, try it on a few rows, and see how much disk it will want.

Asked ──resolve──► Order ──trial: a few rows, as the chunks will be made──► (Order, bytes a row)

What a model refuses is refused here, in its own words, before anything is promised.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from service.augmentation.chunks import Ask, ChunkRows, judge
from service.augmentation.formats import FORMATS
from service.augmentation.order import Order
from service.augmentation.plan import labels_of
from service.augmentation.reporting import pinned
from service.augmentation.resolve import Asked, resolve
from service.engine import Engine
from service.errors import NoSpace
from service.model import CHAIN
from service.queries import Call, Query, Result, Sample, Sampled

TRIAL_ROWS = 16
SPARE_BYTES = 16 * 2**20  # left free on a disk, for what else a service writes


@dataclass(frozen=True)
class TakenIn:
    """An order that can be made, and about how many bytes a row its files will have."""

    order: Order
    row_bytes: float


async def take_in(asked: Asked, engine: Engine, judges: Engine, call: Call) -> TakenIn:
    """The order that was meant; `judges` is the engine that has the judge.

    Raises:
        ServiceError: there is no such model, or it cannot do this, or not like this.
    """
    registry, judging = engine.registry, judges.registry
    model = registry.get(asked.model)
    judge_model = None if asked.accept.judge is None else judging.get(asked.accept.judge)
    wanted = asked.report and engine.settings.order_reports
    order = resolve(
        asked,
        model.manifest,
        judge_model.manifest if judge_model else None,
        engine.settings,
        report=await asyncio.to_thread(pinned, model.manifest, engine.settings.models_store)
        if wanted
        else None,
    )

    async def ask(reference: str, query: Query) -> Result:
        if reference == order.model:
            return await engine.run(model, query, call)
        assert judge_model is not None
        return await judges.run(judge_model, query, call)

    rows = await _trial(order, ask, chain=CHAIN in model.manifest.functions)
    content = await asyncio.to_thread(FORMATS[order.format].write, order, rows)
    return TakenIn(order, len(content) / len(rows))


async def _trial(order: Order, ask: Ask, *, chain: bool) -> ChunkRows:
    """The first rows of the order, from chains of no sweeps: not how they mix is tried."""
    count = min(order.n, TRIAL_ROWS)
    labels = labels_of(order, range(count))
    query = Sample(
        n=count,
        seed=order.seed,
        labels=None if labels is None else tuple(labels.tolist()),
        truncation=order.truncation,
        temperature=order.temperature,
        burn_in=0 if chain else order.burn_in,
        values=order.values,
    )
    result = await ask(order.model, query)
    assert isinstance(result, Sampled)
    await judge(ask, order, result.samples, labels)
    return ChunkRows(
        chunk=0,
        images=result.samples,
        table=result.table,
        labels=labels,
        seeds=np.full(count, order.seed, np.int64),
        rows=np.arange(count, dtype=np.int64),
        asked=count,
        drawn=count,
        rejected=0,
        duplicates=0,
    )


def check_space(taken: TakenIn, *, free_bytes: int, promised_bytes: float) -> None:
    """Refuse what the disk cannot hold beside the orders that it is promised to already.

    Raises:
        NoSpace: with the estimate and what is free.
    """
    wanted = taken.row_bytes * taken.order.n
    free = free_bytes - promised_bytes - SPARE_BYTES
    if wanted > free:
        raise NoSpace(
            f"the files would take about {wanted / 1e6:,.0f} MB, and {max(free, 0) / 1e6:,.0f} MB "
            "are free beside other orders: order fewer rows, or another format or dtype"
        )
