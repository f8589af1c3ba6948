"""The report of a table: columns and pairs, detection, utility, copies, and an attack.

Table, Real ──► as many rows a side ──► sections ──► Report
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from service.errors import InvalidInput
from service.reports.attack import membership_attack
from service.reports.copies import Side, copy_checks
from service.reports.figures import Missing, Report, Section
from service.reports.learners import LearnersMissing
from service.reports.reading import BOOKKEEPING
from service.reports.remembered import afresh, within
from service.reports.rows import Labels, Real, Table, chosen
from service.reports.table_columns import Columns, Scale, columns_of, keys
from service.reports.table_fidelity import (
    column_charts,
    column_grid,
    detection,
    shapes,
    similarity_figures,
    trends,
    worst_pairs,
)
from service.reports.utility import Labelled, by_class, outcome, utility_figures
from service.reports.words import ATTACK_NOTE, COPIES_NOTE, QUESTIONS, About, privacy_note

TARGETS = ("label", "class", "target")
MOST_CLASSES = 30
DISTANCE = "ranks and categories"


@dataclass(frozen=True)
class _Sides:
    """What is compared."""

    synthetic: Table
    held_out: Table
    real: Real[Table]
    columns: Columns
    scale: Scale


def table_report(
    synthetic: Table, real: Real[Table], about: About, *, target: str | None = None
) -> Report:
    """The whole report.

    Args:
        synthetic: rows in question.
        real: real rows of the same columns.
        about: what is compared.
        target: the column whose classes the utility is about; by default `label`, `class` or
            `target`, if there is one.

    Raises:
        InvalidInput: the tables have no column in common, or the target is none.
    """
    n = min(len(synthetic), len(real.held_out))
    ours = synthetic.take(chosen(len(synthetic), n, seed=about.seed))
    theirs = real.held_out.take(slice(n))
    parts = (real.train, theirs, real.test, real.copied_from)
    columns = columns_of(ours, parts, ignored=BOOKKEEPING)
    whole = n == len(real.held_out)  # what is remembered is of all of them, in these columns
    real = replace(real, recall=within(real.recall, columns, target) if whole else afresh)
    sides = _Sides(ours, theirs, real, columns, Scale(columns, real.train))
    return Report(
        title=about.title,
        kind="table",
        about=about.told(n, real),
        sections=[
            _fidelity(sides),
            _utility(sides, _target(columns, target)),
            _copies(sides),
            _attack(sides),
        ],
    )


def _fidelity(sides: _Sides) -> Section:
    columns, train = sides.columns, sides.real.train
    both = (sides.synthetic, sides.held_out)
    ours, theirs = ((shapes(s, train, columns), trends(s, train, columns)) for s in both)
    figures = similarity_figures(ours, theirs)
    missing = [Missing(what=f"column {n}", why=why) for n, why in columns.left_out.items()]
    features = sides.scale.features
    try:
        figures.append(
            detection(
                synthetic=features(sides.synthetic),
                held_out=features(sides.held_out),
                train=features(train),
            )
        )
    except LearnersMissing as error:
        missing.append(Missing(what="detection", why=str(error)))
    return Section(
        id="fidelity",
        title="Fidelity",
        question=QUESTIONS["fidelity"],
        figures=figures,
        grids=[column_grid(ours[0], theirs[0], both, columns), worst_pairs(ours[1], theirs[1])],
        charts=column_charts(*both, columns),
        missing=missing,
    )


def _target(columns: Columns, asked: str | None) -> str | None:
    """The column of classes.

    Raises:
        InvalidInput: the one that was asked for is not there.
    """
    if asked is None:
        return next((name for name in TARGETS if name in columns.names), None)
    if asked not in columns.names:
        raise InvalidInput(f"--target {asked!r} is no column; there are {', '.join(columns.names)}")
    return asked


def _utility(sides: _Sides, target: str | None) -> Section:
    if target is None:
        return _without("no column of classes is named: give one with --target")
    real = sides.real
    tables = (sides.synthetic, sides.held_out, real.train, real.test)
    classes = [_classes(table, target) for table in tables]
    names = sorted({*classes[2], *classes[3]})
    if not 2 <= len(names) <= MOST_CLASSES:
        return _without(
            f"column {target!r} has {len(names):,} classes, not 2 to {MOST_CLASSES}: name another "
            "with --target"
        )
    scale = Scale(sides.columns, real.train, skipped=(target,))
    ours, theirs, train, test = (
        Labelled(scale.features(table), y) for table, y in zip(tables, classes, strict=True)
    )
    try:
        found = outcome(
            synthetic=ours,
            held_out=theirs,
            real=train,
            test=test,
            kind="table",
            recall=real.recall,
        )
    except LearnersMissing as error:
        return _without(str(error))
    return Section(
        id="utility",
        title=f"Utility: telling {target}",
        question=QUESTIONS["utility"],
        figures=utility_figures(found, kind="table", added=len(ours.y), classes=names),
        grids=[by_class(found, classes=names)],
    )


def _classes(table: Table, target: str) -> Labels:
    """The classes as text; a missing one is a class of its own."""
    column = table.columns[target]
    if column.numeric:
        return np.array(["missing" if np.isnan(v) else f"{v:g}" for v in column.values], object)
    return np.array(["missing" if v is None else v for v in column.values], object)


def _copies(sides: _Sides) -> Section:
    real, points = sides.real, sides.scale.points

    def side(table: Table) -> Side:
        return Side(points=points(table), keys=keys(table, sides.columns))

    found = copy_checks(
        synthetic=side(sides.synthetic),
        held_out=side(sides.held_out),
        training=side(real.copied_from),
        twins=points(real.train),
        recall=real.recall,
    )
    return Section(
        id="copies",
        title="Copies",
        question=QUESTIONS["copies"],
        figures=found.figures,
        charts=[found.chart],
        note=privacy_note(COPIES_NOTE, real),
    )


def _attack(sides: _Sides) -> Section:
    real, points = sides.real, sides.scale.points
    n = min(len(real.train), len(sides.held_out))
    figure, chart = membership_attack(
        members=points(real.train)[:n],
        others=points(sides.held_out)[:n],
        synthetic=points(sides.synthetic),
        unrelated=points(real.test),
        space=DISTANCE,
        id_="attack.distance",
        recall=real.recall,
    )
    return Section(
        id="attack",
        title="Membership inference",
        question=QUESTIONS["attack"],
        figures=[figure],
        charts=[chart],
        note=privacy_note(ATTACK_NOTE, real),
    )


def _without(why: str) -> Section:
    return Section(
        id="utility",
        title="Utility",
        question=QUESTIONS["utility"],
        missing=[Missing(what="utility", why=why)],
    )
