"""From a trained deep machine to a published package.

TrainedDbm (float32) ──quantise──► graphs ──► publish_dbm ──► package   check_parity ──► or not
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from service.contract import Defaults, ImageData, Labels, PackageError, Quality
from service.domain.randomness import logistic
from training.boltzmann_package import (
    blank_preview,
    calibrated_score,
    chain_pictures,
    label_names,
    weights_file,
)
from training.config import Workspace
from training.data import Dataset
from training.dbm import MeanField, mean_field, unnormalised_bound
from training.dbm_card import TrainedDbm, dbm_card, summary
from training.dbm_config import DbmConfig
from training.dbm_learning import named_tensors
from training.deep_graphs import dbm_functions, name_of
from training.package import Package, publish
from training.provenance import provenance
from training.quantised_deep import QuantisedDbm, reference_sweep
from training.rbm import base_rate_bias

BASE_RATE_IMAGES = 5000
PARITY_CHAINS = 32
PARITY_SWEEPS = 50
# float32 sums of some thousand products, taken in another order, and of mean-field rounds on them.
BOUND_TOLERANCE_NATS = 0.05


def publish_dbm(
    store: Path,
    config: DbmConfig,
    workspace: Workspace,
    trained: TrainedDbm,
    dbm: QuantisedDbm,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its pictures, where a `draft` can draw them.

    `dbm` is `trained` in whole numbers.
    """
    functions = dbm_functions(
        dbm,
        base_bias=_base_bias(dbm, trained.train),
        shape=trained.train.shape,
        mean_field_updates=config.export.mean_field_updates,
        classifier=trained.classifier,
    )
    facts = provenance(
        config,
        workspace,
        steps=trained.steps,
        seconds=trained.seconds,
        weight_bits=dbm.bits,
        weight_step=float(dbm.step),
    )
    pictures = {}
    if draft is not None:
        pictures = chain_pictures(draft, trained.held_out, export=config.export, seed=config.seed)
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="dbm",
        description=summary(config, dbm),
        data=ImageData(shape=trained.train.shape),
        labels=None if trained.classifier is None else Labels(names=label_names(trained.train)),
        functions=functions,
        scores=(
            calibrated_score(
                functions["score"], method="negative_bound", held_out=trained.held_out
            ),
        ),
        defaults=Defaults(
            burn_in=config.export.burn_in,
            inpaint_steps=config.export.inpaint_steps,
            truncation=None,
        ),
        quality=figures,
        provenance=facts,
        card=dbm_card(config, dbm, trained, figures, facts, drawn=sorted(pictures)),
        preview=pictures.pop("preview.png", blank_preview(trained.held_out)),
        weights=_weights(dbm),
        companions=pictures,
    )


def _weights(dbm: QuantisedDbm) -> bytes:
    named = named_tensors(dbm.dequantised())
    return weights_file(named, steps=dict.fromkeys(named, float(dbm.step)))


def check_parity(package: Package, dbm: QuantisedDbm, *, updates: int, seed: int) -> None:
    """Hold a package's graphs against the machine in 64-bit and float32 arithmetic.

    The chain must agree bit for bit, under clamps and temperatures; decode must give what readout
    gives; bounds must agree as far as float32 sums do.

    Raises:
        PackageError: it does not; says where.
    """
    rng = np.random.default_rng(seed)
    h1 = _chain_agrees(package, dbm, rng)
    noise = _logistic(rng, len(h1), dbm.sizes[0])
    beta = np.ones((len(h1), 1), np.float32)
    read = package.run("readout", h1=h1, noise_v=noise, beta=beta)
    if not np.array_equal(package.run("decode", h=h1.astype(np.float32))["x"], read["mean"]):
        raise PackageError("decode differs from readout on a binary h: do not publish this export")
    x = rng.random(read["mean"].shape, dtype=np.float32)
    exact = dbm.dequantised().to(torch.float64)
    rows = torch.from_numpy(x.reshape(len(x), -1)).double()
    mu = mean_field(exact, rows, MeanField(updates=updates, tolerance=0.0))
    found = package.run("score", x=x)["negative_bound"]
    worst = float(np.abs(found + unnormalised_bound(exact, mu).numpy()).max())
    if not worst <= BOUND_TOLERANCE_NATS:
        raise PackageError(f"score differs from the bound in torch by {worst:.3g} nats")


def _chain_agrees(
    package: Package, dbm: QuantisedDbm, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    n, visible = PARITY_CHAINS, dbm.sizes[0]
    odd = {i: (rng.random((n, dbm.sizes[i])) < 0.5).astype(np.uint8) for i in dbm.odd}
    held: dict[str, np.ndarray[Any, Any]] = {
        "clamp_mask": rng.random((n, visible)) < 0.3,
        "clamp_values": rng.random((n, visible)) < 0.5,
        "beta": rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32),
    }
    # Half of the chains run free, at β = 1.
    held["clamp_mask"][n // 2 :] = False
    held["beta"][n // 2 :] = 1.0
    for step in range(PARITY_SWEEPS):
        noise = {i: _logistic(rng, n, size) for i, size in enumerate(dbm.sizes)}
        feed = {name_of(i): h for i, h in odd.items()}
        feed |= {f"noise_{name_of(i)}": u for i, u in noise.items()}
        made = package.run("sweep", **feed, **held)
        expected = reference_sweep(dbm, odd, noise, **held)
        for layer in dbm.odd:
            wrong = int((made[f"next_{name_of(layer)}"] != expected[layer]).sum())
            if wrong:
                raise PackageError(f"sweep {step} has {wrong} units of layer {layer} wrong")
        odd = expected
    return odd[1]


def _logistic(rng: np.random.Generator, n: int, units: int) -> Float[np.ndarray, "n units"]:
    return logistic(rng.integers(0, 65_536, (n, units), np.uint16))


def _base_bias(dbm: QuantisedDbm, train: Dataset) -> dict[int, np.ndarray[Any, Any]]:
    """Log-odds of the even layers' mean activities over training images."""
    rows = torch.from_numpy(train.images.reshape(len(train), -1))
    mu = mean_field(dbm.dequantised(), rows[:BASE_RATE_IMAGES], MeanField())
    means = {layer: mu[layer].mean(0) for layer in dbm.even} | {0: rows.mean(0)}
    return {layer: base_rate_bias(mean).numpy() for layer, mean in means.items()}
