"""Pictures of reports: sheets of rows, and rows above their nearest training rows.

uint8 [n, C, H, W] ──contact sheet──► PNG
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from service.domain.images import contact_sheet, enlarge
from service.reports.copies import Closest
from service.reports.figures import Picture
from service.reports.rows import Images

SHOWN = 60
COLUMNS = 10
TILE_PIXELS = 40  # small images are enlarged to about this


def sample_sheets(synthetic: Images, held_out: Images | None) -> list[Picture]:
    """The first rows of each side, none chosen."""
    sides = [("synthetic", "Synthetic", synthetic)]
    if held_out is not None:
        sides.append(("held_out", "Hold-out (real)", held_out))
    return [
        _picture(
            f"sheet.{id_}",
            title,
            rows.pixels[:SHOWN],
            columns=COLUMNS,
            caption=f"The first {min(SHOWN, len(rows))} of the rows that were taken; none chosen.",
        )
        for id_, title, rows in sides
    ]


def pairs(id_: str, title: str, rows: Images, training: Images, found: Closest) -> Picture:
    """The rows that lie closest to training rows, each above its nearest."""
    nearest = np.argsort(found.distances, kind="stable")[:COLUMNS]
    tiles = np.concatenate([rows.pixels[nearest], training.pixels[found.rows[nearest]]])
    reach = ", ".join(f"{d:.2f}" for d in found.distances[nearest])
    return _picture(
        id_,
        title,
        tiles,
        columns=len(nearest),
        caption=f"The {len(nearest)} rows with the closest training rows, and those below them. "
        f"Distances: {reach}.",
    )


def _picture(
    id_: str, title: str, pixels: UInt8[np.ndarray, "n C H W"], *, columns: int, caption: str
) -> Picture:
    last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    scale = max(1, TILE_PIXELS // max(last.shape[1:3]))
    sheet = contact_sheet(enlarge(last, scale=scale), columns=min(columns, len(last)))
    image = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture(
        id=id_,
        title=title,
        png=buffer.getvalue(),
        caption=caption,
        width=image.width,
        height=image.height,
    )
