"""Whether the samples of a label are of that label: read by a classifier that did not make them.

labels 0 … 9, over and over ──sample, as the service does──► mean images ──judge──► share as asked

The judge's own accuracy on the test images is the figure's real-data floor.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int64

from service.contract import Quality, Role
from training.data import Dataset
from training.judge import JUDGES, load_judge
from training.package import Package
from training.package_sweeps import sample

ROWS_AT_A_TIME = 100  # as many chains as there is noise for in a modest memory


def asked_label_figures(
    package: Package, test: Dataset, *, each: int, seed: int, command: str, chains: str = ""
) -> list[Quality]:
    """Share of `each` fresh samples a label that the judge of `test` reads as the label asked for.

    `chains` is said of the chains in the protocol, where there is something to say.
    Nothing where no judge of this data set is committed, or the package takes no label.
    """
    conditional = package.manifest.functions["sweep"].input(Role.LABEL) is not None
    if not conditional or not (JUDGES / f"{test.name}.safetensors").exists():
        return []
    assert package.manifest.labels is not None, "a package that takes labels names them"
    assert test.labels is not None, "a judge's data has labels"
    names = package.manifest.labels.names
    asked = np.tile(np.arange(len(names)), each)
    judge = load_judge(test.name)
    right = judge.look(samples_of(package, asked, seed=seed)).classes == asked
    by_label = [int(right[asked == label].sum()) for label in range(len(names))]
    worst = int(np.argmin(by_label))
    low, high = wilson_interval(int(right.sum()), len(asked))
    figure = Quality(
        name="samples_read_as_asked",
        value=100 * float(right.mean()),
        unit="%",
        interval=(100 * low, 100 * high),
        floor=100 * judge.accuracy(test.images, test.labels),
        protocol=(
            f"rows 0 … {len(asked) - 1:,} of `sample` with seed {seed}, labels in turn, {each} of "
            f"each, none chosen: mean images after {package.manifest.defaults.burn_in:,} sweeps"
            f"{chains}, read by the judge (sha256 {judge.sha256[:12]}…); fewest of label "
            f"{names[worst]!r}, {by_label[worst]} of {each}; 95 % interval of Wilson; floor: the "
            f"judge's accuracy on {len(test):,} test images"
        ),
        command=command,
    )
    return [figure]


def samples_of(
    package: Package, labels: Int64[np.ndarray, " n"], *, seed: int
) -> Float[np.ndarray, "n C H W"]:
    """Row i of `sample` with this seed and these labels, as the service gives it."""
    burn_in = package.manifest.defaults.burn_in
    assert burn_in is not None, "a machine with chains has a burn-in"
    parts = []
    for first in range(0, len(labels), ROWS_AT_A_TIME):
        held = labels[first : first + ROWS_AT_A_TIME]
        rows = range(first, first + len(held))
        parts += sample(
            package, n=len(held), seed=seed, sweeps=[burn_in], fixed={Role.LABEL: held}, rows=rows
        )
    return np.concatenate(parts)


def wilson_interval(hits: int, n: int, *, z: float = 1.96) -> tuple[float, float]:
    """Of a share hits/n; it has a width even at 0 and at 1. Wilson (1927)."""
    share, spread = hits / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(centre - half, 0.0), min(centre + half, 1.0)
