"""What the service says of its models, as requests.

models, model, card, preview ──► Request[…]
"""

from __future__ import annotations

from io import BytesIO
from typing import Unpack

from PIL import Image, UnidentifiedImageError

from service.client import answers
from service.client.results import Model
from service.client.wire import Options, Reply, Request, request, segment


def models(**options: Unpack[Options]) -> Request[list[Model]]:
    """Every package in the store: ready, loading, or failed with its reason."""
    return request("GET", "/v1/models", answers.models, options=options)


def model(name: str, **options: Unpack[Options]) -> Request[Model]:
    """One model: `document` has its limits, defaults, quality figures and provenance."""
    return request("GET", f"/v1/models/{segment(name)}", answers.model, options=options)


def card(name: str, **options: Unpack[Options]) -> Request[str]:
    """The model's card, in Markdown."""
    path = f"/v1/models/{segment(name)}/card"
    return request("GET", path, _text, accept="text/markdown", options=options)


def preview(name: str, **options: Unpack[Options]) -> Request[Image.Image]:
    """A picture of what the model makes."""
    path = f"/v1/models/{segment(name)}/preview"
    return request("GET", path, _picture, accept="image/png", options=options)


def _text(reply: Reply) -> str:
    return reply.content.decode()


def _picture(reply: Reply) -> Image.Image:
    try:
        with Image.open(BytesIO(reply.content), formats=["PNG"]) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise ValueError("it is not a PNG") from error
