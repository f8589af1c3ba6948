"""A deep belief network's weights.safetensors.

Dbn ◄──► up.1, up_bias.1, down.1, down_bias.1, …, top.weight, top.visible_bias, top.hidden_bias
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from service.contract import Manifest, Role
from training.boltzmann_package import read_tensors
from training.boltzmann_package import weights_file as named_file
from training.dbn import Dbn, Directed
from training.package import Package
from training.rbm import Rbm


def weights_file(dbn: Dbn) -> bytes:
    """The file's bytes."""
    named: dict[str, Tensor] = {}
    for i, layer in enumerate(dbn.layers, start=1):
        named |= {f"up.{i}": layer.up, f"up_bias.{i}": layer.c}
        named |= {f"down.{i}": layer.down, f"down_bias.{i}": layer.b}
    named |= {"top.weight": dbn.top.W, "top.visible_bias": dbn.top.b, "top.hidden_bias": dbn.top.c}
    return named_file(named)


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
    top = Rbm(W=named["top.weight"], b=named["top.visible_bias"], c=named["top.hidden_bias"])
    return Dbn(layers=tuple(layers), top=top, labels=labels)


def label_units(manifest: Manifest) -> int:
    """How many label units the top machine has: none, where a sweep takes no label."""
    conditional = manifest.functions["sweep"].input(Role.LABEL) is not None
    return len(manifest.labels.names) if conditional and manifest.labels else 0
