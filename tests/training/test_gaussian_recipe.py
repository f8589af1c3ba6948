"""Real-valued rows: patches, whitening, and the recipe's whole path."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_training_cli import call, places
from training.data import Dataset
from training.data_files import DataError
from training.gaussian import GaussianRbm
from training.gaussian_config import PatchTable, kind_of_data
from training.gaussian_data import Whitening, cut, shape_of
from training.gaussian_table import table_rows
from training.tabular.table import TableConfig

RECIPE = """
name = "tiny-gaussian"
kind = "gaussian-rbm"
seed = 3
[data]
name = "digits"
limit = 300
holdout = 100
[patches]
side = 4
count = 500
[model]
hidden = 6
hidden_bias = -1.0
[train]
monitor_every = 1
monitor_betas = 20
phases = [
    { epochs = 1, batch = 50, chains = 20, sweeps = 1 },
    { epochs = 1, batch = 100, chains = 30, sweeps = 2 },
]
[evaluate]
betas = 200
runs = 50
reverse_runs = 50
reverse_burn_in = 20
"""


def pictures(n: int = 40, side: int = 6) -> Dataset:
    ramp = np.arange(side * side, dtype=np.float32).reshape(side, side) / (side * side)
    noise = np.random.default_rng(0).random((n, 3, side, side), dtype=np.float32)
    return Dataset(images=0.5 * ramp + 0.5 * noise, labels=None, name="ramps")


def test_patches_are_cut_from_inside_the_images_and_follow_the_seed():
    data, table = pictures(), PatchTable(side=3)
    rows = cut(data, table, count=200, seed=1)
    assert rows.shape == (200, 9)
    assert shape_of(data, table) == (1, 3, 3)
    grey = torch.from_numpy(data.images.mean(1))
    every = grey.unfold(1, 3, 1).unfold(2, 3, 1).reshape(-1, 9)
    assert (
        torch.cdist(rows[:5], every, compute_mode="donot_use_mm_for_euclid_dist")
        .min(1)
        .values.max()
        < 1e-5
    )
    assert torch.equal(rows, cut(data, table, count=200, seed=1))
    assert not torch.equal(rows, cut(data, table, count=200, seed=2))


def test_whole_images_are_taken_where_no_patches_are_asked_for():
    data = pictures()
    assert cut(data, PatchTable(), count=7, seed=1).shape == (40, 36)
    assert shape_of(data, PatchTable()) == (1, 6, 6)
    with pytest.raises(DataError, match="side=7 exceeds the images' 6×6"):
        cut(data, PatchTable(side=7), count=7, seed=1)


@pytest.mark.parametrize("whiten", [True, False])
def test_whitened_rows_have_mean_0_and_variance_1_and_come_back(whiten):
    table = PatchTable(side=3, floor=0.0, whiten=whiten)
    rows = cut(pictures(400), table, count=3000, seed=1)
    whitening = Whitening.of(rows, table)
    v = whitening(rows)
    covariance = v.T @ v / len(v)
    if not whiten:
        covariance = torch.diag(covariance.diagonal())
    torch.testing.assert_close(covariance, torch.eye(9), atol=1e-3, rtol=0)
    torch.testing.assert_close(v.mean(0), torch.zeros(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(whitening.undone(v), rows, atol=1e-4, rtol=0)


def test_scaled_units_are_whitened_alike_whatever_they_are_measured_in():
    table = PatchTable(floor=0.001)
    rows = torch.randn(2000, 4) @ torch.randn(4, 4)
    units = torch.tensor([1.0, 1e4, 1e-3, 1.0])
    one, other = (Whitening.of(x, table, scaled=True) for x in (rows, rows * units))
    torch.testing.assert_close(one(rows), other(rows * units), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(other.undone(other(rows * units)) / units, rows, atol=1e-2, rtol=0)


def test_a_unit_that_never_changes_does_not_blow_up():
    rows = torch.rand(100, 4)
    rows[:, 2] = 0.25
    assert bool(torch.isfinite(Whitening.of(rows, PatchTable(floor=0.01))(rows)).all())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaussian")
    (folder / "tiny.toml").write_text(RECIPE)
    call("train", str(folder / "tiny.toml"), *places(folder), "--threads", "1")
    return folder


def test_the_result_is_a_machine_with_its_figures_and_pictures(trained):
    made = trained / "runs" / "tiny-gaussian" / "machine"
    named = load_file(made / "weights.safetensors")
    machine = GaussianRbm(W=named["weight"], b=named["visible_bias"], c=named["hidden_bias"],
                          z=named["log_variance"])  # fmt: skip
    assert machine.W.shape == (16, 6)
    assert machine.c.mean() < -0.5
    assert {p.name for p in made.iterdir()} == {
        "weights.safetensors", "card.md", "preview.png", "filters.png",
    }  # fmt: skip
    card = (made / "card.md").read_text()
    for name in ("exact", "reverse_ais", "of_a_gaussian"):
        assert f"test_log_density_{name}" in card
    samples = trained / "runs" / "tiny-gaussian" / "samples"
    assert {p.name.split("-")[0] for p in samples.iterdir()} == {"filters", "particles"}


def test_a_second_training_is_the_same_and_export_tells_the_figures_again(trained, tmp_path):
    call("train", str(trained / "tiny.toml"), *places(tmp_path), "--threads", "1")
    first, second = (
        load_file(folder / "runs" / "tiny-gaussian" / "machine" / "weights.safetensors")
        for folder in (trained, tmp_path)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    output = call("export", str(tmp_path / "runs" / "tiny-gaussian"), "--device", "cpu")
    assert "tiny-gaussian" in output


def test_a_rate_that_blows_up_stops_the_training_and_says_so(trained, tmp_path):
    wild = ["--set", "train.learning_rate=10", "--set", "model.initial_scale=1"]
    output = call("train", str(trained / "tiny.toml"), *places(tmp_path), *wild, code=1)
    assert "lower the learning rate" in " ".join(output.split())
    assert not (tmp_path / "runs" / "tiny-gaussian" / "machine").exists()


def test_half_precision_is_refused(trained):
    bad = "train.phases=[{ epochs = 1, chain_precision = 'bfloat16' }]"
    output = call("train", str(trained / "tiny.toml"), *places(trained), "--set", bad, code=2)
    assert "chain_precision" in output


def stones(path, n: int = 300):
    """Two numbers that nearly say the same, one with gaps, and a word."""
    rng = np.random.default_rng(0)
    size = rng.gamma(3.0, size=n)
    price = 1000 * size + rng.normal(size=n)
    lines = [f"{'' if i % 10 == 0 else a},{b},{'red' if i % 2 else 'blue'}"
             for i, (a, b) in enumerate(zip(size, price, strict=True))]  # fmt: skip
    path.write_text("\n".join(["size,price,colour", *lines]) + "\n")
    return path


def test_the_rows_of_a_table_are_its_whole_rows_of_numbers(tmp_path):
    rows = table_rows(TableConfig(path=stones(tmp_path / "stones.csv")), seed=1)
    assert rows.names == ("size", "price")
    parts = (rows.train, rows.held_out, rows.test)
    assert sum(map(len, parts)) == 270
    assert all(bool(torch.isfinite(part).all()) for part in parts)
    with pytest.raises(DataError, match="1 columns of numbers"):
        table_rows(TableConfig(path=tmp_path / "stones.csv", drop=("price",)), seed=1)


def test_a_machine_learns_the_columns_of_a_table(trained, tmp_path):
    data = f'[data]\npath = "{stones(tmp_path / "stones.csv")}"\n[patches]\n'
    before, after = RECIPE.partition("[data]")[0], RECIPE.partition("[model]")[2]
    (tmp_path / "stones.toml").write_text(f"{before}{data}[model]{after}")
    call("train", str(tmp_path / "stones.toml"), *places(tmp_path), "--threads", "1")
    made = tmp_path / "runs" / "tiny-gaussian" / "machine"
    assert {p.name for p in made.iterdir()} == {"weights.safetensors", "card.md", "preview.png"}
    named = load_file(made / "weights.safetensors")
    assert named["weight"].shape == (2, 6)
    card = (made / "card.md").read_text()
    assert "the numeric columns size, price" in card
    assert "test_log_density_of_a_gaussian" in card
    (events,) = (tmp_path / "runs" / "tiny-gaussian" / "tensorboard").iterdir()
    assert b"particles/price" in events.read_bytes()
    bad = str(tmp_path / "stones.toml"), *places(trained), "--set", "patches.side=4"
    assert "patches.side is for images" in call("train", *bad, code=2)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"name": "digits"}, "images"),
        ({"path": "images.parquet"}, "images"),
        ({"name": "diamonds"}, "table"),
        ({"path": "stones.csv"}, "table"),
        ({"path": "stones.parquet", "drop": []}, "table"),
        (TableConfig(name="credit"), "table"),
    ],
)
def test_a_tables_name_file_or_keys_tell_it_from_images(given, kind):
    assert kind_of_data(given) == kind
