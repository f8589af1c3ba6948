"""Orders in shares: processes that know nothing of each other make what one process would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.augmentation.destination import LocalFolder
from service.augmentation.holds import Held
from service.augmentation.shard import app as shard_app
from service.augmentation.shares import Share
from service.augmentation.store import Lock
from service.cli import app
from tests.augmentation.orders import contents, plain

GAN = ("tiny-gan", "--n", "300", "--chunk-rows", "30", "--seed", "7", "--format", "npz")
UNIQUE = ("tiny-rbm", "--n", "300", "--chunk-rows", "60", "--seed", "7", "--format", "npz",
          "--unique", "--values", "sample", "--burn-in", "2")  # fmt: skip


@pytest.fixture
def reverie(order_store):
    def call(*arguments: object) -> str:
        done = CliRunner().invoke(
            app, ["augment", *map(str, arguments), "--store", str(order_store)]
        )
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    return call


@pytest.fixture
def shard(order_store):
    def call(out: Path, *arguments: object, code: int = 0, env=None) -> str:
        given = ["--out", str(out), *map(str, arguments), "--store", str(order_store)]
        done = CliRunner().invoke(shard_app, given, env=env)
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    return call


@given(st.integers(1, 2000), st.integers(1, 300))
def test_every_chunk_is_in_one_share_and_shares_are_alike(n: int, of: int):
    order = plain(n=n, chunk_rows=7)
    shares = [Share(index, of).chunks_of(order) for index in range(of)]
    assert sorted(chunk for share in shares for chunk in share) == list(range(order.chunks))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("asked", [GAN, UNIQUE], ids=["plain", "unique"])
def test_shares_in_any_order_make_the_bytes_of_one_process(reverie, shard, tmp_path, asked):
    reverie(*asked, "--out", tmp_path / "one")
    planned = reverie(*asked, "--out", tmp_path / "many", "--plan")
    assert "chunks of" in planned
    assert contents(tmp_path / "many").keys() == {"order.json", ".receipts/lock"}
    for index in (2, 0, 1):
        said = shard(tmp_path / "many", "--of", 3, env={"JOB_COMPLETION_INDEX": str(index)})
        assert f"share {index} of 3: done" in said
    assert "300 rows in" in shard(tmp_path / "many", "--finish", "--verify")
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert "300 rows in" in shard(tmp_path / "many", "--finish")
    assert "0 chunks made" in shard(tmp_path / "many", "--of", 3, "--index", 0)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_a_share_that_was_interrupted_makes_only_what_is_missing(
    reverie, shard, tmp_path, monkeypatch
):
    reverie(*GAN, "--out", tmp_path, "--plan")
    write = LocalFolder.write

    def full(self, name, content):
        if name.startswith("data/chunk-00004"):
            raise Held("no_space", "there is no space left for the order's files")
        write(self, name, content)

    monkeypatch.setattr(LocalFolder, "write", full)
    said = shard(tmp_path, "--of", 2, "--index", 0, "--workers", 1, code=1)
    assert "error: there is no space left" in said
    monkeypatch.undo()
    again = shard(tmp_path, "--of", 2, "--index", 0)
    assert "3 chunks made, 2 were there" in again


def test_the_order_may_be_elsewhere_and_the_shares_elsewhere_again(reverie, shard, tmp_path):
    reverie(*GAN, "--out", tmp_path / "plan", "--plan")
    order = ("--order", f"file://{tmp_path}/plan/order.json")
    shard(tmp_path / "out", *order, "--of", 1, env={"SLURM_ARRAY_TASK_ID": "0"})
    shard(tmp_path / "out", "--finish")
    assert len(json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]) == 10


def test_finishing_names_what_is_missing_and_forgets_what_is_damaged(reverie, shard, tmp_path):
    reverie(*GAN, "--out", tmp_path / "one")
    out = tmp_path / "many"
    reverie(*GAN, "--out", out, "--plan")
    shard(out, "--of", 2, "--index", 0)
    assert "5 of 10 chunks are missing: 1, 3, 5, 7, 9;" in shard(out, "--finish", code=1)
    shard(out, "--of", 2, "--index", 1)
    short, changed = out / "data/chunk-00002.npz", out / "data/chunk-00003.npz"
    short.write_bytes(short.read_bytes()[:-1])
    changed.write_bytes(bytes(changed.stat().st_size))
    said = shard(out, "--finish", "--verify", code=1)
    assert "2 of 10 chunks are missing, 2 of them damaged: 2, 3" in said
    assert not (out / "manifest.json").exists()
    for index in (0, 1):
        assert "1 chunks made, 4 were there" in shard(out, "--of", 2, "--index", index)
    shard(out, "--finish")
    assert contents(out) == contents(tmp_path / "one")


def test_shares_run_side_by_side_and_finishing_runs_alone(reverie, shard, tmp_path):
    reverie(*GAN, "--out", tmp_path, "--plan")
    lock = Lock(tmp_path / ".receipts" / "lock")
    assert lock.taken(shared=True)
    shard(tmp_path, "--of", 1, "--index", 0)
    assert "others are writing" in shard(tmp_path, "--finish", code=1)
    lock.close()
    shard(tmp_path, "--finish")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--of", "3"], "say which share"),
        (["--of", "3", "--index", "3"], "index=3 is not between 0 and 2"),
        (["--of", "3", "--index", "0", "--order", "nowhere/order.json"], "is not there"),
        (["--of", "3", "--index", "0", "--device", "tpu"], "setting device='tpu'"),
    ],
)
def test_what_no_retry_can_mend_ends_with_status_two(
    shard, reverie, tmp_path, arguments, complaint
):
    reverie(*GAN, "--out", tmp_path, "--plan")
    assert complaint in shard(tmp_path, *arguments, code=2)


def test_a_folder_of_another_order_is_left_alone(reverie, shard, tmp_path):
    reverie(*GAN, "--out", tmp_path / "mine", "--plan")
    reverie(*UNIQUE, "--out", tmp_path / "other", "--plan")
    order = ("--order", tmp_path / "other" / "order.json")
    said = shard(tmp_path / "mine", *order, "--of", 1, "--index", 0, code=2)
    assert "holds another order" in said


def test_a_share_waits_for_the_model_that_was_ordered(reverie, shard, tmp_path):
    reverie(*GAN, "--out", tmp_path, "--plan")
    order = json.loads((tmp_path / "order.json").read_text())
    order["digest"] = "sha256:" + "0" * 64
    (tmp_path / "order.json").write_text(json.dumps(order))
    assert "its digest differs" in shard(tmp_path, "--of", 1, "--index", 0, code=1)
