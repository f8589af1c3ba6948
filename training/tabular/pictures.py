"""The picture of a model of tables: each column of test rows and of as many synthetic ones.

test rows, Package ──► one small chart a column ──► PNG
"""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from service.contract import CategoricalColumn, Column, TableData
from service.domain.rows import Cells
from training.package import Package
from training.tabular.figures import sample_cells
from training.tabular.table import Table
from training.tabular.transform import cells_of

ACROSS = 4
BINS = 40
MOST_BARS = 12
REAL, MADE = "#9aa5b1", "#d9622b"


def marginals_png(data: TableData, test: Table, package: Package | None, *, seed: int) -> bytes:
    """Shares of values by column; without a package, of the real rows alone."""
    real = cells_of(test, data)
    made = None if package is None else sample_cells(package, n=len(real), seed=seed)
    down = math.ceil(len(data.columns) / ACROSS)
    figure = Figure(figsize=(2.6 * ACROSS, 1.7 * down), dpi=90, layout="constrained")
    for i, column in enumerate(data.columns):
        axes = figure.add_subplot(down, ACROSS, i + 1)
        _draw(axes, column, real[:, i], None if made is None else made[:, i])
    words = "test rows (grey)" + ("" if made is None else " and as many synthetic rows (orange)")
    figure.suptitle(f"Shares by column: {words}", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: Axes, column: Column, real: Cells, made: Cells | None) -> None:
    axes.set_title(column.name, fontsize=8, pad=2)
    axes.tick_params(labelsize=6, length=2)
    axes.set_yticks([])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if isinstance(column, CategoricalColumn):
        _bars(axes, column, real, made)
        return
    low, high = np.nanquantile(real, (0.002, 0.998))
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    for values, colour, filled in ((real, REAL, True), (made, MADE, False)):
        if values is None:
            continue
        counts = np.histogram(np.clip(values[~np.isnan(values)], edges[0], edges[-1]), edges)[0]
        axes.stairs(counts / max(len(values), 1), edges, color=colour, fill=filled, linewidth=1.2)


def _bars(axes: Axes, column: CategoricalColumn, real: Cells, made: Cells | None) -> None:
    names = [*column.categories, *(["null"] if column.nullable else [])]
    shares = []
    for values in (real, made):
        if values is not None:
            codes = np.where(np.isnan(values), len(column.categories), values).astype(np.int64)
            shares.append(np.bincount(codes, minlength=len(names)) / max(len(values), 1))
    shown = np.argsort(-shares[0], kind="stable")[:MOST_BARS]
    for k, (share, colour) in enumerate(zip(shares, (REAL, MADE), strict=False)):
        axes.bar(np.arange(len(shown)) + 0.4 * k, share[shown], width=0.4, color=colour)
    labels = [names[i][:9] for i in shown]
    axes.set_xticks(np.arange(len(shown)) + 0.2, labels, rotation=30 if len(shown) > 3 else 0)
