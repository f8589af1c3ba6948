"""Small real data: images of bars in two classes, and a table of mixed columns."""

from __future__ import annotations

import numpy as np

from service.reports.rows import Column, Images, Table
from service.reports.words import About

SIDE = 6
ABOUT = About(title="A report", synthetic="rows", rows=300, seed=0)


def bars(n: int, *, seed: int, classes: str = "ab") -> Images:
    """Noise with a bar that lies (a) or stands (b), somewhere."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 90, (n, 1, SIDE, SIDE), np.uint8)
    labels = np.array([classes[i % len(classes)] for i in range(n)], object)
    for image, label in zip(pixels, labels, strict=True):
        where = draw.integers(1, SIDE - 1)
        if label == "a":
            image[0, where, :] = 200
        else:
            image[0, :, where] = 200
    return Images(pixels, labels)


def table(n: int, *, seed: int) -> Table:
    """Two numbers that go together, a category that follows one of them, and missing values."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, n)
    y = x + draw.normal(0, 0.3, n)
    kind = np.array(["low" if v < 0 else "high" for v in x + draw.normal(0, 0.2, n)], object)
    y[draw.random(n) < 0.1] = np.nan
    town = draw.choice(np.array(["A", "B", None], object), n)
    return Table({"x": Column(x), "y": Column(y), "town": Column(town), "label": Column(kind)})
