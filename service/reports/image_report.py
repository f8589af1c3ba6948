"""The report of images: fidelity, utility, copies, and an attack.

Images, Real | None, Judge | None ──► as many rows a side ──► sections ──► Report
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from service.reports.attack import membership_attack
from service.reports.copies import Side, copy_checks
from service.reports.figures import Figure, Missing, Report, Section
from service.reports.image_fidelity import (
    Classes,
    Clouds,
    agreement,
    class_figures,
    fidelity_figures,
)
from service.reports.image_fidelity import by_class as fidelity_by_class
from service.reports.judging import Judge, PixelJudge, Seen
from service.reports.learners import LearnersMissing, classes_of
from service.reports.remembered import Arrays, afresh
from service.reports.rows import Images, Labels, Real, chosen
from service.reports.sheets import pairs, sample_sheets
from service.reports.utility import Labelled, by_class, outcome, utility_figures
from service.reports.words import ATTACK_NOTE, COPIES_NOTE, QUESTIONS, About, privacy_note

PIXELS = "pixels"
FEATURES = "features"


@dataclass(frozen=True)
class _Sides:
    """What is compared, and what the judge sees in it.

    `seen` has the classes of the synthetic rows and of the hold-out, by whoever can tell them.
    """

    synthetic: Images
    held_out: Images
    real: Real[Images]
    judge: Judge
    views: tuple[Seen, Seen, Seen]
    seen: tuple[Labels, Labels] | None
    teller: str

    @property
    def labels(self) -> Labels | None:
        """The classes of the synthetic rows: their labels, else those that are seen."""
        if self.synthetic.labels is not None:
            return self.synthetic.labels
        return None if self.seen is None else self.seen[0]


def image_report(
    synthetic: Images, real: Real[Images] | None, judge: Judge | None, about: About
) -> Report:
    """The whole report; without real rows, what can be said without them."""
    if real is None:
        return _alone(synthetic, judge, about)
    sides = _compared(synthetic, real, judge, seed=about.seed)
    return Report(
        title=about.title,
        kind="images",
        about=about.told(len(sides.synthetic), real, features=sides.judge.title),
        sections=[_fidelity(sides), _utility(sides), _copies(sides), _attack(sides)],
    )


def _compared(synthetic: Images, real: Real[Images], judge: Judge | None, *, seed: int) -> _Sides:
    """As many rows on both sides, and what is seen in them."""
    n = min(len(synthetic), len(real.held_out))
    ours = synthetic.take(chosen(len(synthetic), n, seed=seed))
    theirs = real.held_out.take(slice(n))
    if n < len(real.held_out):  # what is remembered is of all of them
        real = replace(real, recall=afresh)
    eye = judge or PixelJudge(real.train)
    views = (
        eye.look(ours),
        _seen(eye, "held_out", theirs, real),
        _seen(eye, "train", real.train, real),
    )
    seen, teller = _told(views, ours, theirs, real)
    return _Sides(ours, theirs, real, eye, views, seen, teller)


def _seen(eye: Judge, name: str, images: Images, real: Real[Images]) -> Seen:
    """What the judge sees in real images, or saw for an earlier report."""

    def look() -> Arrays:
        seen = eye.look(images)
        known = {} if seen.classes is None else {"classes": seen.classes.astype(np.str_)}
        return {"features": seen.features, **known}

    found = real.recall(f"seen.{name}", look)
    return Seen(found["features"], found["classes"].astype(object) if "classes" in found else None)


def _told(
    views: tuple[Seen, Seen, Seen], ours: Images, theirs: Images, real: Real[Images]
) -> tuple[tuple[Labels, Labels] | None, str]:
    """The classes of both sides: the judge's, or those of a classifier of the training rows."""
    if views[0].classes is not None and views[1].classes is not None:
        return (views[0].classes, views[1].classes), "the judge"
    if real.train.labels is None:
        return None, ""
    both = np.concatenate([ours.flat, theirs.flat])
    try:
        told = classes_of(real.train.flat, real.train.labels, both, kind="images")
    except LearnersMissing:
        return None, ""
    return (told[: len(ours)], told[len(ours) :]), "a classifier of the training rows"


def _fidelity(sides: _Sides) -> Section:
    ours, theirs, train = sides.views
    clouds = Clouds(ours.features, theirs.features, train.features, sides.real.recall)
    figures = fidelity_figures(clouds)
    charts, grids, missing = [], [], []
    known = sides.real.train.labels if sides.real.train.labels is not None else train.classes
    if sides.seen is not None and known is not None:
        names = natural({*known, *sides.seen[0], *sides.seen[1]})
        found, chart = class_figures(Classes(names, *sides.seen, known))
        grid, lacking = fidelity_by_class(clouds, known, names)
        charts.append(chart)
        grids.append(grid)
        figures = [_noticed(f, lacking) if f.id == "fidelity.coverage" else f for f in figures]
        figures += found
    else:
        why = "the real rows have no labels, and no judge is given"
        missing.append(Missing(what="class histogram", why=why))
    if sides.synthetic.labels is not None and sides.seen is not None:
        figures.append(
            agreement(
                labels=sides.synthetic.labels,
                seen=sides.seen[0],
                real_labels=sides.held_out.labels,
                real_seen=sides.seen[1],
                teller=sides.teller,
            )
        )
    return Section(
        id="fidelity",
        title="Fidelity",
        question=QUESTIONS["fidelity"],
        figures=figures,
        charts=charts,
        grids=grids,
        pictures=sample_sheets(sides.synthetic, sides.held_out),
        missing=missing,
    )


