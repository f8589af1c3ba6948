"""Chunks: each row can be asked for again, and nothing but (order, chunk) decides a byte."""

from __future__ import annotations

import asyncio
import random

import pytest

from service.augmentation.asking import PinnedModels
from service.augmentation.chunks import make_chunk
from service.augmentation.duplicates import hashes_of
from service.augmentation.formats import FORMATS
from service.augmentation.order import Acceptance
from service.augmentation.plan import labels_of, slots_of
from service.queries import Call, Classify, Sample, Score
from tests.augmentation.orders import order_of

SHORT = {"burn_in": 5}
KINDS = {
    "tiny-gan": {"n": 150, "truncation": 0.7},
    "tiny-rbm": {"n": 150, "temperature": 1.5, **SHORT},
    "colour": {"labels": {"cat": 100, "owl": 50}},
}


async def chunk_of(engine, order, chunk=0, **more):
    return await make_chunk(PinnedModels([engine], order), order, chunk, **more)


async def sampled(engine, order, **query):
    given = {
        "truncation": order.truncation, "temperature": order.temperature,
        "burn_in": order.burn_in, "values": order.values,
    }  # fmt: skip
    model = engine.registry.get(order.model)
    return (await engine.run(model, Sample(**given | query), Call.lasting(30))).samples


@pytest.mark.parametrize("model", KINDS)
async def test_every_row_is_the_row_of_sample_that_it_names(engine, model):
    order = order_of(engine, model, chunk_rows=150, **KINDS[model])
    rows = await chunk_of(engine, order)
    assert len(rows) == 150
    for i in range(0, 150, 7):
        seed, row = int(rows.seeds[i]), int(rows.rows[i])
        labels = None if rows.labels is None else (int(rows.labels[i]),)
        again = await sampled(engine, order, n=row + 1, seed=seed, labels=labels)
        assert again[row].tobytes() == rows.images[i].tobytes()


@pytest.mark.parametrize("model", ["tiny-gan", "tiny-rbm"])
async def test_the_first_rows_of_an_order_are_those_of_sample_with_its_seed(engine, model):
    order = order_of(engine, model, **KINDS[model])
    rows = await chunk_of(engine, order)
    alone = await sampled(engine, order, n=64, seed=order.seed)
    assert rows.images[:64].tobytes() == alone.tobytes()


async def test_labels_are_those_of_the_plan(engine):
    order = order_of(engine, "colour", labels={"cat": 30, "dog": 60}, chunk_rows=40)
    for chunk in range(order.chunks):
        rows = await chunk_of(engine, order, chunk)
        assert rows.labels.tolist() == labels_of(order, slots_of(order, chunk)).tolist()


async def test_calls_may_come_back_in_any_order(engine):
    accept = Acceptance(max_p_value_rejected=0.4)
    order = order_of(engine, "tiny-gan", n=400, accept=accept, unique=True)
    models = PinnedModels([engine], order)
    shuffle = random.Random(1)

    async def delayed(reference, query):
        for _ in range(shuffle.randrange(20)):
            await asyncio.sleep(0)
        return await models(reference, query)

    one_by_one = await make_chunk(models, order, 0)
    at_once = await make_chunk(delayed, order, 0, limit=asyncio.Semaphore(8))
    for kind in ("npz", "parquet"):
        write = FORMATS[kind].write
        assert write(order, one_by_one) == write(order, at_once)
    assert one_by_one.drawn == at_once.drawn > 400


async def test_rows_with_small_p_values_are_drawn_again(engine):
    order = order_of(engine, "tiny-gan", n=200, accept=Acceptance(max_p_value_rejected=0.5))
    rows = await chunk_of(engine, order)
    model = engine.registry.get("tiny-gan")
    scored = await engine.run(model, Score(images=rows.images), Call.lasting(30))
    assert len(rows) == 200
    assert scored.p_values.min() > 0.5
    assert rows.rejected > 0
    assert (
        len({(s, r) for s, r in zip(rows.seeds.tolist(), rows.rows.tolist(), strict=True)}) == 200
    )


async def test_a_judge_sees_the_label_in_every_row(engine):
    accept = Acceptance(judge="colour")
    order = order_of(engine, "colour", judge="colour", labels={"cat": 20, "owl": 40}, accept=accept)
    rows = await chunk_of(engine, order)
    judge = engine.registry.get("colour")
    seen = await engine.run(judge, Classify(images=rows.images), Call.lasting(30))
    assert seen.probabilities.argmax(axis=1).tolist() == rows.labels.tolist()
    assert rows.rejected > 0


async def test_what_can_hardly_be_accepted_leaves_a_chunk_short_and_stops(engine):
    accept = Acceptance(max_p_value_rejected=0.999, max_draws=3)
    order = order_of(engine, "tiny-gan", n=64, accept=accept)
    rows = await chunk_of(engine, order)
    assert len(rows) < 64
    assert 3 * 64 <= rows.drawn <= 4 * 64
    assert rows.asked == 64


async def test_no_two_rows_of_a_chunk_look_the_same_where_that_was_ordered(engine):
    plain = order_of(engine, "tiny-rbm", n=500, values="sample", **SHORT)
    unique = order_of(engine, "tiny-rbm", n=500, values="sample", unique=True, **SHORT)
    with_copies, without = await chunk_of(engine, plain), await chunk_of(engine, unique)
    assert len(set(hashes_of(with_copies.images))) < 500
    assert len(set(hashes_of(without.images))) == len(without) == 500
    assert without.duplicates > 0


async def test_banned_rows_are_replaced(engine):
    order = order_of(engine, "tiny-gan", n=100, unique=True)
    rows = await chunk_of(engine, order)
    banned = frozenset(rows.hashes[:10])
    again = await chunk_of(engine, order, banned=banned)
    assert not banned & set(again.hashes)
    assert again.images[10:].tobytes() == rows.images[10:].tobytes()


async def test_a_call_that_fails_stops_the_others(engine):
    order = order_of(engine, "tiny-gan", n=1000)
    left = []

    async def fail_later(reference, query):
        if query.seed == order.seed:
            await asyncio.sleep(0)
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        finally:
            left.append(query.seed)

    with pytest.raises(ZeroDivisionError):
        await make_chunk(fail_later, order, 0, limit=asyncio.Semaphore(4))
    assert len(left) == 4
