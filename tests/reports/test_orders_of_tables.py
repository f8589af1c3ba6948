"""Reports of orders of tables: beside the rows that the package carries, with nothing asked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from service.augmentation.destination import LocalFolder
from service.augmentation.order import Order, from_document
from service.augmentation.report_process import make_report
from service.augmentation.reporting import pinned
from service.contract import PackageError, read_manifest, read_verified, sha256_of, write_package
from service.engine import Engine
from service.errors import ServiceError
from service.reports.reference import read_table_reference
from service.reports.writing import HTML_FILE, JSON_FILE
from tests.augmentation.orders import contents, engine_of, fulfil, order_of
from tests.tables import DATA, write_tiny_table
from training.config import ConfigError
from training.tabular.reference import table_reference
from training.tabular.table import Splits, Table


def noise(n: int, *, seed: int) -> Table:
    """Rows with the columns of tiny-table, and one that it has not."""
    draw = np.random.default_rng(seed)
    size = draw.integers(0, 100, n).astype(np.float64)
    size[draw.random(n) < 0.1] = np.nan
    words = {
        name: np.array([*options], object)[draw.integers(0, len(options), n)]
        for name, options in (
            ("kind", ("cat", "dog", "owl")),
            ("home", ("barn, old", "tree", None)),
        )
    }
    columns = {
        "size": size,
        "weight": draw.normal(0, 1, n).round(1),
        "grade": draw.integers(1, 4, n).astype(np.float64),
        **words,
        "dropped": np.zeros(n),
    }
    return Table(columns, frozenset({"size", "grade"}))


SPLITS = Splits(noise(150, seed=0), noise(20, seed=1), noise(240, seed=2))


def with_reference(package: Path) -> Path:
    manifest = read_manifest(package)
    files = {n: read_verified(package, n, d) for n, d in manifest.digests().items()}
    content, reference = table_reference(SPLITS, DATA, title="noise", rows=120)
    files[reference.file] = content
    with_it = manifest.model_copy(update={"reference": reference})
    assert with_it.digest == manifest.digest
    return write_package(package.parent.parent, with_it, files)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    with_reference(write_tiny_table(folder))
    return folder


def ordered(engine: Engine, **asked) -> Order:
    order = order_of(engine, "tiny-table", n=200, chunk_rows=64, **asked)
    manifest = engine.registry.get("tiny-table").manifest
    report = vars(pinned(manifest, engine.settings.models_store))
    return from_document(order.document() | {"report": report})


async def made(engine: Engine, order: Order, folder: Path, memory: Path | None = None) -> dict:
    store = engine.settings.models_store

    async def here() -> dict:
        return await asyncio.to_thread(make_report, order, LocalFolder(folder), store, memory)

    return (await fulfil(engine, order, folder, report=here)).manifest["quality_report"]


@pytest.mark.parametrize("format_", ["parquet", "arrow", "csv"])
async def test_an_order_of_a_table_gets_the_whole_report(store, tmp_path, format_):
    async with engine_of(store) as engine:
        told = await made(engine, ordered(engine, format=format_), tmp_path)
    assert told["state"] == "made"
    wanted = {
        "fidelity.column_shapes", "fidelity.pair_trends", "fidelity.detection", "utility.tstr",
        "utility.gain", "copies.exact", "copies.near", "attack.distance",
    }  # fmt: skip
    assert wanted <= told["figures"].keys()
    assert all("real" in told["figures"][name] for name in wanted)
    document = json.loads((tmp_path / JSON_FILE).read_bytes())
    assert document["about"]["real data"].startswith("noise: 120 of the 150 rows")
    utility = next(s for s in document["sections"] if s["id"] == "utility")
    assert utility["title"] == "Utility: telling kind"
    assert "80% of them are at hand" in (tmp_path / HTML_FILE).read_text()


async def test_a_report_of_a_table_is_the_same_bytes_with_what_others_have_found(store, tmp_path):
    async with engine_of(store) as engine:
        for name in ("first", "second"):
            await made(engine, ordered(engine), tmp_path / name, tmp_path / "memory")
        await made(engine, ordered(engine), tmp_path / "alone")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "alone")
    assert len([*(tmp_path / "memory").iterdir()]) == 1


async def test_without_a_reference_the_reason_says_how_to_compare(tmp_path):
    write_tiny_table(tmp_path / "store")
    async with engine_of(tmp_path / "store") as engine:
        order, store = ordered(engine), engine.settings.models_store

        async def tries() -> None:
            with pytest.raises(ServiceError, match="reverie report compares"):
                make_report(order, LocalFolder(tmp_path / "out"), store)

        await fulfil(engine, order, tmp_path / "out", report=tries)


def test_the_reference_has_the_models_columns_with_their_types_and_nulls(store):
    package = store / "tiny-table" / "1"
    real = read_table_reference(package, read_manifest(package))
    assert (len(real.train), len(real.held_out), len(real.test)) == (120, 120, 60)
    assert tuple(real.train.columns) == tuple(column.name for column in DATA.columns)
    columns = real.train.columns
    assert [columns[c.name].numeric for c in DATA.columns] == [True, True, True, False, False]
    assert np.isnan(columns["size"].values).any()
    assert None in columns["home"].values
    assert real.population == 150


def test_a_reference_is_the_same_bytes_every_time():
    assert table_reference(SPLITS, DATA, title="noise") == table_reference(
        SPLITS, DATA, title="noise"
    )


def test_too_few_test_rows_are_refused():
    few = Splits(SPLITS.train, SPLITS.held_out, noise(2, seed=3))
    with pytest.raises(ConfigError, match="too few for a reference"):
        table_reference(few, DATA, title="noise")


@pytest.mark.parametrize("content", [b"no table", b""])
def test_a_reference_that_is_no_table_is_told_of(tmp_path, store, content):
    manifest = read_manifest(store / "tiny-table" / "1")
    told = manifest.reference.model_copy(update={"sha256": sha256_of(content)})
    (tmp_path / told.file).write_bytes(content)
    with pytest.raises(PackageError, match="export it again"):
        read_table_reference(tmp_path, manifest.model_copy(update={"reference": told}))
