"""From trained players and an encoder to a published package.

Trained ──fold, trace──► modules ──to_onnx, parity──► functions ──calibrate──► publish ──► package
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from service.contract import Defaults, ImageData, Latent, Quality, Role, TensorSpec
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
    state = generate.inputs[0].model_copy(update={"role": Role.STATE})
    functions["latent_readout"] = Function(
        graph=generate.graph, inputs=(state,), outputs=generate.outputs
    )
    return functions, worst


def _graphs(trained: Trained, config: GanConfig) -> dict[str, _Graph]:
    shape, noise = trained.shape, torch.Generator().manual_seed(0)
    image = (shape.channels, shape.side, shape.side)
    z = torch.randn(3, shape.latent, generator=noise)
    x = torch.rand(3, *image, generator=noise)
    mask = (torch.rand(3, 1, *image[1:], generator=noise) < 0.5).float()
    moments = torch.rand(3, shape.latent, generator=noise)
    data, masked = {"x": (x, Role.DATA)}, {"mask": (mask, Role.MASK)}
    latent = (shape.latent,)
    states = ((latent, Role.STATE), (latent, Role.STATE), (latent, Role.STATE), ((1,), Role.STATE))
    held = dict(zip(STATE, (z, moments - 0.5, moments, torch.full((3, 1), 2.0)), strict=True))
    descent = config.inpaint.descent()
    realism = trained.discriminator if descent.realism > 0 else None
    return {
        "generate": _Graph(
            module=trained.generator,
            inputs={"z": (z, Role.LATENT)},
            outputs={"x": (image, Role.DATA)},
        ),
        "encode": _Graph(
            module=Encode(trained.encoder), inputs=data, outputs={"z": (latent, Role.HIDDEN)}
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
            outputs=dict(zip(STATE, states, strict=True)),
        ),
        "latent_step": _Graph(
            module=LatentStep(trained.generator, realism, shape=shape, descent=descent),
            inputs={**{k: (t, Role.STATE) for k, t in held.items()}, **data, **masked},
            outputs={f"next_{k}": s for k, s in zip(STATE, states, strict=True)},
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
    return TensorSpec(name=name, dtype="float32", shape=("n", *shape), role=role)


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
        z = torch.zeros(2, trained.shape.latent)
        companions[TORCHSCRIPT_FILE] = to_torchscript(trained.generator, {"z": z})
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="gan",
        description=summary(config, trained),
        data=ImageData(shape=trained.train.shape),
        latent=Latent(size=trained.shape.latent),
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
    made = sample(draft, n=SHEET_SIDE**2, seed=config.seed)
    filled = inpainting_rows(
        draft,
        trained.calibration.images[:INPAINTED_DIGITS],
        steps=config.inpaint.steps,
        seed=config.seed,
    )
    columns = len(filled) // min(INPAINTED_DIGITS, len(trained.calibration))
    return {
        "preview.png": png_bytes(sheet(made, columns=SHEET_SIDE)),
        "inpainting.png": png_bytes(sheet(filled, columns=columns)),
    }
