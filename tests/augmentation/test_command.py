"""`reverie augment`: what it makes, how it goes on, and how it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from service.augmentation.destination import LocalFolder
from service.augmentation.holds import Held
from service.augmentation.store import Lock
from service.cli import app
from tests.augmentation.orders import contents

GAN = ("augment", "tiny-gan", "--n", "300", "--chunk-rows", "100")


def reverie(store: Path, *arguments: object, code: int = 0):
    done = CliRunner().invoke(app, [*map(str, arguments), "--store", str(store)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_an_order_is_made_summed_up_and_not_made_twice(order_store, tmp_path):
    out = tmp_path / "out"
    said = reverie(order_store, *GAN, "--out", out, "--seed", 7)
    assert "300 rows in 3 files" in said.stdout
    assert "seed 7" in said.stdout
    assert pq.read_table(out / "data").num_rows == 300
    before = contents(out)
    assert "300 rows in 3 files" in reverie(order_store, *GAN, "--out", out).stdout
    assert contents(out) == before
    assert set(before) == {"order.json", "manifest.json"} | {
        f"data/chunk-0000{i}.parquet" for i in range(3)
    }


def test_workers_change_no_byte(order_store, tmp_path):
    for workers in (1, 4):
        reverie(order_store, *GAN, "--out", tmp_path / str(workers), "--seed", 7,
                "--workers", workers)  # fmt: skip
    assert contents(tmp_path / "1") == contents(tmp_path / "4")


def test_labels_rules_and_formats_are_passed_on(order_store, tmp_path):
    out = tmp_path / "out"
    said = reverie(
        order_store, "augment", "colour", "--labels", "cat=30,2=1_0", "--judge", "colour",
        "--format", "imagefolder", "--out", out, "--seed", 1,
    )  # fmt: skip
    assert "cat: 30, dog: 0, owl: 10" in said.stdout
    assert "rejected" in said.stdout
    reverie(
        order_store, "augment", "tiny-gan", "-n", 20, "--accept-p", 0.3, "--dtype", "uint8",
        "--unique", "--truncation", 0.9, "--format", "arrow", "--out", tmp_path / "a",
    )  # fmt: skip
    reverie(order_store, "augment", "tiny-rbm", "-n", 20, "--burn-in", 3, "--values", "sample",
            "--temperature", 2, "--format", "npz", "--out", f"file://{tmp_path}/b")  # fmt: skip
    order = json.loads((tmp_path / "b" / "order.json").read_text())
    assert (order["burn_in"], order["values"], order["temperature"]) == (3, "sample", 2.0)


def test_a_data_set_is_topped_up(order_store, tmp_path):
    first, more = tmp_path / "first", tmp_path / "more"
    reverie(order_store, "augment", "colour", "--labels", "cat=30,owl=5", "--out", first)
    reverie(order_store, "augment", "colour", "--top-up", first, "--out", more)
    assert json.loads((more / "manifest.json").read_text())["delivered"] == {
        "cat": 0, "dog": 30, "owl": 25,
    }  # fmt: skip
    to = ("--top-up", first / "data/chunk-00000.parquet", "--to-counts", "dog=4,2=6")
    reverie(order_store, "augment", "colour", *to, "--out", tmp_path / "third")
    delivered = json.loads((tmp_path / "third" / "manifest.json").read_text())["delivered"]
    assert delivered == {"cat": 0, "dog": 4, "owl": 1}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nobody", "-n", "1"], "no model 'nobody'"),
        (["tiny-gan"], "n is missing"),
        (["tiny-gan", "-n", "1", "--format", "xls"], "--format 'xls' is not one of parquet"),
        (["tiny-gan", "-n", "1", "--burn-in", "5"], "leave burn_in out"),
        (["colour", "--labels", "cat"], "'cat' is not LABEL=COUNT"),
        (["colour", "--labels", "cat=1,cat=2"], "each label once"),
        (["colour", "--top-up", "/nowhere"], "is not there"),
        (["tiny-gan", "-n", "1", "--device", "tpu"], "setting device='tpu'"),
        (["tiny-gan", "-n", "1", "--judge", "nobody"], "no model 'nobody'"),
        (["tiny-gan", "-n", "900_000_000"], "MB are free"),
    ],
)
def test_mistakes_are_one_line_and_status_two(order_store, tmp_path, arguments, complaint):
    done = reverie(order_store, "augment", *arguments, "--out", tmp_path / "out", code=2)
    assert complaint in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "out" / "order.json").exists()


def test_folders_of_others_are_left_alone(order_store, tmp_path):
    out = tmp_path / "out"
    reverie(order_store, *GAN, "--out", out, "--seed", 7)
    before = contents(out)
    other = reverie(order_store, *GAN, "--out", out, "--seed", 8, code=2)
    assert "holds another order, with seed=7 and not 8" in other.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").touch()
    photos = reverie(order_store, *GAN, "--out", tmp_path / "photos", code=2)
    assert "give an empty one" in photos.stderr
    assert "is a file" in reverie(order_store, *GAN, "--out", out / "order.json", code=2).stderr
    assert "no file system" in reverie(order_store, *GAN, "--out", "gopher://x", code=2).stderr
    assert contents(out) == before
    assert contents(tmp_path / "photos") == {"me.png": b""}


def test_one_run_at_a_time_writes_to_a_folder(order_store, tmp_path):
    (tmp_path / ".receipts").mkdir()
    lock = Lock(tmp_path / ".receipts" / "lock")
    assert lock.taken()
    done = reverie(order_store, *GAN, "--out", tmp_path, code=2)
    assert "another run is writing" in done.stderr
    lock.close()
    reverie(order_store, *GAN, "--out", tmp_path)


def test_what_stays_short_ends_with_status_one_and_says_how_short(order_store, tmp_path):
    rule = ("--accept-p", 0.99, "--max-draws", 2)
    done = reverie(order_store, *GAN, *rule, "--out", tmp_path, code=1)
    assert "of 300 rows were delivered" in done.stderr
    assert "rejected" in done.stdout


def test_a_full_disk_ends_with_status_one_and_the_same_command_goes_on(
    order_store, tmp_path, monkeypatch
):
    write = LocalFolder.write

    def full(self, name, content):
        if name.startswith("data/chunk-00001"):
            raise Held("no_space", "there is no space left for the order's files")
        write(self, name, content)

    monkeypatch.setattr(LocalFolder, "write", full)
    done = reverie(order_store, *GAN, "--out", tmp_path, code=1)
    assert "no space left" in done.stderr
    assert "the same command goes on from here" in done.stderr
    monkeypatch.undo()
    assert "300 rows" in reverie(order_store, *GAN, "--out", tmp_path).stdout


def heed_ctrl_c():
    """Whatever the shell that began the tests does with it in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_stops_and_the_same_command_goes_on(order_store, tmp_path):
    command = [
        sys.executable, "-m", "service.cli", "augment", "tiny-rbm", "--n", "30_000", "--out",
        str(tmp_path / "out"), "--burn-in", "300", "--chunk-rows", "200", "--seed", "7",
        "--format", "npz", "--store", str(order_store),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509  nothing here holds a lock at a fork
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("data/chunk-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in said
    kept = contents(tmp_path / "out")
    assert not [name for name in kept if name.endswith(".tmp")]
    assert ".receipts/chunk-0.json" in kept or ".receipts/chunk-1.json" in kept
