"""Reports of tables: likeness, detection, utility, copies, with missing values on the way."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidInput
from service.reports.rows import Column, Table, split, split_beside
from service.reports.table_columns import columns_of
from service.reports.table_report import table_report
from tests.reports.data import ABOUT, table

TRAIN = table(300, seed=1)
REAL = split_beside(TRAIN, table(450, seed=2), limit=300, seed=0, source="a table")


def figures(report) -> dict:
    return {f.id: f for s in report.sections for f in s.figures}


def changed(rows: Table, **columns) -> Table:
    return Table({**rows.columns, **{name: Column(values) for name, values in columns.items()}})


def test_new_rows_of_the_same_table_stand_out_in_nothing():
    report = table_report(table(300, seed=3), REAL, ABOUT)
    found = figures(report)
    assert report.notices == []
    assert found["fidelity.column_shapes"].value > 0.9
    assert found["fidelity.detection"].value < 0.65
    assert found["utility.tstr"].value > 0.85
    assert [m.what for m in report.missing] == []


def test_columns_that_no_longer_go_together_show_in_the_pairs_and_not_in_the_shapes():
    rows = table(300, seed=3)
    y = np.random.default_rng(0).permutation(rows.columns["y"].values)
    found = figures(table_report(changed(rows, y=y), REAL, ABOUT))
    assert found["fidelity.column_shapes"].value > 0.9
    assert found["fidelity.pair_trends"].value < found["fidelity.pair_trends"].real - 0.05


def test_a_shifted_column_is_detected():
    rows = table(300, seed=3)
    report = table_report(changed(rows, x=rows.columns["x"].values + 5), REAL, ABOUT)
    found = figures(report)
    assert found["fidelity.detection"].value > 0.95
    assert "tells these rows from real ones" in found["fidelity.detection"].notice
    worst = next(s for s in report.sections if s.id == "fidelity").grids[0].rows[0]
    assert worst[0] == "x"
    assert worst[2] < 0.1


def test_copied_rows_light_up_in_a_table_too():
    copies = Table(
        {
            name: Column(np.concatenate([c.values[:150], table(150, seed=3).columns[name].values]))
            for name, c in TRAIN.columns.items()
        }
    )
    found = figures(table_report(copies, REAL, ABOUT))
    assert found["copies.exact"].value == 0.5
    assert found["attack.distance"].interval[0] > 0.6


def test_a_class_that_is_missing_shows_by_class():
    rows = table(600, seed=3)
    low = rows.take(np.flatnonzero(rows.columns["label"].values == "low"))
    report = table_report(low, REAL, ABOUT)
    grid = next(s for s in report.sections if s.id == "utility").grids[0]
    assert next(row for row in grid.rows if row[0] == "high")[2] == 0.0


def test_without_classes_the_utility_is_said_to_be_missing_and_a_wrong_target_is_refused():
    plain = Table({"x": TRAIN.columns["x"], "y": TRAIN.columns["y"]})
    real = split(plain, limit=100, seed=0, source="t")
    report = table_report(plain, real, ABOUT)
    assert any("--target" in m.why for m in report.missing)
    with pytest.raises(InvalidInput, match="is no column; there are x, y"):
        table_report(plain, real, ABOUT, target="z")


def test_columns_that_cannot_be_compared_are_told_of():
    n = len(TRAIN)
    names = np.array([f"person {i}" for i in range(n)], object)
    mine = changed(TRAIN, name=names, void=np.full(n, np.nan))
    found = columns_of(mine, [mine], ignored=())
    assert "300 different texts" in found.left_out["name"]
    assert "empty" in found.left_out["void"]
    assert "name" not in found.names
    with pytest.raises(InvalidInput, match="holds numbers in the real rows"):
        columns_of(changed(TRAIN, x=TRAIN.columns["town"].values), [TRAIN], ignored=())
    with pytest.raises(InvalidInput, match="no column is in both"):
        columns_of(Table({"q": TRAIN.columns["x"]}), [TRAIN], ignored=())


def test_too_few_real_rows_are_refused():
    with pytest.raises(InvalidInput, match="give more real rows"):
        split(table(60, seed=0), limit=100, seed=0, source="t")
