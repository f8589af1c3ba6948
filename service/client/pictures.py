"""Images as people have them, on their way to the wire and back.

array | picture | pictures ──on_the_wire──► npy | PNG          array [n, C, H, W] ──► pictures
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from PIL import Image

ImagesLike = ArrayLike | Image.Image | Sequence[Image.Image]
"""Images in [0, 1], [n, C, H, W] (a channel axis of 1 and the batch axis may be left out); or
pictures, which the server turns into the model's channels."""

Document = dict[str, Any]


def pictures(images: Float[np.ndarray, "n c h w"]) -> list[Image.Image]:
    """One picture an image: pixel = round(255 · value), as the service draws them."""
    scaled = np.clip(np.rint(images * np.float32(255.0)), 0, 255).astype(np.uint8)
    return [
        Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))
        for image in scaled
    ]


def on_the_wire(images: ImagesLike) -> NDArray[Any] | Document | list[Document]:
    """An array of numbers, or PNG documents for pictures.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(images, Image.Image):
        return _png(images)
    if isinstance(images, Sequence) and images and isinstance(images[0], Image.Image):
        return [_png(picture) for picture in cast("Sequence[Image.Image]", images)]
    found = np.asarray(images)
    if found.dtype.kind not in "fiub":
        raise TypeError(
            f"images of type {type(images).__name__} are neither numbers nor pictures; send an "
            "array [n, C, H, W] in [0, 1], a PIL image, or a list of them"
        )
    return found.astype(np.float32) if found.dtype.kind == "f" else found


def _png(picture: Image.Image) -> Document:
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return {"png": base64.b64encode(buffer.getvalue()).decode("ascii")}
