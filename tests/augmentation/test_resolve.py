"""From what is asked to what is ordered: counts, top-ups, defaults, and refusals in words."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.augmentation.order import Acceptance
from service.augmentation.resolve import Asked, TopUp, resolve
from service.augmentation.topup import class_counts
from service.contract import ImageData, Labels, Manifest, read_manifest
from service.errors import InvalidInput, MissingCapability
from service.settings import Settings
from tests.augmentation.orders import engine_of, fulfil, order_of

SETTINGS = Settings(_env_file=None)
NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="session")
def manifests(order_store: Path) -> dict[str, Manifest]:
    return {n: read_manifest(order_store / n / "1") for n in ("tiny-gan", "tiny-rbm", "colour")}


def ordered(manifests, model="colour", judge=None, settings=SETTINGS, **asked):
    return resolve(Asked(model=model, **asked), manifests[model], manifests.get(judge), settings)


def test_labels_are_balanced_unless_told(manifests):
    assert ordered(manifests, n=11).counts == (4, 4, 3)
    assert ordered(manifests, n=11, labels="balanced").requested == {"cat": 4, "dog": 4, "owl": 3}
    assert ordered(manifests, labels={"owl": 2, "0": 1}).counts == (1, 0, 2)
    assert ordered(manifests, n=3, labels={"owl": 2, "0": 1}).n == 3


def test_a_model_without_labels_has_rows_alone(manifests):
    order = ordered(manifests, "tiny-gan", n=5)
    assert (order.labels, order.counts, order.requested) == (None, None, {"all": 5})


HAVE = st.fixed_dictionaries({name: st.integers(0, 1000) for name in NAMES})


@given(have=HAVE, to=st.integers(0, 1200))
def test_a_top_up_orders_what_is_missing_and_no_more(manifests, have, to):
    top_up = TopUp(have=have, to=to)
    missing = {name: max(to - count, 0) for name, count in have.items()}
    if not any(missing.values()):
        with pytest.raises(InvalidInput, match="nothing to order"):
            ordered(manifests, top_up=top_up)
        return
    order = ordered(manifests, top_up=top_up)
    assert order.requested == missing
    assert all(have[k] + missing[k] == max(to, have[k]) for k in NAMES)


@given(have=HAVE)
def test_a_top_up_to_the_largest_evens_the_classes_out(manifests, have):
    top_up = TopUp(have=have, to="largest")
    if len(set(have.values())) == 1:
        with pytest.raises(InvalidInput, match="nothing to order"):
            ordered(manifests, top_up=top_up)
        return
    order = ordered(manifests, top_up=top_up)
    assert {have[k] + order.requested[k] for k in NAMES} == {max(have.values())}


def test_a_top_up_of_some_classes_leaves_the_others(manifests):
    top_up = TopUp(have={"cat": 5, "dog": 9}, to={"cat": 7, "owl": 3})
    assert ordered(manifests, top_up=top_up).requested == {"cat": 2, "dog": 0, "owl": 3}


def test_defaults_are_filled_in_so_that_the_order_decides_every_byte(manifests):
    order = ordered(manifests, n=5)
    assert (order.format, order.dtype, order.chunk_rows) == ("parquet", "float32", 8192)
    assert 0 <= order.seed < 2**53
    assert ordered(manifests, n=5, format="csv").dtype == "uint8"
    assert ordered(manifests, n=5, dtype="uint8").dtype == "uint8"
    large = manifests["tiny-gan"].model_copy(update={"data": ImageData(shape=(3, 256, 256))})
    found = resolve(Asked(model="tiny-gan", n=9), large, None, SETTINGS)
    assert found.chunk_rows == 8


@pytest.mark.parametrize(
    ("model", "asked", "complaint"),
    [
        ("tiny-gan", {}, "n is missing"),
        ("colour", {}, "n is missing"),
        ("tiny-gan", {"n": 5, "labels": "balanced"}, "is not conditional: leave labels out"),
        ("tiny-gan", {"top_up": TopUp(have={}, to=5)}, "is not conditional: leave top_up out"),
        ("colour", {"n": 4, "labels": {"cat": 5}}, "n=4, but the labels come to 5"),
        ("colour", {"labels": {"cow": 5}}, "'cow' is no class; the classes are cat, dog, owl"),
        ("colour", {"labels": {"3": 5}}, "'3' is no class"),
        ("colour", {"labels": {"cat": 5, "0": 5}}, "given twice"),
        ("colour", {"labels": {"cat": -5}}, "below 0"),
        ("colour", {"labels": {"cat": 0}}, "n=0 is not between 1"),
        ("colour", {"labels": "balanced", "n": 1, "top_up": TopUp(have={}, to=5)}, "give one"),
        ("colour", {"n": 2_000_000_001}, "is not between 1 and 1000000000"),
        ("tiny-rbm", {"n": 5, "burn_in": 10_001}, "burn_in=10001 exceeds 10000"),
        ("tiny-gan", {"n": 5, "chunk_rows": 70_000}, "chunk_rows=70000 is not between"),
        ("tiny-gan", {"n": 5, "format": "csv", "dtype": "float32"}, "csv holds 8-bit pixels"),
        ("colour", {"n": 5, "accept": Acceptance(max_p_value_rejected=0.1)}, "no p-values by mean"),
        ("tiny-gan", {"n": 5, "accept": Acceptance(method="distance")}, "method is for"),
        (
            "tiny-gan",
            {"n": 5, "accept": Acceptance(max_p_value_rejected=0.1, method="x")},
            "calibrated methods are distance",
        ),
    ],
)
def test_refusals_say_what_is_wrong(manifests, model, asked, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        ordered(manifests, model, **asked)


def test_a_judge_classifies_the_same_images_into_the_same_classes(manifests):
    colour = manifests["colour"]
    rule = Acceptance(judge="judge")

    def judged_by(judge: Manifest, model: str = "colour"):
        asked = Asked(model=model, n=5, accept=rule)
        return resolve(asked, manifests[model], judge, SETTINGS)

    found = judged_by(colour).accept
    assert (found.judge, found.judge_digest) == ("colour@1", colour.digest)
    with pytest.raises(InvalidInput, match="no labels that a judge could agree with"):
        judged_by(colour, "tiny-gan")
    with pytest.raises(MissingCapability, match="cannot classify"):
        judged_by(manifests["tiny-gan"])
    with pytest.raises(InvalidInput, match="does not know the class 'owl'"):
        judged_by(colour.model_copy(update={"labels": Labels(names=("cat", "dog", "cow"))}))
    with pytest.raises(InvalidInput, match="does not take images like"):
        judged_by(colour.model_copy(update={"data": ImageData(shape=(3, 5, 5))}))


def test_models_that_cannot_sample_and_services_that_answer_too_little_are_refused(manifests):
    colour = manifests["colour"]
    judge = {"classify": colour.functions["classify"]}
    with pytest.raises(MissingCapability, match="cannot sample; it can classify"):
        resolve(
            Asked(model="colour", n=5),
            colour.model_copy(update={"functions": judge, "scores": ()}),
            None,
            SETTINGS,
        )
    small = Settings(_env_file=None, max_rows=32)
    with pytest.raises(InvalidInput, match="REVERIE_MAX_ROWS"):
        ordered(manifests, n=5, settings=small)


def write_table(path: Path, labels: list) -> Path:
    table = pa.table({"label": labels, "x": range(len(labels))})
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_labels_of_tables_are_counted(tmp_path: Path, suffix):
    path = write_table(tmp_path / f"data{suffix}", ["owl", "cat", "owl", "owl"])
    assert class_counts(path) == {"cat": 1, "owl": 3}
    write_table(tmp_path / f"more{suffix}", ["cat"] * 5)
    assert class_counts(tmp_path) == {"cat": 6, "owl": 3}
    indices = write_table(tmp_path / f"indices{suffix}", [2, 2, 0])
    assert class_counts(indices) == {"0": 1, "2": 2}


def test_labels_of_image_folders_are_their_folders_or_their_metadata(tmp_path: Path):
    for name in ("cat/1.png", "cat/2.JPG", "owl/deep/3.png", "owl/notes.txt"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert class_counts(tmp_path) == {"cat": 2, "owl": 1}
    lines = [json.dumps({"file_name": f"{i}.png", "kind": "dog"}) for i in range(4)]
    (tmp_path / "cat" / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    assert class_counts(tmp_path, column="kind") == {"dog": 4}


async def test_labels_of_an_order_are_those_that_it_delivered(order_store: Path, tmp_path: Path):
    async with engine_of(order_store) as engine:
        await fulfil(engine, order_of(engine, "colour", labels={"cat": 5, "owl": 2}), tmp_path)
    assert class_counts(tmp_path) == {"cat": 5, "dog": 0, "owl": 2}


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: None, "is not there"),
        (lambda p: p.mkdir(), "no labelled rows"),
        (lambda p: p.write_text("x"), "is not a folder, nor one of"),
    ],
)
def test_what_has_no_labels_is_refused(tmp_path: Path, make, complaint):
    path = tmp_path / "data"
    make(path)
    with pytest.raises(InvalidInput, match=complaint):
        class_counts(path)


def test_tables_without_the_column_or_of_no_kind_are_refused(tmp_path: Path):
    path = write_table(tmp_path / "data.parquet", ["cat"])
    with pytest.raises(InvalidInput, match="has no column 'class'; it has label, x"):
        class_counts(path, column="class")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(InvalidInput, match="cannot be read"):
        class_counts(tmp_path / "bad.parquet")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(InvalidInput, match="without 'label'"):
        class_counts(tmp_path / "m")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "manifest.json").write_text("[]")
    with pytest.raises(InvalidInput, match="not the manifest of an order"):
        class_counts(tmp_path / "o")
