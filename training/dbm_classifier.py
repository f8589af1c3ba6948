"""A deep Boltzmann machine as a classifier: its mean-field unrolled once, with a softmax on top.

x ──mean-field──► μ²…μ^L ──► [x, μ²] ──σ──► h¹, [h¹, μ³] ──σ──► h², … ──softmax──► p(label | x)

At first a layer gives exactly its mean-field probabilities; fine-tuning then moves the weights.
Salakhutdinov & Hinton (2009), §3.4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from training.classifier import (
    Classifier,
    ClassifyTable,
    LabelledData,
    distorted,
    fine_tune,
    restored_classifier,
    with_softmax,
)
from training.data import Dataset
from training.dbm import Dbm, MeanField, mean_field
from training.dbm_learning import named_tensors
from training.run import Run

FOLDER = "classifier"
MACHINE_FILE = "machine.json"
# Of the mean-field of changed images, which is made anew for each batch.
VIEW_TOLERANCE = 1e-2


def unrolled(dbm: Dbm, *, labels: int) -> Classifier:
    """The machine's layers, each with the weights from below and above, and a fresh softmax."""
    depth = len(dbm.W)
    layers = [(torch.cat([dbm.W[i], dbm.W[i + 1].T]), dbm.b[i + 1]) for i in range(depth - 1)]
    return with_softmax([*layers, (dbm.W[-1], dbm.b[-1])], labels=labels)


def classifier_inputs(
    dbm: Dbm, x: Float[Tensor, "n visible"], rule: MeanField, *, batch: int = 1000
) -> list[Float[Tensor, "n units"]]:
    """[x, μ², …, μ^L] of grey images, with the mean-field that the package serves."""
    parts = [mean_field(dbm, rows, rule)[2:] for rows in torch.split(x, batch)]
    return [x, *(torch.cat(layer) for layer in zip(*parts, strict=True))]


def labelled(dbm: Dbm, images: Dataset, rule: MeanField) -> LabelledData:
    """What the classifier sees of images with labels, on the machine's device."""
    assert images.labels is not None, "the recipe checks that there are labels"
    device = dbm.b[0].device
    rows = torch.from_numpy(images.images.reshape(len(images), -1)).to(device)
    return LabelledData(
        classifier_inputs(dbm, rows, rule), torch.from_numpy(images.labels).to(device)
    )


def train_classifier(
    dbm: Dbm,
    train: Dataset,
    held_out: Dataset,
    *,
    labels: int,
    rule: MeanField,
    table: ClassifyTable,
    seed: int,
    directory: Path,
    stop: Callable[[], bool],
) -> Classifier:
    """Fine-tune, or go on; a run of another machine in `directory` is begun again.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a weight is no longer finite.
    """
    folder = directory / FOLDER
    machine = machine_digest(dbm, rule)
    if _machine_of(folder) != machine:
        Run.erase(folder)
    run = Run(folder, resume=True, config=table.deciding())
    change = distorted(table, train.shape)
    quick = replace(rule, tolerance=VIEW_TOLERANCE)
    (folder / MACHINE_FILE).write_text(json.dumps({"machine": machine}) + "\n")
    try:
        return fine_tune(
            unrolled(dbm, labels=labels),
            labelled(dbm, train, rule),
            labelled(dbm, held_out, rule),
            table=table,
            seed=seed,
            run=run,
            stop=stop,
            views=None
            if change is None
            else lambda x, noise: classifier_inputs(dbm, change(x, noise), quick),
        )
    finally:
        run.close()


def trained_classifier(dbm: Dbm, rule: MeanField, directory: Path) -> Classifier | None:
    """The classifier that was fine-tuned from this very machine, if there is one."""
    folder = directory / FOLDER
    return restored_classifier(folder) if _machine_of(folder) == machine_digest(dbm, rule) else None


def machine_digest(dbm: Dbm, rule: MeanField) -> str:
    """sha256 of the machine's parameters and of the mean-field that the inputs come from."""
    digest = hashlib.sha256(repr(rule).encode())
    for name, tensor in sorted(named_tensors(dbm).items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _machine_of(folder: Path) -> str | None:
    file = folder / MACHINE_FILE
    found = json.loads(file.read_text("utf-8"))["machine"] if file.exists() else None
    return None if found is None else str(found)
