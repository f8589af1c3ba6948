"""The plan: every row once, labels as ordered, no seed twice, whatever the sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.augmentation.order import Acceptance, from_document
from service.augmentation.plan import (
    BLOCK_ROWS,
    MAX_ROUNDS,
    MAX_ROWS,
    draws_of,
    labels_of,
    seed_of,
    slots_of,
)
from tests.augmentation.orders import plain

COUNTS = st.lists(st.integers(0, 400), min_size=1, max_size=12).filter(any)


@given(n=st.integers(1, 5000), chunk_rows=st.integers(1, 700))
def test_chunks_are_a_partition_of_the_rows(n, chunk_rows):
    order = plain(n=n, chunk_rows=chunk_rows)
    slots = [slot for chunk in range(order.chunks) for slot in slots_of(order, chunk)]
    assert slots == list(range(n))


@given(counts=COUNTS, chunk_rows=st.integers(1, 300))
def test_every_label_is_there_as_often_as_it_was_ordered(counts, chunk_rows):
    order = plain(
        n=sum(counts), chunk_rows=chunk_rows, counts=tuple(counts),
        labels=tuple(map(str, range(len(counts)))),
    )  # fmt: skip
    labels = np.concatenate([labels_of(order, slots_of(order, c)) for c in range(order.chunks)])
    assert Counter(labels.tolist()) == Counter({k: c for k, c in enumerate(counts) if c})


@given(counts=COUNTS, data=st.data())
def test_a_slot_has_the_same_label_in_any_chunk(counts, data):
    n = sum(counts)
    order = plain(n=n, counts=tuple(counts), labels=tuple(map(str, range(len(counts)))))
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    whole = labels_of(order, range(n))
    assert labels_of(order, range(start, stop)).tolist() == whole[start:stop].tolist()


@given(counts=st.lists(st.integers(1, 200), min_size=2, max_size=8), share=st.floats(0, 1))
def test_every_prefix_has_about_the_proportions_of_the_order(counts, share):
    order = plain(n=sum(counts), counts=tuple(counts), labels=tuple(map(str, range(len(counts)))))
    prefix = int(share * order.n)
    found = np.bincount(labels_of(order, range(order.n))[:prefix], minlength=len(counts))
    assert np.abs(found - prefix * np.array(counts) / order.n).max() <= len(counts)


def test_labels_of_the_largest_order_fit_into_whole_numbers():
    order = plain(n=MAX_ROWS, counts=(MAX_ROWS - 3, 3), labels=("a", "b"), chunk_rows=65536)
    last = labels_of(order, slots_of(order, order.chunks - 1))
    middle = labels_of(order, range(order.n // 2 - 5, order.n // 2 + 5))
    assert len(last) == order.n - (order.chunks - 1) * 65536
    assert middle.sum() == 1


@given(seed=st.integers(0, 2**53 - 1), chunk_rows=st.integers(1, 1000), chunks=st.integers(1, 9))
def test_no_seed_is_used_twice_in_an_order(seed, chunk_rows, chunks):
    order = plain(seed=seed, n=chunk_rows * chunks, chunk_rows=chunk_rows)
    blocks = -(-chunk_rows // BLOCK_ROWS)
    seeds = [
        seed_of(order, chunk=c, block=b, round_=r)
        for c in range(chunks)
        for b in range(blocks)
        for r in (0, 1, MAX_ROUNDS - 1)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**53 for s in seeds)
    assert seeds[0] == seed


def test_seeds_of_orders_with_neighbouring_seeds_are_apart():
    seeds = {
        seed_of(plain(seed=s, n=64_000, chunk_rows=640), chunk=c, block=b, round_=0)
        for s in range(20)
        for c in range(100)
        for b in range(10)
    }
    assert len(seeds) == 20_000


@given(
    empty=st.lists(st.integers(0, 99), min_size=1, max_size=100, unique=True),
    round_=st.integers(0, 40),
)
def test_a_round_draws_for_every_empty_slot_and_no_more_than_the_chunk_holds(empty, round_):
    slots = np.array(sorted(empty), np.int64)
    draws = draws_of(slots, round_=round_, places=100)
    assert set(draws.tolist()) == set(empty)
    assert len(draws) <= 100
    assert len(draws) == min(100, len(empty) * 2 ** max(round_ - 1, 0))


def test_an_order_reads_back_as_it_was_written():
    order = plain(counts=(60, 40), labels=("a", "b"), accept=Acceptance(judge="j@1", max_draws=5))
    assert from_document(order.document()) == order
    assert from_document(order.document()).fingerprint == order.fingerprint
    with pytest.raises(ValueError, match="not known: colour"):
        from_document({**order.document(), "colour": 1})
