"""From trained weights to a published package.

Trained (float32) ──quantise──► graphs ──► publish_rbm ──► package        check_parity ──► or not
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from service.contract import Defaults, ImageData, Labels, PackageError, Quality
from service.domain.randomness import logistic
from training.boltzmann_graphs import rbm_functions
from training.boltzmann_package import (
    blank_preview,
    calibrated_score,
    chain_pictures,
    label_names,
    samples_png,
    weights_file,
)
from training.config import Workspace
from training.label_graphs import Labelled, labelled_functions
from training.label_graphs import reference_sweep as reference_labelled
from training.label_units import log_evidence
from training.package import Function, Package, publish
from training.provenance import provenance
from training.quantised import QuantisedRbm, noise_inputs, reference_sweep
from training.rbm import base_rate_bias
from training.rbm_card import Trained, rbm_card, summary
from training.rbm_config import RbmConfig

PARITY_CHAINS = 32
PARITY_SWEEPS = 50
# float32 sums of 784 products, taken in another order; they may nearly cancel.
FREE_ENERGY_TOLERANCE = 1e-5
FREE_ENERGY_TOLERANCE_NATS = 1e-3


def publish_rbm(
    store: Path,
    config: RbmConfig,
    workspace: Workspace,
    trained: Trained,
    rbm: QuantisedRbm,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its pictures, where a `draft` can draw them.

    `rbm` is `trained` in whole numbers.
    """
    functions = _functions(rbm, trained)
    facts = provenance(
        config,
        workspace,
        steps=trained.steps,
        seconds=trained.seconds,
        epochs=sum(phase.epochs for phase in config.train.phases),
        weight_bits=rbm.bits,
        weight_step=float(rbm.step),
    )
    pictures = {} if draft is None else _pictures(draft, config, trained)
    fillings = None if trained.labels else config.export.inpaint_steps
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="rbm",
        description=summary(config, rbm),
        data=ImageData(shape=trained.train.shape),
        labels=Labels(names=label_names(trained.train)) if trained.labels else None,
        functions=functions,
        scores=(
            calibrated_score(functions["score"], method="free_energy", held_out=trained.held_out),
        ),
        defaults=Defaults(
            burn_in=config.export.burn_in,
            inpaint_steps=fillings,
            truncation=None,
        ),
        quality=figures,
        provenance=facts,
        card=rbm_card(config, rbm, trained, figures, facts, drawn=sorted(pictures)),
        preview=pictures.pop("preview.png", blank_preview(trained.held_out)),
        weights=_weights(rbm),
        companions=pictures,
    )


def _functions(rbm: QuantisedRbm, trained: Trained) -> Mapping[str, Function]:
    rates = torch.from_numpy(_rows(trained.train.images).mean(0))
    base, shape = base_rate_bias(rates).numpy(), trained.train.shape
    if trained.labels:
        return labelled_functions(Labelled(rbm, trained.labels), base_bias=base, shape=shape)
    return rbm_functions(rbm, base_bias=base, shape=shape)


def check_parity(package: Package, rbm: QuantisedRbm, *, seed: int, labels: int = 0) -> None:
    """Hold a package's graphs against the machine in int64 and float32 arithmetic.

    The chain must agree bit for bit, under clamps and temperatures; decode must give what readout
    gives; free energies must agree as far as float32 sums do.

    Raises:
        PackageError: it does not; says where.
    """
    rng = np.random.default_rng(seed)
    if labels:
        h = _labelled_chain_agrees(package, Labelled(rbm, labels), rng)
    else:
        h = _chain_agrees(package, rbm, rng)
    n = len(h)
    noise = logistic(rng.integers(0, 65_536, (n, rbm.visible - labels), np.uint16))
    read = package.run("readout", h=h, noise_v=noise, beta=np.ones((n, 1), np.float32))
    if not np.array_equal(package.run("decode", h=h.astype(np.float32))["x"], read["mean"]):
        raise PackageError("decode differs from readout on a binary h: do not publish this export")
    x = rng.random(read["mean"].shape, dtype=np.float32)
    rows = torch.from_numpy(_rows(x))
    expected = -log_evidence(rbm.dequantised(), rows, labels=labels).numpy()
    found = package.run("score", x=x)["free_energy"]
    if not np.allclose(
        found, expected, rtol=FREE_ENERGY_TOLERANCE, atol=FREE_ENERGY_TOLERANCE_NATS
    ):
        worst = float(np.abs(found - expected).max())
        raise PackageError(f"score differs from the free energy in torch by {worst:.3g} nats")


def _chain_agrees(
    package: Package, rbm: QuantisedRbm, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    n = PARITY_CHAINS
    h = (rng.random((n, rbm.hidden)) < 0.5).astype(np.uint8)
    held: dict[str, np.ndarray[Any, Any]] = {
        "clamp_mask": rng.random((n, rbm.visible)) < 0.3,
        "clamp_values": rng.random((n, rbm.visible)) < 0.5,
        "beta": rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32),
    }
    # Half of the chains run free, at β = 1.
    held["clamp_mask"][n // 2 :] = False
    held["beta"][n // 2 :] = 1.0
    for step in range(PARITY_SWEEPS):
        noise = rng.integers(0, 65_536, (n, rbm.visible + rbm.hidden), np.uint16)
        drawn = noise_inputs(noise, visible=rbm.visible)
        found = package.run("sweep", h=h, **drawn, **held)["next_h"]
        expected = reference_sweep(rbm, h, noise, **held)
        if not np.array_equal(found, expected):
            wrong = int((found != expected).sum())
            raise PackageError(f"sweep {step} has {wrong} of {found.size} units wrong")
        h = found
    return h


def _labelled_chain_agrees(
    package: Package, machine: Labelled, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    n, rbm = PARITY_CHAINS, machine.rbm
    h = (rng.random((n, rbm.hidden)) < 0.5).astype(np.uint8)
    label = rng.integers(0, machine.labels, n)
    beta = rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32)
    for step in range(PARITY_SWEEPS):
        v, up = (
            rng.integers(0, 65_536, (n, units), np.uint16)
            for units in (machine.pixels.visible, rbm.hidden)
        )
        noise = {"noise_v": logistic(v), "noise_h": logistic(up)}
        found = package.run("sweep", h=h, label=label, beta=beta, **noise)["next_h"]
        expected = reference_labelled(machine, h, label=label, noise_v=v, noise_h=up, beta=beta)
        if not np.array_equal(found, expected):
            raise PackageError(f"sweep {step} has {int((found != expected).sum())} units wrong")
        h = found
    return h


def _weights(rbm: QuantisedRbm) -> bytes:
    exported = rbm.dequantised()
    tensors = {"weight.1": exported.W, "bias.0": exported.b, "bias.1": exported.c}
    return weights_file(tensors, steps=dict.fromkeys(tensors, float(rbm.step)))


def _pictures(draft: Package, config: RbmConfig, trained: Trained) -> dict[str, bytes]:
    """Samples, by label where there are some; fillings where it can make them."""
    if not trained.labels:
        return chain_pictures(draft, trained.held_out, export=config.export, seed=config.seed)
    preview = samples_png(
        draft, burn_in=config.export.burn_in, seed=config.seed, labels=trained.labels
    )
    return {"preview.png": preview}


def _rows(images: Float[np.ndarray, "n C H W"]) -> Float[np.ndarray, "n visible"]:
    rows: Float[np.ndarray, "n visible"] = images.reshape(len(images), -1)
    return rows
