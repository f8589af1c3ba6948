"""What a report says of itself: what was compared, how to read it, and what it does not promise.

About ──► title, the table of what was compared            notes of the sections
"""

from __future__ import annotations

from dataclasses import dataclass

from service.reports.rows import Images, Real, Table

QUESTIONS = {
    "fidelity": "Do the rows look like real ones?",
    "utility": "Are they of use in the place of real rows, or beside them?",
    "copies": "Has the generator copied its training rows?",
    "attack": "Can one tell from the rows who was in the training data?",
}
COPIES_NOTE = (
    "These are checks for copies among the rows that were looked at. That they find none is no "
    "guarantee of privacy."
)
ATTACK_NOTE = (
    "This is one attack that was tried: a row is called a member when a synthetic row lies close "
    "to it (Hilprecht et al., 2019; Chen et al., 2020). Others may do better. An AUC near 0.5 says "
    "that this attack fails on these rows, and is no guarantee of privacy."
)
UNSEEN_NOTE = (
    " The real rows were split here by a seeded draw: which of them the generator has learnt from "
    "is not known, so that the attack and the distances mean something only if it was the part "
    "called training. Give rows that it has not seen with --held-out."
)


@dataclass(frozen=True, kw_only=True)
class About:
    """What a report is of.

    Attributes:
        title: of the page.
        synthetic: what the rows are called.
        rows: how many the whole synthetic set has.
        model: `name@version`, and its digest, where they are known.
        seed: of which rows are taken, and of the split.
    """

    title: str
    synthetic: str
    rows: int
    seed: int
    model: str | None = None
    digest: str | None = None

    def told(
        self,
        compared: int,
        real: Real[Images] | Real[Table] | None,
        *,
        features: str | None = None,
    ) -> dict[str, str | int | None]:
        """The table of what was compared; what is not known is left out."""
        told: dict[str, str | int | None] = {
            "synthetic rows": f"{self.synthetic}: {compared:,} of {self.rows:,}",
            "model": None if self.model is None else f"{self.model}, {self.digest}",
        }
        if real is not None:
            told |= {
                "real data": real.source,
                "training rows": _of(len(real.train), real.population),
                "searched for copies": _of(len(real.copied_from), real.population),
                "hold-out": f"{compared:,}",
                "test rows": f"{len(real.test):,}",
            }
        told |= {"features": features, "seed of the choice": self.seed}
        return {name: value for name, value in told.items() if value is not None}


def privacy_note(note: str, real: Real[Images] | Real[Table]) -> str:
    """A section's note, with what must be said of rows whose past is not known."""
    searched = ""
    if real.population is not None and len(real.copied_from) < real.population:
        share = len(real.copied_from) / real.population
        searched = (
            f" The generator was trained on {real.population:,} rows, and {share:.0%} of them are "
            "at hand here: copies of the others go unseen."
        )
    return note + searched + ("" if real.seen else UNSEEN_NOTE)


def _of(rows: int, population: int | None) -> str:
    return f"{rows:,}" if population in {None, rows} else f"{rows:,} of {population:,}"
