"""Pictures too large to look at are refused, whatever the model's size."""

from __future__ import annotations

import numpy as np
import pytest

from service.api.decoding import Rendering
from service.api.formats import Format
from service.api.representations import parts_of, represent
from service.errors import InvalidInput
from service.queries import Reconstruct, Reconstructed


@pytest.mark.parametrize("media", [Format.PNG, Format.ZIP])
def test_a_picture_beyond_the_limit_is_refused_before_it_is_made(media: Format):
    images = np.broadcast_to(np.float32(0), (16, 1, 256, 256))
    parts = parts_of(Reconstruct(images=images), Reconstructed(images=images))
    with pytest.raises(InvalidInput, match="smaller scale") as refused:
        represent(parts, media, about={}, rendering=Rendering(scale=64))
    assert refused.value.fields[0].pointer == "/scale"