def _noticed(figure: Figure, notice: str | None) -> Figure:
    """The figure with this word, unless it has one of its own."""
    return figure if figure.notice is not None else replace(figure, notice=notice)


def _utility(sides: _Sides) -> Section:
    real, labels = sides.real, sides.labels
    parts = (sides.held_out, real.train, real.test)
    if labels is None or any(part.labels is None for part in parts):
        why = "classes are not known: label the real rows, and the synthetic ones or give a judge"
        return _without("utility", "Utility", why)
    held_out, train, test = (Labelled(p.flat, p.labels) for p in parts if p.labels is not None)
    try:
        found = outcome(
            synthetic=Labelled(sides.synthetic.flat, labels),
            held_out=held_out,
            real=train,
            test=test,
            kind="images",
            recall=real.recall,
        )
    except LearnersMissing as error:
        return _without("utility", "Utility", str(error))
    names = natural({*train.y, *test.y})
    note = (
        ""
        if sides.synthetic.labels is not None
        else f"The synthetic rows have no labels: their classes are those that {sides.teller} sees."
    )
    return Section(
        id="utility",
        title="Utility",
        question=QUESTIONS["utility"],
        figures=utility_figures(found, kind="images", added=len(labels), classes=names),
        grids=[by_class(found, classes=names)],
        note=note,
    )


def _copies(sides: _Sides) -> Section:
    real = sides.real
    found = copy_checks(
        synthetic=_side(sides.synthetic),
        held_out=_side(sides.held_out),
        training=_side(real.copied_from),
        twins=real.train.flat,
        recall=real.recall,
    )
    return Section(
        id="copies",
        title="Copies",
        question=QUESTIONS["copies"],
        figures=found.figures,
        charts=[found.chart],
        pictures=[
            pairs(
                "copies.synthetic", "Synthetic, closest first", sides.synthetic, real.copied_from,
                found.synthetic,
            ),
            pairs(
                "copies.held_out", "Hold-out (real), closest first", sides.held_out,
                real.copied_from, found.held_out,
            ),
        ],
        note=privacy_note(COPIES_NOTE, real),
    )  # fmt: skip


def _attack(sides: _Sides) -> Section:
    real = sides.real
    n = min(len(real.train), len(sides.held_out))
    attacks = [
        membership_attack(
            members=real.train.flat[:n],
            others=sides.held_out.flat[:n],
            synthetic=sides.synthetic.flat,
            unrelated=real.test.flat,
            space=PIXELS,
            id_="attack.pixels",
            recall=real.recall,
        )
    ]
    if not isinstance(sides.judge, PixelJudge):  # whose features are pixels again
        ours, theirs, train = sides.views
        attacks.append(
            membership_attack(
                members=train.features[:n],
                others=theirs.features[:n],
                synthetic=ours.features,
                unrelated=_seen(sides.judge, "test", real.test, real).features,
                space=FEATURES,
                id_="attack.features",
                recall=real.recall,
            )
        )
    return Section(
        id="attack",
        title="Membership inference",
        question=QUESTIONS["attack"],
        figures=[figure for figure, _ in attacks],
        charts=[chart for _, chart in attacks],
        note=privacy_note(ATTACK_NOTE, real),
    )


def _alone(synthetic: Images, judge: Judge | None, about: About) -> Report:
    """What can be said of rows without any real ones."""
    seen = None if judge is None else judge.look(synthetic).classes
    classes = synthetic.labels if seen is None else seen
    charts = []
    if classes is not None:
        charts.append(class_figures(Classes(natural({*classes}), classes))[1])
    why = "no real rows to compare with: the model's package has no reference; use reverie report"
    lacking = ("Fréchet distance, precision, recall, density, coverage", "utility", "copies",
               "membership inference")  # fmt: skip
    section = Section(
        id="fidelity",
        title="Fidelity",
        question=QUESTIONS["fidelity"],
        charts=charts,
        pictures=sample_sheets(synthetic, None),
        missing=[Missing(what=what, why=why) for what in lacking],
    )
    return Report(
        title=about.title,
        kind="images",
        about=about.told(len(synthetic), None),
        sections=[section],
    )


def _without(id_: str, title: str, why: str) -> Section:
    return Section(
        id=id_, title=title, question=QUESTIONS[id_], missing=[Missing(what=id_, why=why)]
    )


def _side(images: Images) -> Side:
    return Side(points=images.flat, keys=[row.tobytes() for row in images.pixels])


def natural(names: set[str]) -> list[str]:
    """Names in the order that a person expects: numbers by value, then words."""
    return sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n))
