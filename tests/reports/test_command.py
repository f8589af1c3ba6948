"""`reverie report`, as a person types it, and the report of `reverie augment`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.reports.data import bars


def reverie(*arguments: object, code: int = 0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, n, seed in (("made", 200, 3), ("real", 300, 1), ("unseen", 300, 2)):
        rows = bars(n, seed=seed)
        np.savez(folder / f"{name}.npz", images=rows.pixels, labels=rows.labels.astype(str))
    np.savez(folder / "big.npz", images=np.zeros((60, 8, 8), np.uint8))
    (folder / "table.csv").write_text("a,b\n" + "1,x\n" * 80)
    return folder


def test_a_report_is_written_and_told_of(data, tmp_path):
    out = tmp_path / "report"
    said = reverie("report", data / "made.npz", "--real", data / "real.npz",
                   "--held-out", data / "unseen.npz", "--out", out)  # fmt: skip
    assert "nothing stands out" in said.stdout
    assert "report.html" in said.stdout
    document = json.loads((out / "report.json").read_bytes())
    assert document["title"] == "made.npz beside real.npz"
    assert document["notices"] == []


def test_copies_stand_out_on_the_terminal_too(data, tmp_path):
    said = reverie("report", data / "real.npz", "--real", data / "real.npz",
                   "--held-out", data / "unseen.npz", "--out", tmp_path)  # fmt: skip
    assert "are exact copies of training rows" in said.stdout


def test_one_real_data_set_is_split_by_the_seed(data, tmp_path):
    for out in ("a", "b"):
        reverie("report", data / "made.npz", "--real", data / "real.npz", "--seed", 5,
                "--out", tmp_path / out)  # fmt: skip
    assert (tmp_path / "a/report.html").read_bytes() == (tmp_path / "b/report.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing.npz", "--real", "real.npz"), "nothing.npz is not there"),
        (("made.npz", "--real", "table.csv"), "one side holds images and another a table"),
        (("made.npz", "--real", "big.npz"), "the synthetic images are [1, 6, 6]"),
        (("made.npz", "--real", "real.npz", "--judge", "nobody"), "no model 'nobody'"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(data, tmp_path, arguments, says):
    paths = [data / a if a.endswith((".npz", ".csv")) else a for a in arguments]
    done = reverie("report", *paths, "--out", tmp_path, "--store", tmp_path, code=2)
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_an_order_on_the_command_line_brings_its_report(reported_store, tmp_path, monkeypatch):
    monkeypatch.setenv("REVERIE_ORDER_REPORTS", "true")
    order = ("augment", "tiny-gan", "--n", 150, "--seed", 7, "--store", reported_store)
    said = reverie(*order, "--out", tmp_path / "with").stdout
    assert (tmp_path / "with/report.html").is_file()
    assert "report.html" in said
    reverie(*order, "--out", tmp_path / "without", "--no-report")
    assert not (tmp_path / "without/report.html").exists()
    assert (tmp_path / "with/data").is_dir()
