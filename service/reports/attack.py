"""An attack that was tried: can one tell, from the synthetic rows, who was in the training data?

members, others ──► distance to the closest synthetic row ──► nearer = "was a member" ──► AUC

Hilprecht, Härterich & Bernau (2019) and Chen et al. (2020, GAN-Leaks, the full black-box attack).
One attack, with its outcome: others may do better, and no outcome is a guarantee of privacy.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from service.domain.ranking import Auc, auc, roc_points
from service.reports.copies import closest
from service.reports.figures import Chart, Figure, Series
from service.reports.remembered import Arrays, Recall, afresh

Points = Float[np.ndarray, "rows features"]


def membership_attack(
    *,
    members: Points,
    others: Points,
    synthetic: Points,
    unrelated: Points,
    space: str,
    id_: str,
    recall: Recall = afresh,
) -> tuple[Figure, Chart]:
    """The attack on the synthetic rows, and on real rows that have nothing to tell.

    Args:
        members: training rows.
        others: as many rows that the generator has not seen.
        synthetic: what the attacker has.
        unrelated: real rows in the place of the synthetic ones; none of them a member or an other.
        space: in what distances are measured, in words.
        id_: of the figure.
        recall: what earlier reports have found of the real rows.
    """
    positive, negative = _scores(members, others, synthetic)
    found, real = auc(positive=positive, negative=negative), None
    if len(unrelated) > 1:
        blank = recall(f"{id_}.unrelated", lambda: _scored(members, others, unrelated))
        real = auc(positive=blank["positive"], negative=blank["negative"])
    figure = Figure(
        id=id_,
        name=f"Membership inference by distance in {space}, AUC",
        value=found.value,
        interval=(found.low, found.high),
        real=None if real is None else real.value,
        real_interval=None if real is None else (real.low, real.high),
        good="near 0.5",
        meaning="How well this attack tells training rows from unseen ones: 0.5 is guessing, 1 is "
        "always right. Beside it, the attack with unrelated real rows in the place of these.",
        notice=_notice(found, real, space),
    )
    return figure, _chart(positive, negative, space=space, id_=id_)


def _scores(
    members: Points, others: Points, released: Points
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " o"]]:
    """The attacker's score of each row: minus its distance to the closest released row."""
    return -closest(members, released).distances, -closest(others, released).distances


def _scored(members: Points, others: Points, released: Points) -> Arrays:
    return dict(zip(("positive", "negative"), _scores(members, others, released), strict=True))


def _notice(found: Auc, real: Auc | None, space: str) -> str | None:
    if found.low <= 0.5 or (real is not None and found.low <= real.value):
        return None
    return (
        "Whether a row was in the training data can be told from these rows better than by "
        f"guessing, which is 0.5: AUC {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) by "
        f"distance in {space}."
    )


def _chart(
    positive: Float[np.ndarray, " m"], negative: Float[np.ndarray, " o"], *, space: str, id_: str
) -> Chart:
    false, true = roc_points(positive=positive, negative=negative)
    return Chart(
        id=f"{id_}.roc",
        title=f"The attack's ROC curve, distance in {space}",
        kind="curve",
        xs=[false, [0.0, 1.0]],
        series=[Series(name="attack", values=true), Series(name="guessing", values=[0.0, 1.0])],
        x_label="unseen rows taken for members",
        y_label="members found",
        caption="Guessing is the diagonal; a curve above it finds members.",
    )
