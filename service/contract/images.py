"""Images in a manifest: their shape, and the range of the network's pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ImageData(BaseModel):
    """Images of one fixed shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["image"] = "image"
    shape: tuple[int, int, int] = Field(description="[C, H, W]")
    range: tuple[float, float] = Field(
        (0.0, 1.0), description="The network's pixel range; clients always see [0, 1]."
    )

    @model_validator(mode="after")
    def _is_an_image(self) -> ImageData:
        channels, height, width = self.shape
        if channels not in {1, 3} or not (1 <= height <= 4096 and 1 <= width <= 4096):
            raise ValueError(f"shape {self.shape} is not [1 or 3, H ≤ 4096, W ≤ 4096]")
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range {self.range} must rise")
        return self
