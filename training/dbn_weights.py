"""A deep belief network's weights.safetensors: integers, and a step for each matrix.

QuantisedDbn ──► up.1, up_bias.1, down.1, down_bias.1, …, top.weight, top.label_weight,
                 top.visible_bias, top.hidden_bias, guide.up, guide.down ──► Dbn

Packages of earlier releases hold floats, and the label units' weights as the last rows of
top.weight; they are read likewise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from service.contract import Manifest, Role
from training.boltzmann_package import read_tensors
from training.boltzmann_package import weights_file as named_file
from training.dbn import Dbn, Directed
from training.package import Package
from training.quantised_network import QuantisedDbn
from training.rbm import Rbm


def weights_file(dbn: QuantisedDbn) -> bytes:
    """The file's bytes."""
    named: dict[str, Tensor] = {}
    steps: dict[str, float] = {}
    for i, (up, down) in enumerate(zip(dbn.up, dbn.down, strict=True), start=1):
        q, p = up.dequantised(), down.dequantised()
        named |= {f"up.{i}": q.W, f"up_bias.{i}": q.c, f"down.{i}": p.W, f"down_bias.{i}": p.b}
        steps |= dict.fromkeys((f"up.{i}", f"up_bias.{i}"), float(up.step))
        steps |= dict.fromkeys((f"down.{i}", f"down_bias.{i}"), float(down.step))
    top = dbn.top.dequantised()
    machine = {
        "top.weight": top.W[: dbn.units],
        "top.visible_bias": top.b,
        "top.hidden_bias": top.c,
    }
    if dbn.labels:
        machine["top.label_weight"] = top.W[dbn.units :]
    if dbn.guide is not None:
        for name, part in (("up", dbn.guide.up), ("down", dbn.guide.down)):
            machine[f"guide.{name}"] = torch.from_numpy(part.astype(np.float32) * dbn.top.step)
    return named_file(named | machine, steps=steps | dict.fromkeys(machine, float(dbn.top.step)))


def read_weights(package: Package) -> Dbn:
    """The network of a package's weights."""
    named = read_tensors(package)
    return network_of(named, labels=label_units(package.manifest))


def network_of(named: Mapping[str, Tensor], *, labels: int) -> Dbn:
    """The network of named tensors."""
    depth = sum(name.startswith("up.") for name in named)
    layers = [
        Directed(
            up=named[f"up.{i}"],
            c=named[f"up_bias.{i}"],
            down=named[f"down.{i}"],
            b=named[f"down_bias.{i}"],
        )
        for i in range(1, depth + 1)
    ]
    parts = [named[n] for n in ("top.weight", "top.label_weight") if n in named]
    top = Rbm(W=torch.cat(parts), b=named["top.visible_bias"], c=named["top.hidden_bias"])
    return Dbn(layers=tuple(layers), top=top, labels=labels)


def is_guided(package: Package) -> bool:
    """Whether chains that hold a label have a guide."""
    return "guide.up" in read_tensors(package)


def label_units(manifest: Manifest) -> int:
    """How many label units the top machine has: none, where a sweep takes no label."""
    conditional = manifest.functions["sweep"].input(Role.LABEL) is not None
    return len(manifest.labels.names) if conditional and manifest.labels else 0
