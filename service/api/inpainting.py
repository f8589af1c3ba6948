"""What a request to fill something in may say: images with a mask, or rows with nulls.

images, mask ──► Inpaint        rows, null where a cell is missing ──► InpaintRows
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service import queries
from service.api import arrays, tables
from service.api.fields import ImageArrays, Rows, Seed, Sweeps, image_shape
from service.api.requests import ImagesRequest
from service.contract import Manifest, TableData
from service.errors import InvalidInput
from service.settings import Settings


class InpaintRequest(ImagesRequest):
    """Images, and what of them is to be filled; or rows, in which null is to be filled."""

    mask: ImageArrays = Field(
        None, description="[H, W] for all images, or [n, H, W], one each; 0 and 1, or PNGs."
    )
    mask_convention: Literal["1=fill", "0=fill"] = Field(
        "1=fill", description="Whether 1 (white) or 0 (black) marks what to fill."
    )
    n: Rows = Field(1, description="Fillings an image.")
    seed: Seed | None = Field(
        None, description="The same seed gives the same bytes; none: one is drawn."
    )
    steps: Sweeps | None = Field(None, description="Sweeps, or steps of latent optimisation.")

    def query(
        self, manifest: Manifest, settings: Settings
    ) -> queries.Inpaint | queries.InpaintRows:
        """See `Request.query`."""
        if isinstance(manifest.data, TableData):
            return self._of_rows(manifest.id, manifest.data, settings)
        images = self.images_for(manifest, settings)
        if "mask" not in self.model_fields_set:
            raise InvalidInput("mask is missing; it is required", pointer="/mask")
        rows = len(images) * self.n
        if rows > settings.max_rows:
            raise InvalidInput(
                f"{len(images)} images × n={self.n} are {rows} rows, which exceeds "
                f"{settings.max_rows}; send them in several requests",
                pointer="/n",
            )
        mask = arrays.masks(
            self.mask,
            shape=image_shape(manifest),
            fill=1 if self.mask_convention == "1=fill" else 0,
            pointer="/mask",
        )
        return queries.Inpaint(images=images, mask=mask, n=self.n, seed=self.seed, steps=self.steps)

    def _of_rows(self, model: str, table: TableData, settings: Settings) -> queries.InpaintRows:
        remedies = {
            "images": "send rows",
            "mask": "null marks a hole",
            "steps": "it takes one step",
        }
        for name, remedy in remedies.items():
            if getattr(self, name) is not None:
                raise InvalidInput(
                    f"{model} is a model of tables: leave {name} out, {remedy}", pointer=f"/{name}"
                )
        if "rows" not in self.model_fields_set:
            raise InvalidInput("rows is missing; it is required", pointer="/rows")
        cells, known = tables.read_rows(self.rows, table=table, limit=settings.max_rows)
        if len(cells) * self.n > settings.max_rows:
            raise InvalidInput(
                f"{len(cells)} rows × n={self.n} are {len(cells) * self.n} fillings, which exceeds "
                f"{settings.max_rows}; send them in several requests",
                pointer="/n",
            )
        return queries.InpaintRows(rows=cells, known=known, n=self.n, seed=self.seed)
