"""From a judge's weights to a package of the store: `encode`, `classify`, and what it gets wrong.

training/judges/<data>.safetensors ──fold, trace──► graphs ──parity──► publish ──► the store
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from service.contract import Defaults, ImageData, Labels, Quality, Role, TensorSpec
from training.card import ModelCard, Picture, write_card
from training.config import RecipeConfig, Workspace
from training.data import Dataset
from training.export import fold_batch_norm, parity, to_onnx
from training.judge import FEATURES, Bench, Judge
from training.package import Function, publish
from training.provenance import provenance
from training.sheets import png_bytes, sheet

TOLERANCE = 1e-4  # features reach some tens; float32 through four layers
SHOWN = 60
Z_95 = 1.96


class _Look(nn.Module):
    """x ↦ features, class probabilities."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.trunk, self.head = judge.trunk, judge.head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.trunk(2.0 * x - 1.0)
        chances: Tensor = self.head(features).softmax(1)
        return features, chances


def publish_judge(
    store: Path,
    config: RecipeConfig,
    workspace: Workspace,
    bench: Bench,
    test: Dataset,
    *,
    steps: int,
) -> Path:
    """Write the judge's package under `store`; `test` are labelled images for its error.

    `steps` are the updates of its training, whose time was not recorded.

    Raises:
        ExportError: a graph disagrees with its module.
    """
    assert test.labels is not None, "a judge is tested on labelled images"
    classes = bench.look(test.images).classes
    wrong = np.flatnonzero(classes != test.labels)
    figure = error_figure(len(wrong), len(test), command=workspace.command)
    functions, worst = judge_functions(bench.judge, test.shape)
    facts = provenance(
        config,
        workspace,
        steps=steps,
        seconds=0.0,
        weights_sha256=bench.sha256,
        largest_difference_to_torch=worst,
    )
    names = tuple(str(k) for k in range(bench.judge.head.out_features))
    summary = (
        f"A small convolutional classifier of {config.data.title}: {FEATURES} features and class "
        "probabilities, by which generated images are judged. It generates nothing."
    )
    return publish(
        store,
        name=config.name,
        version=config.version,
        family="classifier",
        description=summary,
        data=ImageData(shape=test.shape),
        labels=Labels(names=names),
        functions=functions,
        defaults=Defaults(burn_in=None, inpaint_steps=None, thinning=None, truncation=None),
        quality=(figure,),
        provenance=facts,
        card=_card(config, summary, figure, facts, sha256=bench.sha256),
        preview=png_bytes(sheet(test.images[wrong[:SHOWN]], columns=10)),
    )


def judge_functions(judge: Judge, shape: tuple[int, int, int]) -> tuple[dict[str, Function], float]:
    """`encode` and `classify`, and the largest difference to torch that either shows.

    Both are of one graph, so that the package holds the weights once.

    Raises:
        ExportError: the graph disagrees with its module.
    """
    folded = fold_batch_norm(judge)
    assert isinstance(folded, Judge)
    look = _Look(folded)
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    taken = TensorSpec(name="x", dtype="float32", shape=("n", *shape), role=Role.DATA)
    outputs = {
        "encode": _tensor("features", FEATURES, Role.HIDDEN),
        "classify": _tensor("probabilities", judge.head.out_features, Role.PROBABILITIES),
    }
    graph = to_onnx(look, {"x": x}, [output.name for output in outputs.values()])
    other = {"x": torch.cat([x, x.flip(0), x[:1]])}
    worst = parity(look, graph, other, tolerance=TOLERANCE)
    functions = {
        name: Function(graph=graph, inputs=(taken,), outputs=(output,))
        for name, output in outputs.items()
    }
    return functions, worst


def _tensor(name: str, size: int, role: Role) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=("n", size), role=role)


def error_figure(wrong: int, n: int, *, command: str) -> Quality:
    """The share of test images that are read wrongly, with its 95 % interval."""
    share = wrong / n
    reach = Z_95 * (share * (1 - share) / n) ** 0.5
    return Quality(
        name="test_error",
        value=100 * share,
        unit="%",
        interval=(100 * max(share - reach, 0.0), 100 * (share + reach)),
        protocol=f"{wrong:,} of {n:,} test images read wrongly; what is measured with it can be no "
        "more exact",
        command=command,
    )


def _card(
    config: RecipeConfig, summary: str, figure: Quality, facts: dict[str, object], *, sha256: str
) -> str:
    return write_card(
        ModelCard(
            title=f"{config.name} {config.version}",
            summary=summary,
            uses=(
                "Reports of orders: features for Fréchet distances, and classes seen in images.",
                "`accept.judge` of orders: rows in which it does not see their label are redrawn.",
            ),
            limits=(
                "Figures made with another judge cannot be compared with those made with this one.",
                "It gives every image one of its classes, also an image that shows none.",
                "It has seen all training images: compare with real images that it has not seen.",
            ),
            training_data=f"All training images of {config.data.title}, shaken a little.",
            training="training/judge.py: cross-entropy with smoothed labels, one cycle of the "
            f"rate. The weights are those of sha256 `{sha256}`.",
            quality=(figure,),
            pictures=[
                Picture("preview.png", f"The first {SHOWN} test images that it reads wrongly.")
            ],
            provenance=facts,
            notes={"The functions": "`encode(x) → features` [64]; `classify(x) → probabilities`."},
        )
    )
