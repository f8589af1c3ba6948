"""What a machine with Gaussian visible units shows: sheets of patches, or charts of columns.

rows of pixels ──► sheet        W, whitening ──► filters        rows of a table ──► histograms
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from training.gaussian import GaussianRbm
from training.gaussian_data import Whitening
from training.sheets import sheet

SHEET_SIDE = 10
ACROSS = 4
BINS = 40
REAL, MADE = "#9aa5b1", "#d9622b"


def filters_of(machine: GaussianRbm, whitening: Whitening) -> Float[Tensor, "hidden visible"]:
    """What each hidden unit adds to the pixels, each stretched to [0, 1] about ½."""
    pixels = machine.W.T @ whitening.back
    return 0.5 + pixels / (2 * pixels.abs().amax(1, keepdim=True).clamp_min(1e-12))


def png_sheet(
    rows: Float[Tensor, "n visible"], shape: tuple[int, int, int]
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Rows of pixels as a sheet, ten a row, clipped to [0, 1]."""
    images = rows.clamp(0, 1).reshape(-1, *shape).cpu().numpy()
    return sheet(images, columns=SHEET_SIDE, scale=4)


def columns_png(
    names: Sequence[str],
    *,
    real: Float[Tensor, "n columns"],
    made: Float[Tensor, "m columns"],
) -> bytes:
    """A chart a column: shares of real rows (grey) and of the machine's (orange)."""
    down = math.ceil(len(names) / ACROSS)
    figure = Figure(figsize=(2.6 * ACROSS, 1.7 * down), dpi=90, layout="constrained")
    for i, name in enumerate(names):
        axes = figure.add_subplot(down, ACROSS, i + 1)
        axes.set_title(name, fontsize=8, pad=2)
        axes.tick_params(labelsize=6, length=2)
        axes.set_yticks([])
        ours, theirs = made[:, i].cpu().numpy(), real[:, i].cpu().numpy()
        low, high = np.quantile(theirs, (0.002, 0.998))
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        for values, colour, filled in ((theirs, REAL, True), (ours, MADE, False)):
            counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
            axes.stairs(counts / len(values), edges, color=colour, fill=filled, linewidth=1.2)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
