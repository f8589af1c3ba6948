"""Rows ↔ what networks read and write: exact both ways, within range, and row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.contract import Marginal, Mode, NumericColumn, TableData
from service.domain.rows import TableCodec, choose, columns_of, rows_of
from tests.tables import COLUMNS, DATA

CODEC = TableCodec(DATA)
NAN = float("nan")


@st.composite
def cells(draw) -> np.ndarray:
    """Rows that the table can hold: within range, with its decimals, nulls where allowed."""
    n = draw(st.integers(1, 8))
    return np.array(
        [
            [
                draw(st.one_of(st.integers(0, 100), st.just(NAN))),
                draw(st.integers(-40, 40)) / 10,
                draw(st.integers(1, 3)),
                draw(st.integers(0, 2)),
                draw(st.sampled_from([0, 1, NAN])),
            ]
            for _ in range(n)
        ],
        np.float64,
    )


@given(cells())
def test_encoding_and_decoding_gives_the_same_cells(rows):
    np.testing.assert_array_equal(CODEC.decode(CODEC.encode(rows)), rows)


@given(arrays(np.float32, (5, DATA.width), elements=st.floats(-50, 50, width=32)))
def test_whatever_a_network_writes_is_a_row_that_the_table_can_hold(written):
    for row in rows_of(DATA, CODEC.decode(written)):
        assert row["size"] is None or (0 <= row["size"] <= 100 and type(row["size"]) is int)
        assert -4 <= row["weight"] <= 4
        assert round(row["weight"], 1) == row["weight"]
        assert row["grade"] in {1, 2, 3}
        assert row["kind"] in {"cat", "dog", "owl"}
        assert row["home"] in {"barn, old", "tree", None}


@given(arrays(np.float32, (6, DATA.width), elements=st.floats(-50, 50, width=32)))
def test_a_row_decodes_the_same_alone_and_in_company(written):
    together = CODEC.decode(written)
    alone = np.concatenate([CODEC.decode(row[None]) for row in written])
    assert together.tobytes() == alone.tobytes()


def test_full_rows_have_no_nulls():
    nothing = np.zeros((2, DATA.width), np.float32)
    for block in CODEC.blocks:
        nothing[:, block.choices.stop - 1] = 1.0  # null, where there is one
    drawn = CODEC.decode(nothing, full=np.array([False, True]))
    assert np.isnan(drawn[0]).tolist() == [True, False, False, False, True]
    assert not np.isnan(drawn[1]).any()


def test_what_is_not_known_is_encoded_as_zeros():
    known = np.array([[True, False, False, True, False]])
    encoded = CODEC.encode(np.array([[0.0, 1.0, 2.0, 2.0, NAN]]), known)
    shown = [encoded[0, b.start : b.start + b.column.width].tolist() for b in CODEC.blocks]
    assert shown == [[0, 1, 0, 0, 0], [0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_number_that_comes_often_has_a_choice_of_its_own():
    size = DATA.columns[0]
    assert choose(size, np.array([0.0, 1.0, 90.0, NAN])).tolist() == [0, 1, 2, 3]


def test_a_value_belongs_to_its_most_probable_mode_among_those_that_reach_it():
    column = NumericColumn(
        name="x", minimum=-100, maximum=100,
        modes=(Mode(mean=0, std=1, weight=0.5), Mode(mean=4, std=10, weight=0.5)),
    )  # fmt: skip
    assert choose(column, np.array([0.0, 3.9, 4.1, 60.0])).tolist() == [0, 1, 1, 1]


def test_minus_zero_is_zero():
    written = np.zeros((1, DATA.width), np.float32)
    written[0, CODEC.blocks[1].start] = -0.001
    decoded = CODEC.decode(written)
    assert not np.signbit(decoded[0, 1])


def test_a_matched_marginal_bends_what_modes_write_and_nothing_else():
    marginal = Marginal(written=(-4.0, 4.0), wanted=(0.0, 2.0))
    column = DATA.columns[1].model_copy(update={"marginal": marginal})
    data = TableData(columns=(column,))
    decoded = TableCodec(data).decode(np.array([[-1, 1], [0, 1], [1, 1]], np.float32))
    assert decoded[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_plain_values_have_the_types_of_their_columns():
    rows = np.array([[NAN, 1.5, 2, 1, NAN], [7, -2.0, 3, 0, 1]])
    assert columns_of(DATA, rows) == {
        "size": [None, 7], "weight": [1.5, -2.0], "grade": [2, 3], "kind": ["dog", "cat"],
        "home": [None, "tree"],
    }  # fmt: skip
    assert rows_of(DATA, rows)[1] == dict(zip(COLUMNS, [7, -2.0, 3, "cat", "tree"], strict=True))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"modes": (), "values": ()}, "neither 'modes' nor 'values'"),
        ({"minimum": 5.0}, "minimum 5.0 > 4.0"),
        ({"integer": True}, "is integer and has decimals"),
        ({"values": (9.0,)}, "values outside its range"),
    ],
)
def test_a_column_that_cannot_be_written_is_refused(wrong, words):
    fields = DATA.columns[1].model_dump() | wrong
    with pytest.raises(ValueError, match=words):
        NumericColumn(**fields)


def test_a_table_with_two_columns_of_one_name_is_refused():
    with pytest.raises(ValueError, match="two columns have the same name"):
        TableData(columns=(DATA.columns[3], DATA.columns[3]))
    with pytest.raises(ValueError, match="no categorical column"):
        TableData(columns=DATA.columns, label_column="weight")
