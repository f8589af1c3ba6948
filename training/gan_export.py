"""From trained players and an encoder to a published package.

Trained ──fold, trace──► modules ──to_onnx, parity──► functions ──calibrate──► publish ──► package
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from service.contract import Defaults, ImageData, Labels, Latent, Quality, Role, TensorSpec
from training.anomaly import scores_of
from training.config import Workspace
from training.data import Dataset
from training.encoder import Encode, IziF
from training.export import fold_batch_norm, parity, session, to_onnx, to_torchscript
from training.gan_card import SHEET_SIDE, Trained, gan_card, summary
from training.gan_config import GanConfig
from training.gan_evaluation import sample
from training.inpainting import inpainting_rows
from training.latent_step import LatentStart, LatentStep
from training.networks import Generator, plain
from training.package import Function, Package, Score, publish
from training.provenance import provenance
from training.sheets import png_bytes, sheet

INPAINTED_DIGITS = 8
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# float32 through a dozen layers, sums taken in another order; all quantities are of order 1.
TOLERANCE = 1e-5
STATE = ("z", "m", "v", "t")
TORCHSCRIPT_FILE = "generate.torchscript.pt"


@dataclass(frozen=True)
class _Graph:
    """A module to export, with examples and the role of every tensor."""

    module: nn.Module
    inputs: Mapping[str, tuple[Tensor, Role]]
    outputs: Mapping[str, tuple[tuple[int, ...], Role]]
    tolerance: float = TOLERANCE


def gan_functions(trained: Trained, config: GanConfig) -> tuple[dict[str, Function], float]:
    """Every function of the package, and the largest difference to torch that any shows.

    Raises:
        ExportError: a graph disagrees with its module.
    """
    functions, worst = {}, 0.0
    for name, graph in _graphs(trained, config).items():
        examples = {key: tensor for key, (tensor, _) in graph.inputs.items()}
        content = to_onnx(graph.module, examples, list(graph.outputs))
        other = {key: torch.cat([t, t.flip(0), t[:1]]) for key, t in examples.items()}
        worst = max(worst, parity(graph.module, content, other, tolerance=graph.tolerance))
        functions[name] = _function(name, graph, content)
    generate = functions["generate"]
    states = tuple(t.model_copy(update={"role": Role.STATE}) for t in generate.inputs)
    functions["latent_readout"] = Function(
        graph=generate.graph, inputs=states, outputs=generate.outputs
    )
    return functions, worst


def _graphs(trained: Trained, config: GanConfig) -> dict[str, _Graph]:
    shape, noise = trained.shape, torch.Generator().manual_seed(0)
    label = torch.tensor([0, shape.classes - 1, 1]) if shape.labelled else None
    image = (shape.channels, shape.side, shape.side)
    z = torch.randn(3, shape.latent, generator=noise)
    label = torch.tensor([0, shape.classes - 1, 1]) if shape.labelled else None
    x = torch.rand(3, *image, generator=noise)
    mask = (torch.rand(3, 1, *image[1:], generator=noise) < 0.5).float()
    moments = torch.rand(3, shape.latent, generator=noise)
    data, masked = {"x": (x, Role.DATA)}, {"mask": (mask, Role.MASK)}
    latent = (shape.latent,)
    held = dict(zip(STATE, (z, moments - 0.5, moments, torch.full((3, 1), 2.0)), strict=True))
    chosen = {} if label is None else {"label": label}
    states = {key: (tuple(t.shape[1:]), Role.STATE) for key, t in (held | chosen).items()}
    descent = config.inpaint.descent()
    realism = trained.discriminator if descent.realism > 0 else None
    return {
        "generate": _Graph(
            module=trained.generator,
            inputs={"z": (z, Role.LATENT)} | {k: (t, Role.LABEL) for k, t in chosen.items()},
            outputs={"x": (image, Role.DATA)},
        ),
        "encode": _Graph(
            module=Encode(trained.encoder),
            inputs=data,
            outputs={"z": (latent, Role.HIDDEN)} | dict.fromkeys(chosen, ((), Role.LABEL)),
        ),
        "score": _Graph(
            module=IziF(
                generator=trained.generator,
                encoder=trained.encoder,
                discriminator=trained.discriminator,
                kappa=config.encoder.kappa,
            ),
            inputs=data,
            outputs={"izi_f": ((), Role.SCORE), "heatmap": (image, Role.HEATMAP)},
        ),
        "latent_start": _Graph(
            module=LatentStart(trained.encoder, descent=descent),
            inputs={**data, **masked, "noise": (z, Role.NOISE)},
            outputs=states,
        ),
        "latent_step": _Graph(
            module=LatentStep(trained.generator, realism, shape=shape, descent=descent),
            inputs={
                **{k: (t, Role.STATE) for k, t in held.items()},
                **data,
                **masked,
                **{k: (t, Role.STATE) for k, t in chosen.items()},
            },
            outputs={f"next_{k}": spec for k, spec in states.items()},
        ),
    }


def _function(name: str, graph: _Graph, content: bytes) -> Function:
    step = name == "latent_step"
    return Function(
        graph=content,
        inputs=tuple(
            _tensor(key, tuple(tensor.shape[1:]), role)
            for key, (tensor, role) in graph.inputs.items()
        ),
        outputs=tuple(_tensor(key, shape, role) for key, (shape, role) in graph.outputs.items()),
        kind="step" if step else "map",
        start="latent_start" if step else None,
        readout="latent_readout" if step else None,
    )


def _tensor(name: str, shape: tuple[int, ...], role: Role) -> TensorSpec:
    dtype: Literal["int64", "float32"] = "int64" if name.endswith("label") else "float32"
    return TensorSpec(name=name, dtype=dtype, shape=("n", *shape), role=role)


def publish_gan(
    store: Path,
    config: GanConfig,
    workspace: Workspace,
    trained: Trained,
    *,
    figures: Sequence[Quality],
    draft: Package | None = None,
) -> Path:
    """Write the package under `store`; with its pictures, where a `draft` can draw them."""
    functions, worst = gan_functions(trained, config)
    facts = provenance(
        config,
        workspace,
        steps=trained.steps,
        seconds=trained.seconds,
        best_step=trained.best_step,
        largest_difference_to_torch=worst,
    )
    pictures = {} if draft is None else _pictures(draft, config, trained)
    blank = png_bytes(sheet(trained.calibration.images[:1], columns=1))
    companions = dict(pictures)
    preview = companions.pop("preview.png", blank)
    if config.export.torchscript:
        example = {"z": torch.zeros(2, trained.shape.latent)}
        if trained.shape.labelled:
            example["label"] = torch.tensor([0, 1])
        companions[TORCHSCRIPT_FILE] = to_torchscript(trained.generator, example)
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="gan",
        description=summary(config, trained),
        data=ImageData(shape=trained.train.shape),
        latent=Latent(size=trained.shape.latent),
        labels=Labels(names=class_names(config.data.title, trained.shape.classes))
        if trained.shape.labelled
        else None,
        functions=functions,
        scores=(_score(functions["score"], trained.calibration),),
        defaults=Defaults(
            burn_in=None,
            inpaint_steps=config.inpaint.steps,
            thinning=None,
            truncation=config.export.truncation,
        ),
        quality=figures,
        provenance=facts,
        card=gan_card(config, trained, figures, facts, drawn=sorted(pictures)),
        preview=preview,
        companions=companions,
    )


def class_names(data: str, classes: int) -> tuple[str, ...]:
    """What the labels 0, 1, … of a data set are called; their numbers, where nothing is known."""
    known = {"cifar10": CIFAR10}.get(data, ())
    return known if len(known) == classes else tuple(str(k) for k in range(classes))


def without_batch_norm(generator: Generator) -> nn.Module:
    """The generator as it is exported."""
    return plain(fold_batch_norm(generator))


def _score(function: Function, calibration: Dataset) -> Score:
    """izi_f, calibrated by the graph that will be served."""
    runtime = session(function.graph)
    scores = scores_of(
        lambda x: np.asarray(runtime.run(["izi_f"], {"x": x})[0]), calibration.images, batch=250
    )
    return Score(
        method="izi_f",
        function="score",
        output="izi_f",
        heatmap="heatmap",
        calibration=scores,
        held_out=f"{len(calibration):,} images of the training set, never trained on",
    )


def _pictures(draft: Package, config: GanConfig, trained: Trained) -> dict[str, bytes]:
    """preview.png: samples; inpainting.png: held-out images, holes, fillings."""
    side = min(SHEET_SIDE, trained.shape.classes) if trained.shape.labelled else SHEET_SIDE
    made = sample(
        draft, n=SHEET_SIDE * side, seed=config.seed, labels=np.tile(np.arange(side), SHEET_SIDE)
    ).images
    filled = inpainting_rows(
        draft,
        trained.calibration.images[:INPAINTED_DIGITS],
        steps=config.inpaint.steps,
        seed=config.seed,
    )
    columns = len(filled) // min(INPAINTED_DIGITS, len(trained.calibration))
    return {
        "preview.png": png_bytes(sheet(made, columns=side)),
        "inpainting.png": png_bytes(sheet(filled, columns=columns)),
    }
