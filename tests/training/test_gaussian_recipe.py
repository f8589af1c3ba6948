"""Real-valued rows: patches, whitening, and the recipe's whole path."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.test_training_cli import call, places
from training.data import Dataset
from training.data_files import DataError
from training.gaussian import GaussianRbm
from training.gaussian_config import PatchTable
from training.gaussian_data import Whitening, cut, shape_of

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


def test_half_precision_is_refused(trained):
    bad = "train.phases=[{ epochs = 1, chain_precision = 'bfloat16' }]"
    output = call("train", str(trained / "tiny.toml"), *places(trained), "--set", bad, code=2)
    assert "chain_precision" in output
