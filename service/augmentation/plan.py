"""The plan of an order: chunk index → slots, labels and seeds, in whole numbers alone.

(n, chunk_rows) ──► slots of a chunk ──(counts)──► a label a slot
(order's seed, block, round) ──► the seed of one call of `sample`, whose rows begin at 0
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from service.augmentation.order import Order
from service.domain.randomness import SEED_LIMIT

BLOCK_ROWS = 64  # rows of one call of `sample`; part of what an order means
MAX_ROUNDS = 4096  # rounds of draws a chunk
MAX_ROWS = 2_000_000_000  # of one order: twice its square must fit into 63 bits
_STRIDE = 0x13C6EF372FE94F  # odd, near 2⁵³·0.618: neighbours among seeds stay far apart


def slots_of(order: Order, chunk: int) -> range:
    """The places [0, n) of an order that its chunk fills."""
    assert 0 <= chunk < order.chunks, f"chunk {chunk} of {order.chunks}"
    start = chunk * order.chunk_rows
    return range(start, min(start + order.chunk_rows, order.n))


def seed_of(order: Order, *, chunk: int, block: int, round_: int) -> int:
    """The seed of a block's draws in a round: s + (4096·b + round)·K mod 2⁵³.

    K is odd, so no two (block, round) of an order share a seed; (0, 0) has the order's own.
    """
    assert 0 <= round_ < MAX_ROUNDS
    blocks = -(-order.chunk_rows // BLOCK_ROWS)
    assert 0 <= block < blocks
    step = (chunk * blocks + block) * MAX_ROUNDS + round_
    assert step < SEED_LIMIT, "an order has fewer than 2⁴¹ blocks"
    return (order.seed + step * _STRIDE) % SEED_LIMIT


def labels_of(order: Order, slots: range) -> Int64[np.ndarray, " slots"] | None:
    """The class index of each slot, interleaved: every stretch has about the order's proportions.

    Class k's j-th row lies at position ⌊(2j + 1)·n / 2c_k⌋; slots are filled by position, then by
    class. None for a model without labels.
    """
    if order.counts is None:
        return None
    n, classes = order.n, len(order.counts)
    first, last = max(slots.start - classes, 0), min(slots.stop + classes, n)
    label_parts, position_parts = [], []
    skipped = 0
    for k, count in enumerate(order.counts):
        low, high = _rows_before(first, count, n), _rows_before(last, count, n)
        skipped += low
        j = np.arange(low, high, dtype=np.int64)
        position_parts.append((2 * j + 1) * n // (2 * max(count, 1)))
        label_parts.append(np.full(high - low, k, np.int64))
    labels, positions = np.concatenate(label_parts), np.concatenate(position_parts)
    sorted_labels = labels[np.lexsort((labels, positions))]
    begin = slots.start - skipped
    found: Int64[np.ndarray, " slots"] = sorted_labels[begin : begin + len(slots)]
    assert len(found) == len(slots), "positions lie within a class of their slots"
    return found


def _rows_before(position: int, count: int, n: int) -> int:
    """How many of a class's `count` rows lie before a position: #{j : (2j + 1)·n < 2·count·x}."""
    return 0 if position <= 0 else min((2 * count * position + n - 1) // (2 * n), count)


def draws_of(
    empty: Int64[np.ndarray, " empty"], *, round_: int, places: int
) -> Int64[np.ndarray, " draws"]:
    """Which empty slot each draw of a round is for: all of them in turn, 2^(round − 1) times each.

    A chunk's round draws no more than the chunk has `places`.
    """
    times = 1 << min(max(round_ - 1, 0), 32)
    count = min(len(empty) * times, max(places, len(empty)))
    return np.resize(empty, count)
