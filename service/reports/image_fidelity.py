"""Do the images look like real ones? Figures on features, and the classes that are seen in them.

features of synthetic, hold-out, training ──► Fréchet distance, precision, recall, density, coverage
classes seen ──► histogram, beside that of the hold-out and of the training rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from service.domain.fidelity import Manifold, frechet_distance, manifold_figures
from service.domain.ranking import share_interval
from service.reports.figures import Chart, Figure, Good, Grid, Series
from service.reports.judging import Features
from service.reports.remembered import Recall, afresh
from service.reports.rows import Labels

NEIGHBOURS = 5
LOW_SHARE = 0.5  # of the hold-out's recall or coverage: below it, much is missing
LOST_SHARE = 0.25  # of its real share: a class below it is called nearly missing


@dataclass(frozen=True)
class Classes:
    """Classes as they are seen in images.

    Attributes:
        names: every class, in order.
        synthetic, held_out: as the judge sees them.
        train: as they are known, or else as the judge sees them.
    """

    names: Sequence[str]
    synthetic: Labels
    held_out: Labels | None = None
    train: Labels | None = None


@dataclass(frozen=True)
class Clouds:
    """Features of the rows, of the hold-out, and of the training rows that both are held to."""

    synthetic: Features
    held_out: Features
    train: Features
    recall: Recall = afresh

    @cached_property
    def manifolds(self) -> tuple[Manifold, Manifold]:
        """Of the synthetic rows, and of the hold-out."""
        found = self.recall(
            "fidelity.manifold",
            lambda: {
                name: np.asarray(value)
                for name, value in asdict(self._manifold(self.held_out)).items()
            },
        )
        theirs = Manifold(
            precision=float(found["precision"]),
            recall=float(found["recall"]),
            density=float(found["density"]),
            coverage=float(found["coverage"]),
            recalled=found["recalled"],
            covered=found["covered"],
        )
        return self._manifold(self.synthetic), theirs

    @property
    def frechet(self) -> tuple[float, float]:
        """Fréchet distances to the training rows: of the synthetic rows, and of the hold-out."""
        found = self.recall(
            "fidelity.frechet",
            lambda: {"distance": np.asarray(frechet_distance(self.held_out, self.train))},
        )
        return frechet_distance(self.synthetic, self.train), float(found["distance"])

    def _manifold(self, fake: Features) -> Manifold:
        return manifold_figures(real=self.train, fake=fake, k=NEIGHBOURS)


def fidelity_figures(clouds: Clouds) -> list[Figure]:
    """Five figures of the rows against training rows, and of the hold-out against the same."""
    ours, theirs = clouds.frechet
    return [
        Figure(
            id="fidelity.frechet",
            name="Fréchet distance",
            value=ours,
            real=theirs,
            good="lower",
            meaning="How far the features' means and covariances lie from those of training rows. "
            "The hold-out's is that of real rows which the generator has not seen.",
        ),
        *(_manifold(name, *clouds.manifolds) for name in _MANIFOLD),
    ]


def by_class(clouds: Clouds, labels: Labels, names: Sequence[str]) -> tuple[Grid, str | None]:
    """Recall and coverage of each class's training rows; and a word on classes that lack much."""
    ours, theirs = clouds.manifolds
    rows: list[list[str | float | int | None]] = []
    lacking = []
    for name in names:
        mine = labels == name
        if not mine.any():
            continue
        found = [
            float(side[mine].mean())
            for side in (ours.recalled, theirs.recalled, ours.covered, theirs.covered)
        ]
        rows.append([name, int(mine.sum()), *found])
        if found[0] < LOW_SHARE * found[1] or found[2] < LOW_SHARE * found[3]:
            lacking.append(name)
    grid = Grid(
        id="fidelity.by_class",
        title="Recall and coverage by class, of training rows",
        columns=("class", "training rows", "recall, synthetic", "recall, hold-out",
                 "coverage, synthetic", "coverage, hold-out"),
        rows=rows,
        caption="A class that is missing, or that is made in few ways, stands low here; recall may "
        "stay high, where an outlier's neighbourhood holds much.",
    )  # fmt: skip
    if not lacking:
        return grid, None
    return grid, (
        f"Much of class {', '.join(lacking)} is not among these rows: recall or coverage is less "
        "than half of that of real rows."
    )


