"""npy bodies: whole ones are read without a copy, others are refused in words."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.api import npy
from service.errors import InvalidInput


def saved(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


_NUMBERS = st.one_of(
    hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), st.just(np.bool_)
).filter(lambda d: np.dtype(d).itemsize <= 8)


@given(st.data(), _NUMBERS, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
def test_what_numpy_saves_is_what_is_read(data: st.DataObject, dtype, shape):
    array = data.draw(hnp.arrays(dtype, shape))
    found = npy.read(saved(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=5)))
def test_what_is_written_reads_back_bit_for_bit_and_numpy_reads_it_too(array: np.ndarray):
    content = npy.write(array)
    assert npy.read(content).tobytes() == array.tobytes()
    assert np.load(io.BytesIO(content), allow_pickle=False).tobytes() == array.tobytes()


def test_fortran_order_is_read_in_the_order_it_says():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(npy.read(saved(array)), array)


def test_reading_makes_no_copy():
    content = npy.write(np.arange(4, dtype=np.float32))
    assert np.shares_memory(npy.read(content), np.frombuffer(content, np.uint8))


def test_versions_2_and_3_are_read():
    array = np.arange(3, dtype=np.float32)
    for version in ((2, 0), (3, 0)):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, version=version)
        np.testing.assert_array_equal(npy.read(buffer.getvalue()), array)


def test_pickled_objects_are_refused_and_not_run():
    content = saved(np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="not a plain number"):
        npy.read(content)


@pytest.mark.parametrize("dtype", ["<c8", "<U4", "|S4", "|V4", "<M8", "O", "f4,f4", "zz", "<f16"])
def test_dtypes_that_are_no_plain_numbers_are_refused(dtype: str):
    with pytest.raises(InvalidInput, match="not a plain number"):
        npy.read(_with_header(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': (0,)}}"))


def _with_header(text: str, data: bytes = b"") -> bytes:
    header = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "None",
        "__import__('os').system('true')",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 3}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1e3,)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)*99}",
        "(" * 3000,
    ],
)
def test_a_damaged_header_is_refused(text: str):
    with pytest.raises(InvalidInput):
        npy.read(_with_header(text))


def test_a_header_that_promises_more_than_follows_is_refused_before_anything_is_allocated():
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627775, 1099511627775)}"
    with pytest.raises(InvalidInput, match="but 4 bytes follow"):
        npy.read(_with_header(header, b"\0\0\0\0"))


@given(cut=st.integers(0, 200))
def test_a_file_that_is_cut_off_or_too_long_is_refused(cut: int):
    content = saved(np.zeros((3, 7), np.float32))
    damaged = content[:-cut] if 0 < cut < len(content) else content + b"\0"
    with pytest.raises(InvalidInput):
        npy.read(damaged)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(content: bytes):
    for body in (content, b"\x93NUMPY\x01\x00" + content):
        with contextlib.suppress(InvalidInput):
            npy.read(body)


@given(position=st.integers(0, 127), byte=st.integers(0, 255))
def test_one_changed_byte_in_the_header_is_read_or_refused_and_nothing_else(position, byte):
    content = bytearray(saved(np.zeros(4, np.float32)))
    content[position] = byte
    with contextlib.suppress(InvalidInput):
        npy.read(bytes(content))
