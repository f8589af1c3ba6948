"""Data: known sets have the right shape, parsers refuse what they should, splits are seeded."""

import gzip
import hashlib
import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from training import data_sources
from training.data import DataConfig, Dataset, binarise, load, split_holdout
from training.data_files import DataError, parse_idx


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def numbered(n: int, *, side: int = 4) -> Dataset:
    images = np.repeat(np.linspace(0, 1, n, dtype=np.float32), side * side)
    return Dataset(images=images.reshape(n, 1, side, side), labels=np.arange(n), name="numbered")


@given(arrays(np.uint8, st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)))
def test_an_idx_file_gives_back_what_was_written(values):
    assert np.array_equal(parse_idx(idx_bytes(values), name="x"), values)


@given(st.binary(max_size=64))
def test_any_bytes_are_an_idx_array_or_a_data_error(content):
    try:
        parsed = parse_idx(content, name="x")
    except DataError:
        return
    assert idx_bytes(parsed) == content


@given(
    arrays(np.uint8, (2, 3)),
    st.integers(0, 12),
)
def test_a_truncated_or_lengthened_idx_file_is_refused(values, cut):
    whole = idx_bytes(values)
    for damaged in (whole[:cut], whole + b"\0" * (cut + 1)):
        with pytest.raises(DataError):
            parse_idx(damaged, name="x")


def test_the_bundled_digits_are_images_with_labels_in_two_disjoint_splits():
    train, test = load("digits"), load("digits", "test")
    assert train.images.shape == (1437, 1, 8, 8)
    assert test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.float32
    assert train.images.min() == 0
    assert train.images.max() == 1
    assert set(train.labels) == set(test.labels) == set(range(10))
    grey = np.concatenate([train.images, test.images]) * 16
    np.testing.assert_allclose(grey, np.rint(grey), atol=16 * 0.5 / 255)
    assert len({image.tobytes() for image in (*train.images, *test.images)}) == 1797


def test_each_digit_has_its_share_of_the_digits_test_split():
    """Within four standard deviations of drawing 360 of 1,797 at random."""
    train, test = load("digits"), load("digits", "test")
    in_test = np.bincount(test.labels)
    everywhere = in_test + np.bincount(train.labels)
    share = 360 / 1797
    spread = np.sqrt(everywhere * share * (1 - share))
    assert (np.abs(in_test - everywhere * share) < 4 * spread).all()


def test_mnist_is_canonical_when_it_is_beside_the_repository():
    if not (data_sources.SHARED / "mnist").is_dir():
        pytest.skip("no shared/data/mnist beside the repository")
    train, test = load("mnist"), load("mnist", "test")
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert train.images.mean() == pytest.approx(0.1307, abs=1e-4)


def test_the_limit_keeps_the_first_images():
    assert len(load({"name": "digits", "limit": 7})) == 7


def test_the_split_is_disjoint_complete_and_the_same_for_the_same_seed():
    data = numbered(100)
    rest, held = split_holdout(data, 30, seed=5)
    again = split_holdout(data, 30, seed=5)[1]
    other = split_holdout(data, 30, seed=6)[1]
    assert sorted([*rest.labels, *held.labels]) == list(range(100))
    assert held.labels.tolist() == again.labels.tolist() != other.labels.tolist()
    assert len(held) == 30


def test_holding_everything_out_is_refused():
    with pytest.raises(DataError, match="holdout=10"):
        split_holdout(numbered(10), 10, seed=0)


@given(st.floats(0, 1, width=32), st.integers(0, 2**32))
@settings(max_examples=30)
def test_binarised_pixels_are_draws_of_their_grey_values(grey, seed):
    images = np.full((4000,), grey, np.float32)
    drawn = binarise(images, np.random.default_rng(seed))
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    # Five standard errors.
    assert abs(drawn.mean() - grey) <= 5 * np.sqrt(grey * (1 - grey) / 4000) + 1e-7
    assert np.array_equal(drawn, binarise(images, np.random.default_rng(seed)))


def test_a_folder_of_images_takes_its_labels_from_sub_folders(tmp_path):
    for label, value in (("cat", 10), ("dog", 200)):
        (tmp_path / label).mkdir()
        for i in range(10):
            content = png(np.full((6, 6), value, np.uint8))
            (tmp_path / label / f"{i}.png").write_bytes(content)
    train, test = load({"path": tmp_path}), load({"path": tmp_path}, "test")
    assert len(train) == 18
    assert len(test) == 2
    assert train.shape == (1, 6, 6)
    assert np.array_equal(train.images[:, 0, 0, 0] > 0.5, train.labels == 1)


def test_images_of_a_folder_are_resized_and_made_grey_when_asked(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.full((6, 9, 3), 255, np.uint8)))
    (tmp_path / "b.jpg").write_bytes(png(np.full((20, 20), 255, np.uint8)))
    data = load({"path": tmp_path, "test_path": tmp_path, "size": 8, "channels": 1})
    assert data.images.shape == (2, 1, 8, 8)
    assert data.labels is None
    assert data.images.min() == 1


