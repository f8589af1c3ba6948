"""Destinations: whole files or none, here and on file systems of pyarrow; and full disks."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from service.augmentation.destination import LocalFolder, RemoteFolder, open_destination
from service.augmentation.holds import Held
from tests.augmentation.orders import contents, fulfil, order_of
from tests.deploy.deployment import missing


def elsewhere(root: Path) -> fs.FileSystem:
    """A file system that is not the local one, on a local folder."""
    return fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())


@pytest.fixture(params=["local", "remote"])
def destination(request, tmp_path: Path):
    if request.param == "local":
        return LocalFolder(tmp_path / "deep" / "out")
    return RemoteFolder(elsewhere(tmp_path), "deep/out", "test://out")


def test_what_is_written_can_be_read_listed_and_removed(destination):
    assert destination.sizes() == {}
    assert destination.read("a") is None
    destination.write("b", b"2")
    destination.write("a", b"1")
    destination.write("a", b"one")
    destination.write(".receipts/x", b"3")
    assert list(destination.sizes()) == ["a", "b"]
    assert destination.sizes(".receipts") == {"x": 1}
    assert destination.read("a") == b"one"
    destination.remove("b")
    destination.remove(".receipts")
    destination.remove("never there")
    assert list(destination.sizes()) == ["a"]
    assert destination.sizes(".receipts") == {}


async def test_an_order_has_the_same_bytes_on_any_file_system(engine, tmp_path: Path):
    order = order_of(engine, "tiny-gan", n=50, chunk_rows=20)
    await fulfil(engine, order, tmp_path / "here")
    (tmp_path / "there").mkdir()
    remote = RemoteFolder(elsewhere(tmp_path / "there"), "out", "test://out")
    await fulfil(engine, order, remote)
    assert contents(tmp_path / "here") == contents(tmp_path / "there" / "out")


def test_urls_name_file_systems_and_paths_folders(tmp_path: Path):
    assert open_destination(str(tmp_path)).shown == str(tmp_path)
    assert isinstance(open_destination(f"file://{tmp_path}/x"), LocalFolder)
    assert isinstance(open_destination("mock:///bucket/x"), RemoteFolder)
    with pytest.raises(ValueError, match="no file system for this URL"):
        open_destination("gopher://old/x")


def test_a_write_that_finds_no_space_leaves_nothing(tmp_path: Path, monkeypatch):
    folder = LocalFolder(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Held) as held:
        folder.write("a", b"x")
    assert held.value.reason == "no_space"
    assert contents(tmp_path) == {}


def test_other_errors_of_the_disk_are_themselves(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        LocalFolder(tmp_path / "file").write("a", b"x")


def test_what_a_killed_process_was_writing_is_swept_away(tmp_path: Path):
    folder = LocalFolder(tmp_path)
    folder.write("a", b"1")
    folder.write(".receipts/b", b"2")
    (tmp_path / ".a.0123.tmp").write_bytes(b"half")
    (tmp_path / ".receipts" / ".b.0123.tmp").write_bytes(b"half")
    assert folder.sizes() == {"a": 1}
    folder.sweep()
    assert contents(tmp_path) == {"a": b"1", ".receipts/b": b"2"}


async def test_an_order_larger_than_a_file_may_be_is_held_and_goes_on(engine, tmp_path: Path):
    order = order_of(engine, "tiny-gan", n=400, chunk_rows=200, format="npz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(Held, match="no space"):
            await fulfil(engine, order, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert contents(tmp_path / "out").keys() == {"order.json"}
    await fulfil(engine, order, tmp_path / "out")
    await fulfil(engine, order, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is None or done.returncode:
        missing("no tmpfs can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_real_disk_that_is_full_holds_an_order_until_there_is_space(
    engine, small_disk: Path, tmp_path: Path
):
    (small_disk / "ballast").write_bytes(b"x" * 900_000)
    order = order_of(engine, "tiny-gan", n=2000, chunk_rows=500, format="npz")
    with pytest.raises(Held, match="no space"):
        await fulfil(engine, order, small_disk / "out")
    left = contents(small_disk / "out")
    assert not [name for name in left if name.endswith(".tmp")]
    (small_disk / "ballast").unlink()
    await fulfil(engine, order, small_disk / "out")
    await fulfil(engine, order, tmp_path / "whole")
    assert contents(small_disk / "out") == contents(tmp_path / "whole")