_MANIFOLD: dict[str, tuple[str, Good]] = {
    "precision": (
        "The share of rows that lie among training rows: low when rows look like nothing real.",
        "higher",
    ),
    "recall": (
        "The share of training rows that lie among these rows: low when kinds of rows are missing.",
        "higher",
    ),
    "density": (
        "The number of training rows' neighbourhoods that a row lies in, over that expected.",
        "as the real one",
    ),
    "coverage": (
        "The share of training rows with a row in their neighbourhood: low without variety.",
        "higher",
    ),
}


def _manifold(name: str, ours: Manifold, theirs: Manifold) -> Figure:
    value, real = float(getattr(ours, name)), float(getattr(theirs, name))
    meaning, good = _MANIFOLD[name]
    notice = None
    if name in {"recall", "coverage"} and value < LOW_SHARE * real:
        notice = (
            f"Much of what is real is missing: {name} is {value:.2f}, and {real:.2f} for real rows."
        )
    return Figure(
        id=f"fidelity.{name}",
        name=name.capitalize(),
        value=value,
        real=real,
        good=good,
        meaning=meaning,
        notice=notice,
    )


def class_figures(found: Classes) -> tuple[list[Figure], Chart]:
    """How the classes are spread, and whether one is missing."""
    shares = {
        name: _shares(side, found.names)
        for name, side in (
            ("synthetic", found.synthetic),
            ("hold-out", found.held_out),
            ("training", found.train),
        )
        if side is not None
    }
    chart = Chart(
        id="fidelity.classes",
        title="Classes",
        kind="bars",
        x=list(found.names),
        series=[Series(name=name, values=values.tolist()) for name, values in shares.items()],
        y_label="share of rows",
        caption="The share of rows in which each class is seen.",
    )
    if "training" not in shares or "hold-out" not in shares:
        return [], chart
    ours, theirs = (
        float(0.5 * np.abs(shares[side] - shares["training"]).sum())
        for side in ("synthetic", "hold-out")
    )
    figure = Figure(
        id="fidelity.class_distance",
        name="Distance between the class histograms",
        value=ours,
        real=theirs,
        good="lower",
        unit="%",
        meaning="The share of rows that would have to change class for the training rows' "
        "histogram. Not 0 by intent where an order asked for other counts.",
        notice=_lost(found, shares["training"]),
    )
    return [figure], chart


def agreement(
    *,
    labels: Labels,
    seen: Labels,
    real_labels: Labels | None,
    real_seen: Labels | None,
    teller: str,
) -> Figure:
    """Whether rows show the class that they are labelled with."""
    hits = int(np.sum(labels == seen))
    known = real_labels is not None and real_seen is not None
    real_hits = int(np.sum(real_labels == real_seen)) if known else 0
    n = len(seen)
    return Figure(
        id="fidelity.label_agreement",
        name="Rows that show the class of their label",
        value=hits / n,
        interval=share_interval(hits, n),
        real=real_hits / len(real_seen) if known and real_seen is not None else None,
        real_interval=share_interval(real_hits, n) if known else None,
        good="higher",
        unit="%",
        meaning=f"The share of rows in which {teller} sees the class of the row's label.",
    )


def _shares(labels: Labels, names: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([(labels == name).mean() for name in names], np.float64)


def _lost(found: Classes, train: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str | None:
    """A word on classes that are hardly there."""
    n = len(found.synthetic)
    lost = []
    for name, share in zip(found.names, train, strict=True):
        hits = int((found.synthetic == name).sum())
        if share > 0 and share_interval(hits, n)[1] < LOST_SHARE * share:
            lost.append(f"{name} ({hits / n:.1%} of the rows, {share:.1%} of the training rows)")
    if not lost:
        return None
    several = "Classes are" if len(lost) > 1 else "A class is"
    return f"{several} missing, or nearly: {', '.join(lost)}."
