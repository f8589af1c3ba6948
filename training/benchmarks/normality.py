"""What a detector may learn from: one class as the normal one.

Dataset with labels ──► Normality(digit, its training images, …) ──► detectors
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from training.data import Dataset

Rows = Float[np.ndarray, "n visible"]
# Higher is more anomalous.
RowScores = Callable[[Rows], Float[np.ndarray, " n"]]

# A score that has seen the anomalies' classes, if not their labels: shown, but never chosen.
OUTSIDE_THE_PROTOCOL = "free_energy_minus_everyone"


@dataclass(frozen=True)
class Normality:
    """One class of the data as the normal one, and where its detectors keep their work.

    Attributes:
        digit: the normal class.
        images: its training images, and nothing else.
        everyone: training images of all classes, for a score that is outside the protocol.
        folder: of all checkpoints, so that an interrupted benchmark goes on.
        stop: whether a person asked to stop.
    """

    digit: int
    images: Dataset
    everyone: Dataset
    folder: Path
    stop: Callable[[], bool]

    @property
    def rows(self) -> Rows:
        """The normal images, flat."""
        return flat(self.images)


def flat(data: Dataset) -> Rows:
    """Images as rows."""
    return data.images.reshape(len(data), -1)
