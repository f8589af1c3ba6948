"""A published package again, with its generator as TorchScript."""

import numpy as np
import pytest
import torch

from service.contract import FileEntry, PackageError, read_package, sha256_of, write_package
from service.loading import open_model
from service.settings import Settings
from tests.packages import write_tiny_gan
from tests.sessions.scripted import TinyGenerator, tiny_script
from training.export import ExportError, quiet, to_torchscript, torchscript_parity
from training.gan_export import TORCHSCRIPT_FILE
from training.torchscript import republish


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def with_companion(store, content):
    """tiny-gan with a TorchScript file beside its graphs, as training writes it."""
    directory = write_tiny_gan(store)
    manifest = read_package(directory)
    files = {name: (directory / name).read_bytes() for name in manifest.digests()}
    made = manifest.model_copy(
        update={"files": {TORCHSCRIPT_FILE: FileEntry(sha256=sha256_of(content))}}
    )
    return write_package(store, made, files | {TORCHSCRIPT_FILE: content})


def test_the_new_package_serves_torchscript_where_the_old_one_served_onnx(tmp_path):
    directory = with_companion(tmp_path, tiny_script())
    made = republish(directory, tmp_path)
    manifest = read_package(made)
    assert manifest.id == "tiny-gan-torchscript@1"
    assert {n: f.format for n, f in manifest.functions.items()} == {
        "generate": "torchscript",
        "latent_readout": "torchscript",  # it shared the graph
        "encode": "onnx",
        "score": "onnx",
        "latent_start": "onnx",
        "latent_step": "onnx",
    }
    assert not (made / "generate.onnx").exists()
    z = {"z": np.random.default_rng(0).standard_normal((5, 4), np.float32)}
    settings = Settings(models_store=tmp_path, device="cpu", allow_torchscript=True)
    old, new = (open_model(d, settings).functions["generate"].run(z) for d in (directory, made))
    assert np.abs(old["x"] - new["x"]).max() < 1e-6


def test_a_package_without_torchscript_says_how_to_get_it(tmp_path):
    with pytest.raises(PackageError, match=r"\[export\] torchscript = true"):
        republish(write_tiny_gan(tmp_path), tmp_path)


class Other(TinyGenerator):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(z) + 0.001


def test_torchscript_that_draws_other_images_is_not_published(tmp_path):
    content = to_torchscript(Other(), {"z": torch.zeros(2, 4)})
    with pytest.raises(PackageError, match=r"differs from the ONNX graph by 0\.001"):
        republish(with_companion(tmp_path, content), tmp_path)


def test_an_export_is_held_against_its_module_at_another_batch_size():
    inputs = {"z": torch.randn(7, 4)}
    assert torchscript_parity(TinyGenerator(), tiny_script(), inputs, tolerance=1e-6) < 1e-6
    with pytest.raises(ExportError, match="differs from its module"):
        torchscript_parity(Other(), tiny_script(), inputs, tolerance=1e-6)


class Frozen(torch.nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z + torch.arange(len(z), dtype=z.dtype)[:, None]


def test_a_module_that_tracing_fixes_to_one_batch_size_is_refused():
    with quiet(), pytest.raises((ExportError, RuntimeError)):
        to_torchscript(Frozen(), {"z": torch.zeros(2, 4)})
