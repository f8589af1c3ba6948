"""`make`: what it lists, what it would do, and what it says of a Python that is too old."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.deployment import ROOT, require

FILES = ("Makefile", "pyproject.toml", "constraints.txt", "constraints-gpu.txt")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, as far as make is concerned."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(clone: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """`make` in the clone; `path` holds programs that come before the machine's own."""
    search = [str(path)] if path else []
    env = {"PATH": ":".join([*search, "/usr/local/bin", "/usr/bin", "/bin"])}
    command = [require("make", package="make"), "--no-print-directory", *arguments]
    return subprocess.run(command, check=False, cwd=clone, env=env, capture_output=True, text=True)


def program(folder: Path, name: str, *, body: str) -> Path:
    """A small shell program, on a path of its own."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def test_make_alone_lists_every_target_with_a_sentence(clone: Path) -> None:
    listed = re.findall(r"^  make (\S+) +(\S.*\.)$", make(clone).stdout, flags=re.MULTILINE)
    expected = {"help", "install", "serve", "test", "check", "bench", "train", "fmt", "clean"}
    assert expected <= {name for name, _ in listed}


def test_serving_never_installs_the_extras_of_training(clone: Path) -> None:
    planned = make(clone, "-n", "serve").stdout
    assert "--editable '.[cpu,report]'" in planned
    assert "[dev]" not in planned
    assert ".venv-serve/bin/reverie serve" in planned


def test_serving_takes_the_gpu_runtime_where_a_driver_answers(clone: Path) -> None:
    program(clone / "driver", "nvidia-smi", body="echo GPU 0")
    planned = make(clone, "-n", "serve", path=clone / "driver").stdout
    assert "--editable '.[gpu,report]'" in planned


def test_serving_uses_the_development_environment_where_there_is_one(clone: Path) -> None:
    (clone / ".venv").mkdir()
    program(clone / ".venv/bin", "reverie", body="exit")
    planned = make(clone, "-n", "serve", "PORT=8123").stdout
    assert "REVERIE_PORT='8123'" in planned
    assert ".venv/bin/reverie serve" in planned
    assert "install" not in planned


def test_an_environment_is_made_anew_only_when_a_requirement_has_changed(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv/.installed").touch()
    assert "pip" not in make(clone, "-n", "install").stdout
    requirements = clone / "constraints.txt"
    later = (clone / ".venv/.installed").stat().st_mtime + 1
    os.utime(requirements, (later, later))
    assert "pip" in make(clone, "-n", "install").stdout


def test_a_python_that_is_too_old_is_named_with_the_remedy(clone: Path) -> None:
    old = program(
        clone / "old", "python3.9", body='[ "$1" = --version ] && echo Python 3.9.2; exit 1'
    )
    done = make(clone, "install", f"PYTHON={old}")
    assert done.returncode != 0
    assert "older than 3.11" in done.stderr
    none = make(clone, "install", "PYTHON=")
    assert none.returncode != 0
    assert "needs Python 3.11 or newer" in none.stderr
    assert "make install PYTHON=" in none.stderr
    assert not (clone / ".venv").exists()


def test_checking_a_gpu_has_an_environment_of_its_own_without_the_cpus_runtime(clone: Path) -> None:
    planned = make(clone, "-n", "gpu").stdout
    assert "--editable '.[gpu,train]'" in planned
    assert "[dev]" not in planned
    assert re.search(r"onnxruntime-gpu==\d", planned)
    assert "REVERIE_GPU_REQUIRED=1 .venv-gpu/bin/python -m pytest -m gpu" in planned
    assert "-m benchmarks.gpu" in planned


def test_a_folder_of_wheels_takes_the_place_of_a_registry(clone: Path) -> None:
    wheels = clone / "wheels"
    wheels.mkdir()
    empty = make(clone, "gpu", "WHEELS=wheels")
    assert empty.returncode != 0
    assert "WHEELS=wheels holds no wheels" in empty.stderr
    (wheels / "one-1-py3-none-any.whl").touch()
    planned = make(clone, "-n", "gpu", "WHEELS=wheels").stdout
    assert "--no-index --no-deps" in planned
    assert "wheels/one-1-py3-none-any.whl" in planned
    assert "PYTHONPATH=.venv-gpu/packages" in planned
