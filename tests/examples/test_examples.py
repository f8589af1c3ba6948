"""Every example, run from start to finish as its reader would, against a real service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest
from PIL import Image

from tests.api.packages import write_colour
from tests.published import ROOT, serving

DIGITS = tuple("0123456789")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the service and the examples write; `store` in it has the published models, and more."""
    found = tmp_path_factory.mktemp("examples")
    shutil.copytree(ROOT / "models_store", found / "store")
    # A conditional generator of 28 × 28 noise that also classifies: what it makes is no digit.
    with patch.multiple("tests.api.packages", SHAPE=(1, 28, 28), PIXELS=784, NAMES=DIGITS):
        write_colour(found / "store")
    return found


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder, store=folder / "store") as found:
        yield found


def run(folder: Path, url: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / script), "--url", url, *options],
        cwd=folder, capture_output=True, text=True, timeout=110,
        env=os.environ | {"REVERIE_DATA_DIR": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def said(folder: Path, url: str, script: str, *options: str) -> str:
    done = run(folder, url, script, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_application_gets_digits_a_path_a_mended_digit_and_a_gate(folder: Path, url: str):
    text = said(folder, url, "application.py", "--out", str(folder / "pictures"))
    with Image.open(folder / "pictures" / "path.gif") as path:
        assert path.n_frames == 36
    with Image.open(folder / "pictures" / "mended.png") as mended:
        assert mended.width > 7 * mended.height
    assert "  0% admitted of noise" in text
    assert "refused: " in text
    assert "order it with POST /v1/augmentations" in text


@pytest.mark.slow
def test_an_operator_sees_phases_overload_and_new_models(folder: Path, url: str):
    text = said(
        folder, url, "operators.py", "--requests", "20", "--burst", "16", "--deadline", "1.5",
        "--store", str(folder / "store"), "--reload-port", "0",
    )  # fmt: skip
    assert "/readyz: 200" in text
    for phase in ("in all", "decode", "queue", "compute", "encode"):
        assert f"  {phase:8} half within " in text
    assert "refused, asked to come back in" in text
    assert " 16 answered\n" in text  # with tries and time enough, all of them
    assert "visiting-generator@1 answers" in text
    assert ", and 0 failed" in text
    assert not (folder / "store" / "visiting-generator").exists()


SMALL = ("--repeats", "2", "--others", "60", "--have", "10", "--test", "1000")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ("mnist-dcgan", "--labeller", "own"),
        ("mnist-dcgan", "--labeller", "colour"),
        ("colour", "--classifier", "svm"),
    ],
)
def test_a_data_team_measures_what_a_rare_class_gains(folder: Path, url: str, model: tuple):
    out = folder / "-".join(model).replace("--", "")
    text = said(folder, url, "data_team.py", "--model", *model, "--out", str(out), *SMALL)
    assert list(out.rglob("*.parquet"))
    assert "with as many real rows" in text
    assert "synthetic rows gain, in points:" in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "mnist-dcgan"), "has no labels, so nobody says which of its rows are a 8"),
        (("--model", "no-such-model"), "cannot be asked: "),
        (("--model", "mnist-dcgan", "--labeller", "mnist-dcgan"), "cannot classify"),
    ],
)
def test_a_model_that_cannot_help_is_told_in_a_sentence(
    folder: Path, url: str, options: tuple[str, ...], sentence: str
):
    done = run(folder, url, "data_team.py", *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_no_example_is_named_like_a_module_that_python_needs():
    """A script's folder comes first on the path: operator.py there would hide Python's own."""
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert not names & sys.stdlib_module_names


def test_the_service_is_still_well(url: str):
    assert httpx.get(f"{url}/readyz").status_code == 200
