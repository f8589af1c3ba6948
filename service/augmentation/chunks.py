"""One chunk of an order: a pure function of (order, chunk index), given models that are functions.

slots ──round: a draw an empty slot──► sample ──► judged ──► merged in slot order ──► the next round

Calls of a round may run in any order and side by side; what comes of them is merged by slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from service.augmentation.duplicates import Hash, hashes_of
from service.augmentation.order import Order
from service.augmentation.plan import (
    BLOCK_ROWS,
    MAX_ROUNDS,
    draws_of,
    labels_of,
    seed_of,
    slots_of,
)
from service.contract import TableData
from service.queries import (
    Cells,
    Classified,
    Classify,
    Images,
    Query,
    Result,
    Sample,
    Sampled,
    Score,
    Scored,
)

Ask = Callable[[str, Query], Awaitable[Result]]  # (name@version, query) → its answer


@dataclass(frozen=True)
class ChunkRows:
    """Rows that a chunk delivers, in slot order, and what it took to get them.

    `images` float32 [m, C, H, W]; row i is row `rows[i]` of `sample` with `seeds[i]` and its label.
    Of a table they are cells, float64 [m, columns], and `table` says what they mean.
    """

    chunk: int
    images: Images | Cells
    labels: Int64[np.ndarray, " m"] | None
    seeds: Int64[np.ndarray, " m"]
    rows: Int64[np.ndarray, " m"]
    asked: int
    drawn: int
    rejected: int
    duplicates: int
    hashes: tuple[Hash, ...] = ()
    table: TableData | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Draws:
    """One call of `sample`: its rows, the slots that they are for, and which of them may stay."""

    slots: Int64[np.ndarray, " draws"]
    seed: int
    images: Images | Cells
    accepted: NDArray[np.bool_]
    hashes: list[Hash] | None
    table: TableData | None = None


@dataclass
class _Filling:
    """A chunk while it is filled: places by slot, the rest counted."""

    places: int
    banned: frozenset[Hash]
    images: Images | Cells | None = None
    table: TableData | None = None
    drawn: int = 0
    rejected: int = 0
    duplicates: int = 0
    seen: set[Hash] = field(default_factory=set)
    hashes: dict[int, Hash] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.full = np.zeros(self.places, np.bool_)
        self.seeds = np.zeros(self.places, np.int64)
        self.rows = np.zeros(self.places, np.int64)

    def merge(self, draws: _Draws) -> None:
        """Put each accepted draw into its slot, unless an earlier one took it."""
        if self.images is None:
            self.images = np.zeros((self.places, *draws.images.shape[1:]), draws.images.dtype)
            self.table = draws.table
        self.drawn += len(draws.slots)
        self.rejected += int((~draws.accepted).sum())
        rows = np.flatnonzero(draws.accepted & ~self.full[draws.slots])
        if draws.hashes is None:
            _, first = np.unique(draws.slots[rows], return_index=True)
            rows = rows[first]
        else:
            rows = np.array(list(self._first_of_their_look(draws, rows)), np.intp)
        slots = draws.slots[rows]
        self.full[slots] = True
        self.images[slots] = draws.images[rows]
        self.seeds[slots], self.rows[slots] = draws.seed, rows

    def _first_of_their_look(self, draws: _Draws, rows: NDArray[np.intp]) -> Iterator[int]:
        """Rows whose slot and whose pixels nobody has yet, in their order."""
        assert draws.hashes is not None
        taken: set[int] = set()
        for row in rows.tolist():
            slot = int(draws.slots[row])
            if slot not in taken and not self._repeats(slot, draws.hashes[row]):
                taken.add(slot)
                yield row

    def _repeats(self, slot: int, found: Hash) -> bool:
        if found in self.seen or found in self.banned:
            self.duplicates += 1
            return True
        self.seen.add(found)
        self.hashes[slot] = found
        return False


async def make_chunk(
    ask: Ask,
    order: Order,
    chunk: int,
    *,
    banned: frozenset[Hash] = frozenset(),
    limit: asyncio.Semaphore | None = None,
) -> ChunkRows:
    """The rows of one chunk; fewer than its slots if its draws were used up.

    Args:
        ask: puts a query to a model, by `name@version`.
        order: what is ordered.
        chunk: which chunk, from 0.
        banned: hashes that rows of other chunks have, for orders without duplicates.
        limit: how many calls may be under way at a time, over all chunks that share it.
    """
    slots = slots_of(order, chunk)
    labels = labels_of(order, slots)
    filling = _Filling(len(slots), banned)
    limit = limit or asyncio.Semaphore(1)
    empty = np.arange(len(slots), dtype=np.int64)
    round_ = 0
    while len(empty) and round_ < MAX_ROUNDS and _may_draw(order, filling):
        wanted = draws_of(empty, round_=round_, places=len(slots))
        calls = [
            _draw(ask, order, part, labels, limit,
                  seed=seed_of(order, chunk=chunk, block=block, round_=round_))
            for block, part in enumerate(_blocks(wanted))
        ]  # fmt: skip
        await _merge_in_order(calls, filling)
        empty = np.flatnonzero(~filling.full).astype(np.int64)
        round_ += 1
    return _delivered(order, chunk, filling, labels)


def _may_draw(order: Order, filling: _Filling) -> bool:
    """Whether draws are left: `max_draws` a row asked for, spent where they are needed."""
    selective = order.accept.any or order.unique
    return filling.drawn < (order.accept.max_draws if selective else 1) * filling.places


def _blocks(draws: Int64[np.ndarray, " draws"]) -> list[Int64[np.ndarray, " rows"]]:
    return [draws[at : at + BLOCK_ROWS] for at in range(0, len(draws), BLOCK_ROWS)]


async def _merge_in_order(
    calls: Iterable[Coroutine[None, None, _Draws]], filling: _Filling
) -> None:
    """Run all calls side by side, and merge them in their order; if one fails, stop the others."""
    tasks = deque(asyncio.create_task(call) for call in calls)
    try:
        while tasks:
            await tasks[0]
            filling.merge(tasks.popleft().result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _draw(
    ask: Ask,
    order: Order,
    slots: Int64[np.ndarray, " draws"],
    labels: Int64[np.ndarray, " places"] | None,
    limit: asyncio.Semaphore,
    *,
    seed: int,
) -> _Draws:
    wanted = None if labels is None else labels[slots]
    query = Sample(
        n=len(slots),
        seed=seed,
        labels=None if wanted is None else tuple(wanted.tolist()),
        truncation=order.truncation,
        temperature=order.temperature,
        burn_in=order.burn_in,
        values=order.values,
    )
    async with limit:
        result = await ask(order.model, query)
        assert isinstance(result, Sampled)
        accepted = await judge(ask, order, result.samples, wanted)
        hashes = await asyncio.to_thread(hashes_of, result.samples) if order.unique else None
    return _Draws(slots, seed, result.samples, accepted, hashes, result.table)


async def judge(
    ask: Ask, order: Order, images: Images, labels: Int64[np.ndarray, " n"] | None
) -> NDArray[np.bool_]:
    """Which draws the order's acceptance rule keeps."""
    rule = order.accept
    accepted = np.ones(len(images), np.bool_)
    if rule.max_p_value_rejected is not None:
        scored = await ask(order.model, Score(images=images, method=rule.method))
        assert isinstance(scored, Scored)
        assert scored.p_values is not None, "resolving an order asks for a calibration"
        accepted &= scored.p_values > rule.max_p_value_rejected
    if rule.judge is not None:
        classified = await ask(rule.judge, Classify(images=images))
        assert isinstance(classified, Classified)
        assert labels is not None
        assert order.labels is not None, "resolving an order asks for labels"
        found = classified.probabilities.argmax(axis=1)
        agreed = [
            classified.labels[f] == order.labels[k] for f, k in zip(found, labels, strict=True)
        ]
        accepted &= np.array(agreed, np.bool_)
    return accepted


def _delivered(
    order: Order,
    chunk: int,
    filling: _Filling,
    labels: Int64[np.ndarray, " places"] | None,
) -> ChunkRows:
    kept = np.flatnonzero(filling.full)
    assert filling.images is not None, "a chunk has at least one round"
    whole = len(kept) == filling.places
    images: Images | Cells = filling.images if whole else filling.images[kept]
    return ChunkRows(
        chunk=chunk,
        images=images,
        labels=None if labels is None else labels[kept],
        seeds=filling.seeds[kept],
        rows=filling.rows[kept],
        asked=filling.places,
        drawn=filling.drawn,
        rejected=filling.rejected,
        duplicates=filling.duplicates,
        hashes=tuple(filling.hashes[slot] for slot in kept.tolist()) if order.unique else (),
        table=filling.table,
    )
