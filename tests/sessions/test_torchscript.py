"""TorchScript: served like ONNX where it is allowed, and refused in a sentence where it is not."""

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from service.contract import PackageError, read_manifest, read_package, write_package
from service.engine import open_engine
from service.functions import check_signature
from service.invariance import random_rows
from service.loading import open_model
from service.queries import Call, Sample
from service.sessions.opening import Runtimes, open_session
from service.sessions.torchscript import TorchScriptSession
from service.settings import Settings
from tests.packages import write_tiny_gan
from tests.sessions.scripted import Writes, scripted, spec_of, tiny_script, with_pickle_bomb

TRUSTED = Runtimes(allow_torchscript=True)


@pytest.fixture(autouse=True)
def _threads():
    """A session sets torch's threads for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def content() -> bytes:
    return tiny_script()


def opened(content: bytes, runtimes=TRUSTED, **changes):
    spec = spec_of(content, **changes)
    session = open_session(
        content, spec, device="cpu", example=random_rows(spec, 2), runtimes=runtimes
    )
    check_signature("generate", spec, session)
    return session


def write_both(store: Path) -> None:
    """tiny-gan, and tiny-script: the same generator as TorchScript."""
    directory = write_tiny_gan(store)
    manifest, content = read_package(directory), tiny_script()
    old = manifest.functions["generate"].sha256
    spec = spec_of(content)
    functions = {
        name: f.model_copy(update={"file": spec.file, "sha256": spec.sha256})
        if f.sha256 == old
        else f
        for name, f in manifest.functions.items()
    }
    made = manifest.model_copy(update={"name": "tiny-script", "functions": functions})
    files = {name: (directory / name).read_bytes() for name in manifest.digests()}
    write_package(store, made, files | {spec.file: content})


async def test_both_runtimes_serve_the_same_samples_and_each_keeps_its_seeds(tmp_path):
    write_both(tmp_path)
    engine = await open_engine(
        Settings(models_store=tmp_path, device="cpu", allow_torchscript=True)
    )
    try:
        call = Call.lasting(30)
        models = {name: engine.registry.get(name) for name in ("tiny-gan", "tiny-script")}
        ours, theirs = [
            (await engine.run(m, Sample(n=9, seed=5), call)).samples for m in models.values()
        ]
        assert np.abs(ours - theirs).max() < 1e-6
        script = models["tiny-script"]
        alone = (await engine.run(script, Sample(n=3, seed=5), call)).samples
        assert alone.tobytes() == theirs[:3].tobytes()
        assert script.runtime.startswith("torchscript")
        assert "onnxruntime" in script.runtime  # the other functions
    finally:
        await engine.stop()


def test_a_package_with_torchscript_is_refused_until_the_operator_allows_it(tmp_path):
    write_both(tmp_path)
    directory = tmp_path / "tiny-script/1"
    with pytest.raises(PackageError, match="REVERIE_ALLOW_TORCHSCRIPT=true"):
        open_model(directory, Settings(device="cpu"))
    assert open_model(directory, Settings(device="cpu", allow_torchscript=True)).functions


def test_without_torch_the_error_says_what_to_install(content, monkeypatch):
    real = builtins.__import__

    def without_torch(name, *rest):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "service.sessions.torchscript")
    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(PackageError, match="needs torch: install it") as caught:
        opened(content)
    assert caught.value.__cause__ is None


@given(st.binary(max_size=300))
def test_no_bytes_make_the_loader_fail_otherwise(junk):
    with pytest.raises(PackageError, match="no TorchScript"):
        opened(junk)


@given(cut=st.integers(1, 2000))
def test_a_file_that_is_cut_short_is_refused_without_a_path_or_a_traceback(content, cut):
    with pytest.raises(PackageError) as caught:
        opened(content[:-cut])
    assert "/" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_bomb_does_not_go_off(content, tmp_path):
    with pytest.raises(PackageError):
        opened(with_pickle_bomb(content, tmp_path / "bomb"))
    assert not (tmp_path / "bomb").exists()


def test_a_torchscript_file_can_write_files_as_it_is_loaded_which_is_why_it_must_be_allowed(
    tmp_path,
):
    program, written = scripted(Writes(str(tmp_path / "out"))), tmp_path / "out"
    written.unlink(missing_ok=True)
    with pytest.raises(PackageError, match="a program"):
        opened(program, Runtimes())
    assert not written.exists()
    with pytest.raises(PackageError):  # it is no generator either
        opened(program)
    assert written.exists()


class Fixed(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros(2, 1, 4, 4)


class Wide(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros(z.size(0), 1, 4, 4, dtype=torch.float64)


class Two(nn.Module):
    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return z + y


class Raises(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")


class Pair(nn.Module):
    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return z, z


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (Fixed(), "fixed batch of 2"),
        (Wide(), "is float64 in the graph, float32 in the manifest"),
        (Two(), r"takes 2 inputs \(z, y\), the manifest names 1"),
        (Pair(), "into its 1 outputs"),
        (Raises(), "does not turn batches of 1 and 2 rows"),
        (nn.Linear(7, 16), "does not turn batches of 1 and 2 rows"),
    ],
)
def test_a_module_that_is_not_the_manifests_function_is_refused(module, complaint):
    with pytest.raises(PackageError, match=complaint):
        opened(scripted(module))


def test_rows_are_the_same_bytes_however_often_a_module_has_run(content):
    session = opened(content)
    z = random_rows(spec_of(content), 8)
    first = session.run(("x",), z)["x"]
    for _ in range(5):
        assert session.run(("x",), z)["x"].tobytes() == first.tobytes()
    z["z"].flags.writeable = False
    assert session.run(("x",), z)["x"].tobytes() == first.tobytes()


def test_a_gpu_that_torch_cannot_use_gives_way_to_the_cpu(content):
    if torch.cuda.is_available():
        pytest.skip("this torch uses the GPU")
    spec = spec_of(content)
    session = TorchScriptSession(
        content, spec, device="cuda:0", example=random_rows(spec, 2), threads=1
    )
    assert session.device == "cpu"


def test_the_format_follows_the_files_suffix_and_changes_no_digest(tmp_path):
    write_both(tmp_path)
    manifest = read_manifest(tmp_path / "tiny-script/1")
    assert manifest.functions["generate"].format == "torchscript"
    assert manifest.functions["encode"].format == "onnx"
    assert "format" not in manifest.model_dump_json()
