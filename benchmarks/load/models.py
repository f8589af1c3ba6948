"""The two generators that every contender serves, and the store that Reverie reads them from.

network(seed) ──to_onnx, parity──► graph ──publish──► benchmarks/.cache/<key>/store/<name>/1/
                                     └──► <name>.onnx, the very same bytes, for the peers

Weights are random from a seed: speed does not depend on them. The cache's key is this file's and
the exporter's text, so that a change of either makes the models anew.
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from service.contract import Defaults, ImageData, Latent, Role, TensorSpec
from training import export
from training.networks import seeded
from training.package import Function, publish

CACHE = Path(__file__).parents[1] / ".cache"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Generator:
    """A generator that is ready to be served.

    Attributes:
        name: of the Reverie package, in `store`.
        latent: numbers in z.
        shape: (channels, height, width) of an image in [0, 1].
        graph: the ONNX file that the peers load; its bytes are those of the package.
        store: a store with this one package, so that no server holds more than it serves.
    """

    name: str
    latent: int
    shape: tuple[int, int, int]
    graph: Path
    store: Path


@dataclass(frozen=True)
class _Plan:
    latent: int
    shape: tuple[int, int, int]
    network: Callable[[], nn.Module]
    words: str


def small() -> nn.Module:
    """z [n, 64] → 1024 → 1024 → 784 → x [n, 1, 28, 28]: about two million weights."""
    return nn.Sequential(
        nn.Linear(64, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1024), nn.LeakyReLU(0.2),
        nn.Linear(1024, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)),
    )  # fmt: skip


def dcgan64() -> nn.Module:
    """z [n, 100] → 512×4×4 → … → 64×32×32 → x [n, 3, 64, 64]. Radford et al. (2016), figure 1.

    Half their width, which is PyTorch's well-known example: 64 features at the last layer but one.
    Batch norms are left out, since an exported generator has them folded into its weights.
    """
    layers: list[nn.Module] = [nn.Unflatten(1, (100, 1, 1)), nn.ConvTranspose2d(100, 512, 4)]
    for fan_in, fan_out in ((512, 256), (256, 128), (128, 64), (64, 3)):
        layers += [nn.ReLU(), nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.Sigmoid())


PLANS = {
    "small": _Plan(64, (1, 28, 28), small, "An MLP 64-1024-1024-784 with random weights."),
    "dcgan64": _Plan(100, (3, 64, 64), dcgan64, "A DCGAN for 64×64 images with random weights."),
}


def generator(name: str, *, cache: Path = CACHE) -> Generator:
    """The generator of this name, made on the first call."""
    plan = PLANS[name]
    source = inspect.getsource(inspect.getmodule(generator) or generator)
    key = hashlib.sha256((source + inspect.getsource(export)).encode()).hexdigest()[:12]
    folder = cache / key / name
    found = Generator(name, plan.latent, plan.shape, folder / "generate.onnx", folder / "store")
    if not found.graph.exists():
        _write(found, plan)
    return found


def _write(made: Generator, plan: _Plan) -> None:
    network = seeded(plan.network, seed=0)
    z = torch.randn(3, plan.latent, generator=torch.Generator().manual_seed(0))
    graph = export.to_onnx(network, {"z": z}, ["x"])
    export.parity(network, graph, {"z": _more(z)}, tolerance=TOLERANCE)
    shutil.rmtree(made.store, ignore_errors=True)
    publish(
        made.store,
        name=made.name, version=1, family="gan", description=plan.words,
        data=ImageData(shape=plan.shape), latent=Latent(size=plan.latent),
        functions={"generate": Function(
            graph=graph,
            inputs=(_tensor("z", (plan.latent,), Role.LATENT),),
            outputs=(_tensor("x", plan.shape, Role.DATA),),
        )},
        defaults=Defaults(), quality=(), provenance={"weights": "random"},
        card=f"# {made.name}\n\n{plan.words}\n", preview=b"",
    )  # fmt: skip
    made.graph.write_bytes(graph)


def _tensor(name: str, shape: tuple[int, ...], role: Role) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("n", *shape), role=role)


def _more(z: Tensor) -> Tensor:
    return torch.cat([z, z.flip(0), z[:1]])
