"""Small TorchScript files, good and bad, for tests."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from service.contract import FunctionSpec, Role, sha256_of
from tests.packages import LATENT, SHAPE, tensor, weights
from training.export import quiet, to_torchscript


class TinyGenerator(nn.Module):
    """What tiny-gan's ONNX graph computes."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.from_numpy(weights()[0]), requires_grad=False)

    def forward(self, z: Tensor) -> Tensor:
        return torch.sigmoid(z @ self.W).reshape(-1, *SHAPE)


class Writes(nn.Module):
    """A module that writes a file as it is loaded: TorchScript lets it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, z: Tensor) -> Tensor:
        return z

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), state[0])


def tiny_script() -> bytes:
    return to_torchscript(TinyGenerator(), {"z": torch.zeros(2, LATENT)})


def scripted(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(torch.jit.script(module), buffer)
    return buffer.getvalue()


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def with_pickle_bomb(content: bytes, path: Path) -> bytes:
    """The same archive with Python's pickle of a call in place of its data."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            bomb = name.endswith("data.pkl")
            new.writestr(name, pickle.dumps(Bomb(path), 2) if bomb else old.read(name))
    return out.getvalue()


def spec_of(content: bytes, **changes: object) -> FunctionSpec:
    made = FunctionSpec(
        file="generate.ts",
        sha256=sha256_of(content),
        inputs=(tensor("z", LATENT, role=Role.LATENT),),
        outputs=(tensor("x", *SHAPE, role=Role.DATA),),
    )
    return made.model_copy(update=changes)
