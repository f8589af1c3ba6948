"""How long calls take, and how many batch rows ride in one while others may come."""

import math

import pytest

from service.pacing import BESIDE_S, LATELY_CALLS, Pace


def pace_of(**calls: float) -> Pace:
    """A pace that has seen one call a size: `rows8=0.002`."""
    made = Pace()
    for rows, seconds in calls.items():
        made.note(int(rows.removeprefix("rows")), seconds)
    return made


def test_a_call_is_expected_to_take_the_least_of_the_last_few():
    pace = pace_of(rows1=0.1)
    for seconds in (0.5, 0.3, 0.4, 0.9):
        pace.note(1, seconds)
    assert LATELY_CALLS == 4
    assert pace.expected_s(1) == 0.3
    assert pace.expected_s(2) == math.inf


@pytest.mark.parametrize("share", [1, 2, 4, 8])
def test_rows_beside_others_take_no_longer_than_a_call_that_is_made_at_once(share):
    pace = pace_of(rows1=BESIDE_S / share)
    assert pace.rows_beside(64) == share, "a size that was not tried takes twice as long as half"


def test_more_rows_than_a_call_may_hold_are_never_taken():
    assert pace_of(rows1=1e-6).rows_beside(8) == 8


def test_what_was_tried_counts_more_than_what_is_guessed():
    assert pace_of(rows1=BESIDE_S / 2, rows4=BESIDE_S * 0.9).rows_beside(64) == 4


def test_where_many_rows_take_hardly_longer_than_one_they_share_a_call():
    assert pace_of(rows1=0.002, rows64=0.0024).rows_beside(64) == 64
    assert pace_of(rows1=0.002, rows64=0.0026).rows_beside(64) == 1


def test_before_any_call_of_one_row_batch_rows_come_one_by_one():
    assert Pace().rows_beside(64) == 1
    assert pace_of(rows64=0.0001).rows_beside(64) == 1
