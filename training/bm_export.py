"""From trained machines to a published package.

TrainedBm (float32) ──quantise──► graphs ──► publish_bm ──► package      check_parity ──► or not
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from service.contract import Defaults, ImageData, PackageError, Quality
from service.domain.randomness import logistic
from training.bm import Bm, mean_field, named_tensors, unnormalised_bound
from training.bm_card import TrainedBm, bm_card, summary
from training.bm_config import BmConfig
from training.bm_connections import Blocks, colour_blocks
from training.bm_evaluation import RIVAL_FILES, RIVAL_STEP
from training.bm_graphs import bm_functions, score_method
from training.bm_quantised import QuantisedBm, quantise_bm, reference_sweep
from training.bm_training import base_log_odds
from training.boltzmann_package import (
    blank_preview,
    calibrated_score,
    chain_pictures,
    weights_file,
)
from training.config import Workspace
from training.data import Dataset
from training.dbm import MeanField
from training.package import Package, publish
from training.provenance import provenance

# Pixels of a picture for one of an image: these images are small.
PICTURE_SCALE = 4
PARITY_CHAINS = 32
PARITY_SWEEPS = 50
# float32 sums of some hundred products, taken in another order, and of mean-field rounds on them.
SCORE_TOLERANCE_NATS = 0.02


def publish_bm(
    store: Path,
    config: BmConfig,
    workspace: Workspace,
    trained: TrainedBm,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its pictures, where a `draft` can draw them."""
    bm = quantise_bm(trained.machines.bm, bits=config.export.bits)
    functions = bm_functions(
        bm,
        blocks=blocks_of(config, trained),
        base_bias=_base_bias(bm, trained.train),
        shape=trained.train.shape,
        posterior=config.export.posterior,
    )
    facts = provenance(
        config,
        workspace,
        steps=trained.steps,
        seconds=trained.seconds,
        weight_bits=bm.bits,
        weight_step=float(bm.step),
    )
    pictures = {}
    if draft is not None:
        pictures = chain_pictures(
            draft, trained.held_out, export=config.export, seed=config.seed, scale=PICTURE_SCALE
        )
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="bm",
        description=summary(config, bm),
        data=ImageData(shape=trained.train.shape),
        functions=functions,
        scores=(
            calibrated_score(
                functions["score"],
                method=score_method(bm),
                held_out=trained.held_out,
                data="image",
            ),
        ),
        defaults=Defaults(
            burn_in=config.export.burn_in,
            inpaint_steps=config.export.inpaint_steps,
            truncation=None,
        ),
        quality=figures,
        provenance=facts,
        card=bm_card(config, bm, trained, figures, facts, drawn=sorted(pictures)),
        preview=pictures.pop("preview.png", blank_preview(trained.held_out)),
        weights=weights_file(named_tensors(bm.dequantised())),
        companions=pictures | _rivals(config, trained),
    )


def blocks_of(config: BmConfig, trained: TrainedBm) -> Blocks:
    """The blocks of the recipe's links."""
    links = config.model.links(trained.train.shape)
    return colour_blocks(links, visible=len(links) - config.model.hidden)


def check_parity(
    package: Package, bm: QuantisedBm, *, blocks: Blocks, posterior: MeanField, seed: int
) -> None:
    """Hold a package's graphs against the machine in 64-bit and float32 arithmetic.

    The chain must agree bit for bit, under clamps and temperatures; decode must give what readout
    gives; scores must agree as far as float32 sums do.

    Raises:
        PackageError: it does not; says where.
    """
    rng = np.random.default_rng(seed)
    x = _chain_agrees(package, bm, blocks, rng)
    read = package.run("readout", x=x, beta=np.ones((len(x), 1), np.float32))
    if not np.array_equal(package.run("decode", h=x.astype(np.float32))["image"], read["mean"]):
        raise PackageError("decode differs from readout on a binary state: do not publish this")
    images = rng.random(read["mean"].shape, dtype=np.float32)
    exact = bm.dequantised().to(torch.float64)
    states = mean_field(exact, _rows(images).double(), posterior)
    found = package.run("score", image=images)[score_method(bm)]
    worst = float(np.abs(found + unnormalised_bound(exact, states).numpy()).max())
    if not worst <= SCORE_TOLERANCE_NATS:
        raise PackageError(f"score differs from the machine's in torch by {worst:.3g} nats")


def _chain_agrees(
    package: Package, bm: QuantisedBm, blocks: Blocks, rng: np.random.Generator
) -> UInt8[np.ndarray, "n units"]:
    n = PARITY_CHAINS
    x = (rng.random((n, bm.units)) < 0.5).astype(np.uint8)
    held: dict[str, np.ndarray[Any, Any]] = {
        "clamp_mask": rng.random((n, bm.visible)) < 0.3,
        "clamp_values": rng.random((n, bm.visible)) < 0.5,
        "beta": rng.uniform(0.5, 2.0, (n, 1)).astype(np.float32),
    }
    # Half of the chains run free, at β = 1.
    held["clamp_mask"][n // 2 :] = False
    held["beta"][n // 2 :] = 1.0
    for step in range(PARITY_SWEEPS):
        noise = logistic(rng.integers(0, 65_536, (n, bm.units), np.uint16))
        found = package.run("sweep", x=x, noise=noise, **held)["next_x"]
        expected = reference_sweep(bm, x, noise, blocks=blocks, **held)
        if not np.array_equal(found, expected):
            wrong = int((found != expected).sum())
            raise PackageError(f"sweep {step} has {wrong} of {found.size} units wrong")
        x = expected
    return x


def _rivals(config: BmConfig, trained: TrainedBm) -> dict[str, bytes]:
    """Each rival's weights, rounded as the machine's own are: whole numbers, and their step."""
    before, after = RIVAL_FILES
    files = {}
    for name, rival in trained.machines.rivals.items():
        whole = quantise_bm(rival, bits=config.export.bits)
        small = torch.int8 if whole.bits == 8 else torch.int16
        integers = Bm(
            W=torch.from_numpy(whole.W).to(small),
            b=torch.from_numpy(whole.b),
            visible=whole.visible,
        )
        step = {RIVAL_STEP: torch.tensor(float(whole.step))}
        files[f"{before}{name}{after}"] = weights_file(named_tensors(integers) | step)
    return files


def _base_bias(bm: QuantisedBm, train: Dataset) -> Float[np.ndarray, " units"]:
    machine: Bm = bm.dequantised()
    found: Float[np.ndarray, " units"] = base_log_odds(machine, _rows(train.images)).numpy()
    return found


def _rows(images: Float[np.ndarray, "n C H W"]) -> torch.Tensor:
    return torch.from_numpy(images.reshape(len(images), -1))
