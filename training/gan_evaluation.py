"""Quality figures of a GAN, from its package's own graphs, each beside its real-data floor.

generate.onnx ──judge──► class histogram, Fréchet distance, precision, recall, density, coverage
              ──pixels──► exact and near duplicates
score.onnx + calibration ──► AUROC of three kinds of anomalies, honesty of the p-values
latent_*.onnx ──► error in the hole, beside the mean image and the nearest neighbour

Test data is looked at here, once training is over, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from service.contract import Quality, Role
from service.domain.fidelity import (
    class_shares,
    exact_duplicates,
    frechet_distance,
    kl_to_uniform,
    manifold_figures,
    nearest_distance,
)
from service.domain.latent import draw_classes
from service.domain.randomness import Stream, standard_normal
from training.anomaly import anomaly_report
from training.asked_labels import wilson_interval
from training.data import Dataset
from training.gan_config import EvaluateTable
from training.inpainting import inpainting_figures
from training.judge import Bench, Verdict, load_judge
from training.package import Package

Images = Float[np.ndarray, "n C H W"]


@dataclass(frozen=True)
class EvaluationData:
    """What the figures are computed on: trained on, held out (selection), and test images."""

    train: Dataset
    held_out: Dataset
    test: Dataset


def package_figures(
    package: Package, data: EvaluationData, *, table: EvaluateTable, steps: int, command: str
) -> list[Quality]:
    """Every figure of a package; `steps` of latent descent where a hole is filled."""
    made = sample(package, n=table.samples, seed=table.seed)
    judge = load_judge(table.judge)
    fits = judge.knows(data.test.shape)
    report = anomaly_report(
        lambda images: package.run("score", x=images)["izi_f"],
        data.test.images,
        package.calibration("izi_f"),
        seed=table.seed,
    )
    figures = [
        *(_judged(package, made, data, judge, table=table) if fits else []),
        *_duplicates(made.images, data, table=table),
        *report.figures(),
        *inpainting_figures(
            package,
            data.train,
            data.test,
            n=table.inpainted,
            steps=steps,
            seed=table.seed,
            judge=judge if fits else None,
        ),
    ]
    return [figure.model_copy(update={"command": command}) for figure in figures]


@dataclass(frozen=True)
class Samples:
    """Generated images, with the labels that were asked for where the model is conditional."""

    images: Images
    labels: Int64[np.ndarray, " n"] | None


def sample(
    package: Package,
    *,
    n: int,
    seed: int,
    labels: Int64[np.ndarray, " n"] | None = None,
    batch: int = 250,
) -> Samples:
    """Rows 0 … n − 1 of `sample` with this seed, as the service gives them.

    Labels that a conditional model is not given are drawn evenly by (seed, row).
    """
    manifest = package.manifest
    assert manifest.latent is not None, "a GAN has a latent prior"
    names, parts = manifest.labels, []
    if names is None or manifest.functions["generate"].input(Role.LABEL) is None:
        labels = None
    elif labels is None:
        labels = draw_classes(classes=len(names.names), keys=[(seed, row) for row in range(n)])
    for first in range(0, n, batch):
        rows = range(first, min(first + batch, n))
        z = standard_normal(seed=seed, rows=rows, stream=Stream.LATENT, width=manifest.latent.size)
        told = {} if labels is None else {"label": labels[first : rows.stop]}
        parts.append(package.run("generate", z=z, **told)["x"])
    return Samples(np.concatenate(parts), labels)


def _judged(
    package: Package, even: Samples, data: EvaluationData, judge: Bench, *, table: EvaluateTable
) -> list[Quality]:
    """Figures on the judge's features. The floor puts training images in the samples' place.

    A conditional model is asked for the labels of those training images, so that both have the
    same share of each class; `even` samples, of all labels alike, have their own distance.
    """
    n = min(len(even.images), len(data.train), len(data.test))
    real = _some(data.train, n, seed=table.seed)
    told = even.labels is not None and real.labels is not None
    samples = sample(package, n=n, seed=table.seed, labels=real.labels) if told else even
    looked = {"made": samples.images[:n], "real": real.images, "test": data.test.images[:n]}
    seen = {name: judge.look(images) for name, images in looked.items()}
    by = f"judge sha256 {judge.sha256[:12]}…, {_accuracy(judge, data.test)}"
    if told:
        by = f"samples are asked for the labels of the floor's training images; {by}"
    against = (
        f"{n:,} samples against {n:,} test images; floor: {n:,} training images against the same "
        f"test images; {by}"
    )
    classes = seen["made"].probabilities.shape[1]
    shares = class_shares(seen["made"].classes, n_classes=classes)
    real_shares = class_shares(seen["real"].classes, n_classes=classes)
    histogram = (
        f"classes that the judge sees in {n:,} samples; floor: in {n:,} training images; {by}"
    )
    fid = frechet_distance(seen["made"].features, seen["test"].features)
    floor = frechet_distance(seen["real"].features, seen["test"].features)
    return [
        Quality(
            name="frechet_distance", value=fid, floor=floor, protocol=f"{against}; 64 features"
        ),
        *_manifold(seen["made"].features, seen["real"].features, seen["test"].features, table, by),
        _figure("class_share_least", shares.min(), real_shares.min(), histogram),
        _figure("class_share_most", shares.max(), real_shares.max(), histogram),
        Quality(
            name="class_kl_to_uniform",
            value=kl_to_uniform(shares),
            unit="nats",
            floor=kl_to_uniform(real_shares),
            protocol=histogram,
        ),
        *_as_asked(seen["made"].classes, samples, judge, data.test),
        *(_of_even_labels(even, judge, seen["test"], floor=floor, against=against) if told else []),
    ]


def _of_even_labels(
    even: Samples, judge: Bench, test: Verdict, *, floor: float, against: str
) -> list[Quality]:
    """The Fréchet distance of a conditional model that is asked for all labels alike."""
    features = judge.look(even.images[: len(test.features)]).features
    return [
        Quality(
            name="frechet_distance_even_labels",
            value=frechet_distance(features, test.features),
            floor=floor,
            protocol=against.replace(
                "samples are asked for the labels of the floor's training images",
                "labels are drawn evenly by the seed, which test images' are not",
            ),
        )
    ]


def _as_asked(
    seen: Int64[np.ndarray, " n"], samples: Samples, judge: Bench, test: Dataset
) -> list[Quality]:
    """How often a conditional model makes what it is asked for."""
    if samples.labels is None or test.labels is None:
        return []
    right = seen == samples.labels[: len(seen)]
    low, high = wilson_interval(int(right.sum()), len(right))
    return [
        Quality(
            name="samples_read_as_asked",
            value=100 * float(right.mean()),
            unit="%",
            interval=(100 * low, 100 * high),
            floor=100 * judge.accuracy(test.images, test.labels),
            protocol=(
                f"share of {len(seen):,} samples that the judge reads as the label asked for, "
                "labels in the shares of training images; 95 % interval of Wilson; floor: its "
                f"accuracy on {len(test):,} test images; judge sha256 {judge.sha256[:12]}…"
            ),
        )
    ]


def _manifold(
    made: np.ndarray, real: np.ndarray, test: np.ndarray, table: EvaluateTable, by: str
) -> list[Quality]:
    n = min(table.neighbours, len(made))
    ours = manifold_figures(real=test[:n], fake=made[:n], k=5)
    floor = manifold_figures(real=test[:n], fake=real[:n], k=5)
    protocol = (
        f"k = 5, {n:,} samples against {n:,} test images; floor: {n:,} training images against the "
        f"same test images; {by}"
    )
    names = ("precision", "recall", "density", "coverage")
    return [_figure(name, getattr(ours, name), getattr(floor, name), protocol) for name in names]


def _duplicates(made: Images, data: EvaluationData, *, table: EvaluateTable) -> list[Quality]:
    n = min(table.duplicates, len(made), len(data.held_out), len(data.test))
    train = data.train.images.reshape(len(data.train), -1)
    nearest = {
        name: nearest_distance(x[:n].reshape(n, -1), train)
        for name, x in (("made", made), ("held", data.held_out.images), ("test", data.test.images))
    }
    near = float(np.quantile(nearest["held"], 0.01))
    return [
        _figure(
            "exact_duplicates",
            exact_duplicates(made),
            exact_duplicates(data.train.images[: len(made)]),
            f"share of {len(made):,} samples that equal an earlier one in 8 bits; floor: training "
            "images",
        ),
        _figure(
            "near_copies_of_training",
            (nearest["made"] < near).mean(),
            (nearest["test"] < near).mean(),
            f"share of {n:,} samples nearer to a training image (pixels, L2) than {near:.2f}, as "
            f"1 % of held-out training images are; floor: {n:,} test images",
        ),
    ]


def _some(data: Dataset, n: int, *, seed: int) -> Dataset:
    rows = np.random.default_rng(seed).permutation(len(data))[:n]
    return data.take(np.sort(rows))


def _accuracy(judge: Bench, test: Dataset) -> str:
    if test.labels is None:
        return "accuracy unknown"
    return f"{judge.accuracy(test.images, test.labels):.2%} right on the test images"


def _figure(name: str, value: float, floor: float, protocol: str) -> Quality:
    return Quality(name=name, value=float(value), floor=float(floor), protocol=protocol)


def find(figures: Sequence[Quality], name: str) -> Quality:
    """The figure of this name."""
    return next(figure for figure in figures if figure.name == name)
