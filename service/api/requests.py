"""What requests have in common: every one a time limit, many of them images.

document ──validated──► Request ──query(model, limits)──► service.queries.…
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service import queries
from service.api import arrays
from service.api.fields import MAX_TIMEOUT_MS, ImageArrays, TableRows, image_shape
from service.contract import Manifest
from service.errors import InvalidInput
from service.settings import Settings


class Request(BaseModel):
    """What every operation takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    timeout_ms: int | None = Field(
        None, ge=1, le=MAX_TIMEOUT_MS, description="Bounds the whole request; also X-Timeout-Ms."
    )

    def query(self, manifest: Manifest, settings: Settings) -> queries.Query:
        """What is asked, with its arrays read.

        Raises:
            InvalidInput: an array does not fit the model, or fields contradict each other.
        """
        raise NotImplementedError


class ImagesRequest(Request):
    """What every operation on images takes."""

    images: ImageArrays = None
    rows: TableRows = None

    def images_for(self, manifest: Manifest, settings: Settings) -> queries.Images:
        """The images as float32 [n, C, H, W].

        Raises:
            InvalidInput: there are none, or they do not fit the model.
            MissingCapability: the model is one of tables.
        """
        shape = image_shape(manifest)
        if self.rows is not None:
            raise InvalidInput(f"{manifest.id} takes images, not rows", pointer="/rows")
        if "images" not in self.model_fields_set:
            raise InvalidInput("images is missing; it is required", pointer="/images")
        return arrays.images(
            self.images,
            shape=shape,
            limit=settings.max_rows,
            pointer="/images",
        )
