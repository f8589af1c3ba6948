"""Bytes of each format: they read back as what went in, and are the same each time."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from service.api import encoding
from service.api.arrow import arrow_bytes
from service.domain.images import from_pixels, to_pixels
from service.errors import InvalidInput

PIXELS = st.one_of(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(channels)))
    for channels in (1, 3)
)
GREY = (1, 4, 6)


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(content: bytes, shape: tuple[int, int, int] = GREY) -> np.ndarray:
    return encoding.decode_png(content, shape=shape, pointer="/images/0")


@given(PIXELS)
def test_png_gives_back_every_pixel(pixels: np.ndarray):
    height, width, channels = pixels.shape
    image = decoded(encoding.png_bytes(pixels), (channels, height, width))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(to_pixels(image[np.newaxis])[0], pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_grey_in_any_of_png_s_modes_is_the_same_image(mode: str):
    pixels = np.random.default_rng(0).integers(0, 256, GREY[1:], np.uint8)
    found = decoded(png(pixels, mode))
    np.testing.assert_array_equal(to_pixels(found[np.newaxis])[0, :, :, 0], pixels)


def test_colour_becomes_grey_by_luma_and_grey_becomes_equal_channels():
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    assert np.allclose(decoded(png(red)), 0.299, atol=1 / 255)
    grey = np.full((4, 6), 51, np.uint8)
    assert np.allclose(decoded(png(grey), (3, 4, 6)), 0.2)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    pixels = np.full((4, 6), 0x8000, np.uint16)
    assert np.allclose(decoded(png(pixels)), 0x8000 / 65535)


def test_transparent_pixels_lie_on_black():
    pixels = np.full((4, 6, 4), 255, np.uint8)
    pixels[0, 0, 3] = 0
    image = decoded(png(pixels))
    assert image[0, 0, 0] == 0.0
    assert image[0, 1, 1] == 1.0


def test_black_and_white_of_one_bit_is_read():
    pixels = np.zeros((4, 6), bool)
    pixels[1:3, 2:4] = True
    np.testing.assert_array_equal(decoded(png(pixels))[0], pixels.astype(np.float32))


def test_another_size_is_refused_with_both_sizes():
    content = png(np.zeros((28, 30), np.uint8))
    with pytest.raises(InvalidInput, match=r"30 × 28 pixels, but the model takes exactly 6 × 4"):
        decoded(content)


def test_a_decompression_bomb_is_refused_by_its_header():
    content = bytearray(png(np.zeros((4, 6), np.uint8)))
    content[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    with pytest.raises(InvalidInput, match="the model takes exactly"):
        decoded(bytes(content))


def test_a_text_chunk_that_unpacks_to_gigabytes_is_refused():
    content = png(np.zeros((4, 6), np.uint8))
    packed = b"k\0\0" + zlib.compress(b"\0" * 2**26)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    with pytest.raises(InvalidInput, match="damaged"):
        decoded(content[:33] + chunk + content[33:])


@given(cut=st.integers(1, 60))
def test_a_png_that_is_cut_off_is_refused(cut: int):
    content = png(np.random.default_rng(1).integers(0, 256, GREY[1:], np.uint8))
    with pytest.raises(InvalidInput, match=r"cut off|not a PNG"):
        decoded(content[:-cut])


@given(position=st.integers(0, 90), byte=st.integers(0, 255))
def test_a_damaged_png_is_read_or_refused_and_nothing_else(position: int, byte: int):
    content = bytearray(png(np.random.default_rng(2).integers(0, 256, GREY[1:], np.uint8)))
    content[position % len(content)] = byte
    with contextlib.suppress(InvalidInput):
        decoded(bytes(content))


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" * 20]
)
def test_what_is_no_png_is_refused(content: bytes):
    with pytest.raises(InvalidInput, match="not a PNG"):
        decoded(content)


@pytest.mark.parametrize("container", ["GIF", "WEBP"])
def test_grey_animations_are_lossless_and_loop_for_ever(container: str):
    frames = np.random.default_rng(3).integers(0, 256, (5, 8, 7, 1), np.uint8)
    content = encoding.animation_bytes(frames, container=container, frame_ms=120)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 5
        assert image.info["loop"] == 0
        for i, frame in enumerate(frames):
            image.seek(i)
            np.testing.assert_array_equal(np.asarray(image.convert("L")), frame[:, :, 0])
            assert image.info["duration"] == 120


def test_colour_webp_is_lossless():
    frames = np.random.default_rng(4).integers(0, 256, (3, 8, 7, 3), np.uint8)
    content = encoding.animation_bytes(frames, container="WEBP", frame_ms=80)
    with Image.open(io.BytesIO(content)) as image:
        image.seek(2)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frames[2])


def test_a_zip_holds_one_png_an_image_stored_under_a_fixed_date():
    pixels = np.random.default_rng(5).integers(0, 256, (3, 4, 6, 1), np.uint8)
    content = encoding.zip_bytes(pixels, names=("0.png", "1.png", "2.png"))
    assert content == encoding.zip_bytes(pixels, names=("0.png", "1.png", "2.png"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["0.png", "1.png", "2.png"]
        for info, image in zip(archive.infolist(), pixels, strict=True):
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            np.testing.assert_array_equal(
                to_pixels(decoded(archive.read(info))[np.newaxis])[0], image
            )


def test_an_arrow_stream_holds_tensors_of_the_shape_that_it_says():
    images = from_pixels(np.random.default_rng(6).integers(0, 256, (3, 4, 6, 1), np.uint8))
    content = arrow_bytes(
        {"index": np.arange(3), "sample": images, "flag": np.array([True, False, True])},
        metadata={"model": "m@1"},
    )
    table = pa.ipc.open_stream(content).read_all()
    assert table.schema.metadata == {b"model": b"m@1"}
    assert table["index"].to_pylist() == [0, 1, 2]
    assert table["flag"].to_pylist() == [True, False, True]
    np.testing.assert_array_equal(table["sample"].combine_chunks().to_numpy_ndarray(), images)


def test_json_numbers_read_back_as_the_same_floats():
    values = np.random.default_rng(7).random(1000, dtype=np.float32)
    text = encoding.json_bytes({"values": values})
    found = np.array(__import__("json").loads(text)["values"]).astype(np.float32)
    np.testing.assert_array_equal(found, values)
