"""The README's commands, run as a reader would run them against the published models."""

import json
import re
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.published import ROOT, serving

READERS_URL = "http://127.0.0.1:8000"
MODELS = ("mnist-dcgan", "mnist-rbm")


def curls():
    """Every curl of the README's sh blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


def pythons():
    """Every python block of the README, in order."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A folder with what the README's commands and programs wrote, from a real server."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "docs").symlink_to(ROOT / "docs")
    with serving(folder) as url:
        for command in curls():
            here = command.replace(READERS_URL, url)
            subprocess.run(["bash", "-c", f"{here} --fail-with-body"], check=True, cwd=folder)
        for program in pythons():
            here = program.replace(READERS_URL, url)
            subprocess.run([sys.executable, "-W", "error", "-c", here], check=True, cwd=folder)
        yield folder


def test_every_operation_has_a_command():
    said = "\n".join(curls())
    for operation in ("sample", "interpolate", "inpaint", "score", "encode", "reconstruct"):
        assert f"/{operation} " in said


def test_the_greeting_s_request_works(answers):
    (line,) = re.findall(r"^ +(curl .*)$", (answers / "serve.log").read_text(), re.MULTILINE)
    here = re.sub(r"-o \S+", "-o greeted", line)
    subprocess.run(["bash", "-c", f"{here} --fail-with-body"], check=True, cwd=answers)
    assert (answers / "greeted").stat().st_size


def test_pictures_are_pictures(answers):
    with Image.open(answers / "digits.png") as digits:
        assert digits.width == digits.height >= 8 * 28
        assert np.asarray(digits.convert("L")).std() > 20
    with Image.open(answers / "walk.gif") as walk:
        assert walk.n_frames == 24
    with Image.open(answers / "digit.png") as digit, Image.open(answers / "again.png") as again:
        assert digit.size == again.size == (28, 28)
    with Image.open(answers / "filled.png") as filled:
        assert filled.width > 4 * filled.height


def test_samples_as_json_and_npy_are_the_same_rows(answers):
    document = json.loads((answers / "samples.json").read_text())
    array = np.load(answers / "samples.npy")
    assert document["shape"] == [4, 1, 28, 28]
    assert array.shape == (16, 1, 28, 28)
    assert np.array_equal(np.array(document["samples"], np.float32), array[:4])
    assert document["diagnostics"]["sweeps"] > 0


def test_scores_features_models_and_card_say_what_the_readme_says(answers):
    score = json.loads((answers / "score.json").read_text())
    assert 0 < score["p_values"][0] <= 1
    assert score["n_calibration"] >= 1000
    features = json.loads((answers / "features.json").read_text())
    assert np.array(features["features"]).shape == (1, 64)
    listed = json.loads((answers / "models.json").read_text())["models"]
    assert {m["name"] for m in listed if m["state"] == "ready"} >= set(MODELS)
    assert (answers / "card.md").read_text().startswith("#")


def test_the_python_example_does_what_it_says(answers):
    said = "\n".join(pythons())
    for method in ("sample", "interpolate", "inpaint", "score", "augment"):
        assert f"client.{method}(" in said
    with Image.open(answers / "digit-0.png") as digit:
        assert digit.size == (28, 28)
    files = [pq.read_table(path) for path in sorted((answers / "synthetic").rglob("*.parquet"))]
    assert sum(table.num_rows for table in files) == 1000


def test_every_picture_and_page_that_the_readme_names_is_there():
    for target in re.findall(r"\]\(([^)h][^)]*)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target