def test_images_of_several_sizes_ask_for_a_size(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.zeros((6, 9), np.uint8)))
    (tmp_path / "b.png").write_bytes(png(np.zeros((6, 6), np.uint8)))
    with pytest.raises(DataError, match="set 'size'"):
        load({"path": tmp_path})


def test_a_broken_image_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        load({"path": tmp_path})


@pytest.mark.parametrize(
    "images",
    [
        np.full((5, 4, 4), 0.2),
        np.full((5, 1, 4, 4), 51, np.uint8),
        np.full((5, 4, 4, 3), 0.2, np.float32),
    ],
)
def test_an_npz_file_may_hold_bytes_or_floats_in_any_usual_layout(tmp_path, images):
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(5))
    data = load({"path": tmp_path / "x.npz", "test_path": tmp_path / "x.npz"})
    assert data.images.shape[2:] == (4, 4)
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(data.images, 0.2, atol=1e-6)


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ({"pictures": np.zeros((2, 4, 4))}, "no array 'images'"),
        ({"images": np.zeros((2, 4))}, "shape"),
        ({"images": np.full((2, 4, 4), 3.0)}, r"\[0, 1\]"),
        ({"images": np.full((2, 4, 4), np.nan)}, "NaN"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.zeros(3, int)}, "labels"),
        ({"images": np.array([[{}]], object)}, "npz"),
    ],
)
def test_an_npz_file_that_is_no_images_says_why(tmp_path, contents, complaint):
    np.savez(tmp_path / "x.npz", **contents)
    with pytest.raises(DataError, match=complaint):
        load({"path": tmp_path / "x.npz"})


def test_a_parquet_file_holds_encoded_images_as_bytes_or_structs(tmp_path):
    content = png(np.full((5, 5), 255, np.uint8))
    cells = {"image": [content] * 4, "img": [{"bytes": content, "path": None}] * 4}
    for column, values in cells.items():
        path = tmp_path / f"{column}.parquet"
        pq.write_table(pa.table({column: values, "label": [0, 1, 2, 3]}), path)
        data = load({"path": path, "test_path": path})
        assert data.images.shape == (4, 1, 5, 5)
        assert data.labels.tolist() == [0, 1, 2, 3]


def test_a_parquet_file_without_images_says_which_columns_it_has(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"\['x'\]"):
        load({"path": tmp_path / "x.parquet"})


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("mnits", "name"),
        ({}, "either 'name' or 'path'"),
        ({"name": "mnist", "size": 3}, "size"),
        ({"name": "mnist", "path": "x"}, "either 'name' or 'path'"),
        ({"path": "/nowhere.npz"}, "does not exist"),
        ({"name": "mnist", "shape": 3}, "shape"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_its_reason(source, complaint):
    with pytest.raises(DataError, match=complaint):
        load(source)


def test_a_download_is_checked_kept_and_read_from_the_cache(tmp_path, monkeypatch):
    content = idx_bytes(np.zeros((2, 2), np.uint8))
    answers = {"https://bad/": gzip.compress(b"other"), "https://good/": gzip.compress(content)}
    asked = []

    def download(url):
        asked.append(url)
        return answers[url]

    monkeypatch.setattr(data_sources, "_download", download)
    path = tmp_path / "deep" / "x.gz"
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for _ in range(2):
        got = data_sources.fetch(answers, path, md5=md5, decompress=True)
        assert got == content
    assert asked == ["https://bad/", "https://good/"]
    assert [p.name for p in path.parent.iterdir()] == ["x.gz"]


def test_no_mirror_with_the_right_file_is_an_error_that_names_each(tmp_path, monkeypatch):
    monkeypatch.setattr(data_sources, "_download", lambda url: b"junk")
    with pytest.raises(DataError, match=r"https://a/.*MD5.*https://b/"):
        data_sources.fetch(
            ["https://a/", "https://b/"], tmp_path / "x", md5="0" * 32, decompress=False
        )
    assert not list(tmp_path.iterdir())


def test_a_damaged_cached_file_says_to_remove_it(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"half")
    with pytest.raises(DataError, match="remove it"):
        data_sources.fetch([], tmp_path / "x.gz", md5="0" * 32, decompress=True)


def test_the_cache_folder_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("REVERIE_CACHE_DIR", str(tmp_path))
    assert data_sources.cache_folder() == tmp_path
    monkeypatch.delenv("REVERIE_CACHE_DIR")
    assert data_sources.cache_folder().parts[-2:] == (".cache", "reverie")


def test_a_data_config_is_called_after_its_source():
    assert DataConfig(name="mnist").title == "mnist"
    assert DataConfig(path="pictures/cats.npz").title == "cats"


def test_stacked_digits_are_three_digits_in_a_number():
    digits, stacked = load("mnist", "test"), load("stacked-mnist", "test")
    assert stacked.images.shape == (10_000, 3, 28, 28)
    pairs = zip(digits.images, digits.labels, strict=True)
    by_image = {image.tobytes(): label for image, label in pairs}
    for image, number in zip(stacked.images[:50], stacked.labels[:50], strict=True):
        written = [by_image[np.ascontiguousarray(channel)[None].tobytes()] for channel in image]
        assert number == 100 * written[0] + 10 * written[1] + written[2]
    assert stacked.labels.min() >= 0
    assert stacked.labels.max() <= 999
