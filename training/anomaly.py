"""How well an anomaly score tells strange images from normal ones, and whether its p-values hold.

score_fn, test images ──► counterfeits (noise, inverted, shuffled) ──► AUROC of each ─┐
calibration scores    ──► conformal p-values of the test images ──► share of p ≤ α ───┴► report

It works for any package with a `score` function: `score_fn` maps images [n, C, H, W] in [0, 1] to
scores [n], where higher is more anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from service.contract import Quality
from service.domain.anomaly import conformal_p_values

Images = Float[np.ndarray, "n C H W"]
ScoreFunction = Callable[[Images], Float[np.ndarray, " n"]]


def uniform_noise(images: Images, *, seed: int) -> Images:
    """As many images of independent uniform pixels."""
    return np.random.default_rng(seed).random(images.shape, dtype=np.float32)


def inverted(images: Images) -> Images:
    """1 − x: dark strokes on white paper."""
    return (1.0 - images).astype(np.float32)


def pixel_shuffled(images: Images, *, seed: int) -> Images:
    """Each image with its own pixels in a random order: the same ink, no strokes."""
    rows = images.reshape(len(images), -1)
    shuffled = np.random.default_rng(seed).permuted(rows, axis=1)
    return shuffled.reshape(images.shape)


def auroc(*, normal: Float[np.ndarray, " n"], anomalous: Float[np.ndarray, " m"]) -> float:
    """P(s(anomalous) > s(normal)) + ½ P(equal), by ranks. Mann & Whitney (1947).

    Raises:
        ValueError: a side is empty, or a score is not a number.
    """
    if not len(normal) or not len(anomalous):
        raise ValueError("the AUROC needs scores of both kinds")
    if np.isnan(normal).any() or np.isnan(anomalous).any():
        raise ValueError("a score is NaN: the score function is broken for some image")
    rising = np.sort(normal)
    below = np.searchsorted(rising, anomalous, side="left")
    not_above = np.searchsorted(rising, anomalous, side="right")
    return float((below + not_above).mean() / (2.0 * len(normal)))


@dataclass(frozen=True)
class AnomalyReport:
    """What a score is worth.

    Attributes:
        auroc: kind of anomaly → AUROC against the normal test images.
        share: share of normal test images with p ≤ alpha; alpha, if the p-values are honest.
        share_error: standard error of `share` under honest p-values. It is binomial in the test
            images and, because the threshold is itself estimated, in the calibration too:
            √(α(1 − α)(1/n_test + 1/n_calibration)).
        alpha: the level.
        n_test, n_calibration: how many images stand behind the figures.
    """

    auroc: dict[str, float]
    share: float
    share_error: float
    alpha: float
    n_test: int
    n_calibration: int

    @property
    def calibrated(self) -> bool:
        """Whether the share lies within two standard errors of alpha."""
        return abs(self.share - self.alpha) <= 2.0 * self.share_error

    def figures(self, *, command: str = "") -> tuple[Quality, ...]:
        """The report as a manifest's quality figures."""
        against = f"AUROC against {self.n_test:,} test images, one of each made from each of them"
        aurocs = [
            Quality(name=f"auroc_{kind}", value=value, protocol=against, command=command)
            for kind, value in self.auroc.items()
        ]
        share = Quality(
            name="p_value_share",
            value=self.share,
            interval=(
                max(self.share - 2.0 * self.share_error, 0.0),
                self.share + 2.0 * self.share_error,
            ),
            floor=self.alpha,
            protocol=(
                f"share of {self.n_test:,} test images with conformal p ≤ {self.alpha}; "
                f"{self.n_calibration:,} held-out training images; ± 2 standard errors"
            ),
            command=command,
        )
        return (*aurocs, share)


def anomaly_report(
    score_fn: ScoreFunction,
    normal_test: Images,
    calibration: Float[np.ndarray, " held_out"],
    *,
    alpha: float = 0.05,
    seed: int = 0,
    batch: int = 500,
) -> AnomalyReport:
    """AUROC of three kinds of anomalies made from the test images, and the p-values' honesty.

    Args:
        score_fn: images → scores, higher is more anomalous.
        normal_test: test images in [0, 1] that neither training nor calibration has seen.
        calibration: scores of held-out normal images.
        alpha: the level at which the p-values are checked.
        seed: of the noise and of the shuffling.
        batch: rows a call of `score_fn`.
    """
    normal = scores_of(score_fn, normal_test, batch=batch)
    kinds = {
        "uniform_noise": uniform_noise(normal_test, seed=seed),
        "inverted": inverted(normal_test),
        "pixel_shuffled": pixel_shuffled(normal_test, seed=seed),
    }
    p = conformal_p_values(normal, calibration=np.sort(calibration))
    spread = alpha * (1.0 - alpha) * (1.0 / len(normal) + 1.0 / len(calibration))
    return AnomalyReport(
        auroc={
            kind: auroc(normal=normal, anomalous=scores_of(score_fn, strange, batch=batch))
            for kind, strange in kinds.items()
        },
        share=float((p <= alpha).mean()),
        share_error=math.sqrt(spread),
        alpha=alpha,
        n_test=len(normal),
        n_calibration=len(calibration),
    )


def scores_of(score_fn: ScoreFunction, images: Images, *, batch: int) -> Float[np.ndarray, " n"]:
    """Scores of images, `batch` rows a call."""
    parts = [score_fn(images[i : i + batch]) for i in range(0, len(images), batch)]
    return np.concatenate([np.asarray(part).ravel() for part in parts])
