"""From trained weights to a published package.

Trained (float32) ──quantise──► graphs ──► publish_rbm ──► package        check_parity ──► or not
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from jaxtyping import Bool, Float
from safetensors.torch import save as save_safetensors

from service.contract import Defaults, ImageData, Labels, PackageError, Quality, Role
from service.domain.randomness import logistic
from training.anomaly import scores_of
from training.boltzmann_graphs import rbm_functions
from training.config import Workspace
from training.data import Dataset
from training.data_files import DataError
from training.label_graphs import Labelled, labelled_functions
from training.label_graphs import reference_sweep as reference_labelled
from training.label_units import log_evidence
from training.package import Function, Package, Score, publish
from training.package_sweeps import inpaint, sample
from training.provenance import provenance
from training.quantised import QuantisedRbm, noise_inputs, quantise, reference_sweep
from training.rbm import base_rate_bias
from training.rbm_card import Trained, rbm_card, summary
from training.rbm_config import RbmConfig
from training.sheets import png_bytes, sheet

SHEET_SIDE = 10
INPAINTED_DIGITS = 8
FILLINGS = 5
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
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its pictures, where a `draft` can draw them."""
    rbm = quantise(trained.rbm, bits=config.export.bits)
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
    blank = png_bytes(sheet(trained.held_out.images[:1], columns=1))
    held_out = f"{len(trained.held_out):,} images of the training set, never trained on"
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="rbm",
        description=summary(config, rbm),
        data=ImageData(shape=trained.train.shape),
        labels=Labels(names=label_names(trained.train)) if trained.labels else None,
        functions=functions,
        scores=(_score(functions["score"], trained.held_out, held_out),),
        defaults=Defaults(
            burn_in=config.export.burn_in,
            inpaint_steps=fillings,
            truncation=None,
        ),
        quality=figures,
        provenance=facts,
        card=rbm_card(config, rbm, trained, figures, facts, drawn=sorted(pictures)),
        preview=pictures.pop("preview.png", blank),
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


def _score(function: Function, held_out: Dataset, words: str) -> Score:
    """The free-energy score, calibrated by the graph that will be served."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(function.graph, options, providers=["CPUExecutionProvider"])
    scores = scores_of(
        lambda x: session.run(["free_energy"], {"x": x})[0], held_out.images, batch=500
    )
    return Score(
        method="free_energy",
        function="score",
        output="free_energy",
        heatmap="heatmap",
        calibration=scores,
        held_out=words,
    )


def _weights(rbm: QuantisedRbm) -> bytes:
    exported = rbm.dequantised()
    tensors = {"weight.1": exported.W, "bias.0": exported.b, "bias.1": exported.c}
    return save_safetensors({name: t.contiguous() for name, t in tensors.items()})


def _pictures(draft: Package, config: RbmConfig, trained: Trained) -> dict[str, bytes]:
    """preview.png: fresh samples, by label where there are some; inpainting.png where it can."""
    columns = trained.labels or SHEET_SIDE
    n = SHEET_SIDE * columns
    fixed = {Role.LABEL: np.arange(n) % columns} if trained.labels else {}
    (fresh,) = sample(draft, n=n, seed=config.seed, sweeps=[config.export.burn_in], fixed=fixed)
    preview = {"preview.png": png_bytes(sheet(fresh, columns=columns))}
    if trained.labels:
        return preview
    filled = inpainting_rows(
        draft, trained.held_out, sweeps=config.export.inpaint_steps, seed=config.seed
    )
    return preview | {"inpainting.png": png_bytes(sheet(filled, columns=2 + FILLINGS))}


def inpainting_rows(
    package: Package, images: Dataset, *, sweeps: int, seed: int
) -> Float[np.ndarray, "n C H W"]:
    """For each of the first images: itself, itself with the hole in grey, and its fillings."""
    originals = images.images[:INPAINTED_DIGITS]
    hole = central_hole(images.shape)
    fillings = inpaint(package, originals.repeat(FILLINGS, 0), hole, seed=seed, sweeps=sweeps)
    rows = []
    for i, original in enumerate(originals):
        own = fillings[i * FILLINGS : (i + 1) * FILLINGS]
        rows.append(np.stack([original, np.where(hole, 0.35, original), *own]))
    return np.concatenate(rows).astype(np.float32)


def label_names(images: Dataset) -> tuple[str, ...]:
    """The classes of a data set, in order: "0", "1", … up to the largest label.

    Raises:
        DataError: it has no labels.
    """
    if images.labels is None:
        raise DataError(
            f"{images.name} has no labels to learn: leave [classify] or model.labels out"
        )
    return tuple(str(label) for label in range(int(images.labels.max()) + 1))


def central_hole(shape: tuple[int, int, int]) -> Bool[np.ndarray, "C H W"]:
    """The central half in both directions: 14×14 of 28×28."""
    hole = np.zeros(shape, bool)
    _, height, width = shape
    hole[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return hole


def _rows(images: Float[np.ndarray, "n C H W"]) -> Float[np.ndarray, "n visible"]:
    rows: Float[np.ndarray, "n visible"] = images.reshape(len(images), -1)
    return rows
