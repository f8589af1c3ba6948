"""Images ↔ pixels, and contact sheets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.images import (
    GAP_SHADE,
    comfortable_scale,
    contact_sheet,
    enlarge,
    from_pixels,
    near_square_columns,
    sheet_size,
    to_pixels,
)


def test_every_pixel_value_survives_the_way_to_data_space_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    values = from_pixels(pixels)
    assert values.dtype == np.float32
    assert values.shape == (1, 1, 16, 16)
    assert (values.min(), values.max()) == (0.0, 1.0)
    np.testing.assert_array_equal(to_pixels(values), pixels)


def test_values_round_to_the_nearest_pixel_and_never_wrap():
    images = np.array([-0.5, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 1.5], np.float32)
    pixels = to_pixels(images.reshape(1, 1, 1, 6))
    assert pixels.reshape(-1).tolist() == [0, 0, 0, 1, 255, 255]


def test_channels_go_last_in_pixels():
    images = np.zeros((2, 3, 4, 5), np.float32)
    images[1, 2, 3, 4] = 1.0
    pixels = to_pixels(images)
    assert pixels.shape == (2, 4, 5, 3)
    assert pixels[1, 3, 4, 2] == 255
    assert pixels.sum() == 255


@settings(deadline=None)
@given(n=st.integers(1, 1024))
def test_a_near_square_sheet_holds_its_tiles_and_wastes_no_row(n: int):
    columns = near_square_columns(n)
    rows = -(-n // columns)
    assert rows * columns >= n > (rows - 1) * columns
    assert 0 <= columns - rows <= 1


@settings(deadline=None)
@given(n=st.integers(1, 12), h=st.integers(1, 5), w=st.integers(1, 5), columns=st.integers(1, 6))
def test_tiles_lie_in_reading_order_two_pixels_apart(n: int, h: int, w: int, columns: int):
    tiles = np.random.default_rng(n).integers(0, 256, (n, h, w, 3), np.uint8)
    sheet = contact_sheet(tiles, columns=columns)
    rows = -(-n // columns)
    assert sheet.shape[:2] == sheet_size(height=h, width=w, rows=rows, columns=columns)
    covered = np.zeros(sheet.shape[:2], bool)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * (h + 2), (i % columns) * (w + 2)
        np.testing.assert_array_equal(sheet[y : y + h, x : x + w], tile)
        covered[y : y + h, x : x + w] = True
    assert (sheet[~covered] == GAP_SHADE).all()


def test_enlarging_repeats_each_pixel_as_a_square():
    pixels = np.array([[[[1], [2]], [[3], [4]]]], np.uint8)
    big = enlarge(pixels, scale=2)[0, :, :, 0]
    assert big.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert enlarge(pixels, scale=1) is pixels


@pytest.mark.parametrize(
    ("side", "tiles", "scale"), [(28, 1, 4), (28, 8, 4), (28, 32, 2), (200, 1, 1), (4, 1, 28)]
)
def test_small_images_grow_until_tile_or_sheet_is_large_enough(side: int, tiles: int, scale: int):
    assert comfortable_scale(height=side, width=side, rows=tiles, columns=tiles) == scale
