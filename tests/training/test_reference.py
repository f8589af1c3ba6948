"""References of packages, and the judge as a package."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from service.contract import PackageError, read_manifest, read_package
from service.reports.judging import open_judge
from service.reports.reference import read_reference, read_table_reference
from service.reports.rows import Images
from training.config import ConfigError
from training.data import Dataset, load
from training.judge import load_judge
from training.reference import bounded_reference, reference_of, referenced

STORE = Path(__file__).parents[2] / "models_store"


def noise(n: int, *, labelled: bool = True) -> Dataset:
    images = np.random.default_rng(n).random((n, 1, 4, 4), np.float32)
    return Dataset(images, np.arange(n) % 3 if labelled else None, "noise")


def test_a_reference_is_the_same_bytes_every_time_and_splits_the_test_images():
    content, reference = reference_of(noise(50), noise(30), judge=None, rows=20)
    assert reference_of(noise(50), noise(30), judge=None, rows=20) == (content, reference)
    assert (reference.train, reference.held_out, reference.test) == (20, 20, 10)
    assert reference.population == 50


def test_held_out_and_test_images_share_none():
    whole = noise(30)
    content, _ = reference_of(noise(50), whole, judge=None, rows=20)
    with np.load(io.BytesIO(content)) as arrays:
        parts = [arrays[f"{p}_images"] for p in ("held_out", "test")]
    rows = {row.tobytes() for part in parts for row in part}
    assert len(rows) == 30


def test_images_without_labels_have_a_reference_without_them():
    content, _ = reference_of(noise(9, labelled=False), noise(9, labelled=False), judge=None)
    with np.load(io.BytesIO(content)) as arrays:
        assert sorted(arrays.files) == ["held_out_images", "test_images", "train_images"]


def test_a_reference_that_would_be_large_has_fewer_rows():
    whole, _ = reference_of(noise(60), noise(60), judge=None)
    content, reference = bounded_reference(
        noise(60), noise(60), judge=None, most_bytes=len(whole) // 2
    )
    assert len(content) < len(whole)
    assert (reference.train, reference.held_out) == (30, 30)
    assert bounded_reference(noise(60), noise(60), judge=None)[0] == whole


def test_too_few_test_images_are_refused():
    with pytest.raises(ConfigError, match="too few for a reference"):
        reference_of(noise(9), noise(2), judge=None)


PICTURED = ["mnist-dcgan", "mnist-rbm", "mnist-dbn", "digits-rbm", "digits-bm"]


@pytest.mark.parametrize("name", PICTURED)
def test_the_published_models_carry_a_reference(name):
    (package,) = (STORE / name).iterdir()
    manifest = read_package(package)
    real = read_reference(package, manifest)
    assert real is not None
    assert real.train.labels is not None
    assert real.train.shape == manifest.data.shape
    assert manifest.reference.judge == ("mnist-judge" if name.startswith("mnist") else None)


@pytest.mark.parametrize(("name", "rows"), [("credit-gan", 593), ("diamonds-gan", 2000)])
def test_the_published_models_of_tables_carry_a_reference(name, rows):
    package = STORE / name / "1"
    manifest = read_package(package)
    real = read_table_reference(package, manifest)
    assert real is not None
    assert (len(real.train), len(real.held_out)) == (2000, rows)
    assert tuple(real.test.columns) == tuple(column.name for column in manifest.data.columns)


def test_a_damaged_reference_is_told_of(tmp_path):
    package = STORE / "digits-rbm" / "1"
    manifest = read_manifest(package)
    (tmp_path / manifest.reference.file).write_bytes(b"damaged")
    with pytest.raises(PackageError, match="was changed or damaged"):
        read_reference(tmp_path, manifest)


def test_a_model_without_a_recipe_gets_no_reference(tmp_path):
    from tests.packages import write_tiny_gan

    with pytest.raises(ConfigError, match="names no recipe"):
        referenced(write_tiny_gan(tmp_path))


def test_the_published_judge_sees_what_the_committed_one_sees():
    package = STORE / "mnist-judge" / "1"
    judge = open_judge(package, read_package(package))
    images = load("mnist", "test").images[:100]
    pixels = np.rint(images * 255).astype(np.uint8)
    seen, wanted = judge.look(Images(pixels)), load_judge().look(images)
    assert seen.classes.tolist() == [str(k) for k in wanted.classes]
    np.testing.assert_allclose(seen.features, wanted.features, atol=1e-4)
    assert read_manifest(package).provenance["weights_sha256"] == load_judge().sha256
