"""Train on synthetic, test on real: what a classifier learns from a package's labelled samples.

package ──sample──► images with labels ──┐
training images ──some real──────────────┴──train_judge──► classifier ──► share right, test images

Esteban et al. (2017), §4.2. Four arms, each for some seeds and for equally many images seen:
samples alone, as many real images, a few real images alone, and these with the samples, half of
what is seen each. The test images are looked at once an arm and seed, when its training is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64

from service.contract import PackageError
from service.domain.randomness import Stream, standard_normal
from training.benchmarks.inpainting import Work
from training.benchmarks.kept import kept_or_done
from training.data import Dataset
from training.gan_evaluation import sample
from training.judge import JudgeTraining, dump_judge, parse_judge, train_judge
from training.package import Package
from training.run import Interrupted

# Samples that are drawn when an arm asks for them.
Made = Callable[[], Dataset]
ARMS = ("samples", "real", "few real", "few real + samples")


@dataclass(frozen=True)
class Protocol:
    """What the result of an arm depends on besides the package and the data.

    Attributes:
        samples: how many samples, and how many real images in their place.
        few: how many real images are few.
        images_seen: that a classifier sees in all, over its epochs.
        seeds: of the samples, the choice of the few, and the classifier.
    """

    samples: int = 30_000
    few: int = 1000
    images_seen: int = 180_000
    seeds: tuple[int, ...] = (0, 1, 2)


def labelled_samples(package: Package, *, n: int, seed: int) -> Dataset:
    """Samples, each with the label that it was asked for.

    A model without a label input whose latents choose the class gives the class that they chose.

    Raises:
        PackageError: the package cannot say what its samples are of.
    """
    made = sample(package, n=n, seed=seed)
    labels = latent_classes(package, n=n, seed=seed) if made.labels is None else made.labels
    return Dataset(images=made.images, labels=labels, name=package.manifest.id)


def latent_classes(package: Package, *, n: int, seed: int) -> Int64[np.ndarray, " n"]:
    """The class that the first latents of rows 0 … n − 1 choose.

    Raises:
        PackageError: they choose none.
    """
    recipe = package.manifest.provenance.get("recipe")
    classes = recipe.get("model", {}).get("classes", 0) if isinstance(recipe, dict) else 0
    latent = package.manifest.latent
    if latent is None or not 0 < classes <= latent.size:
        raise PackageError(
            f"{package.manifest.id} cannot say what its samples are of: name a package that takes "
            "a label, or whose latents choose a class"
        )
    z = standard_normal(seed=seed, rows=range(n), stream=Stream.LATENT, width=latent.size)
    chosen: Int64[np.ndarray, " n"] = z[:, :classes].argmax(1).astype(np.int64)
    return chosen


def run_arms(
    package: Package,
    *,
    train: Dataset,
    test: Dataset,
    protocol: Protocol,
    work: Work,
) -> dict[str, Any]:
    """Every arm and seed, as plain JSON values; what is finished is read from the folder.

    Raises:
        Interrupted: a person asked to stop; what is finished is kept.
        RunConflict: the folder holds results of another package or protocol.
        PackageError: the package's samples have no labels, or are other images than the data.
    """
    check(package, train)
    arms: dict[str, dict[str, float]] = {arm: {} for arm in ARMS}
    for seed in protocol.seeds:
        made = cache(partial(labelled_samples, package, n=protocol.samples, seed=seed))
        for arm in ARMS:
            if work.stop():
                raise Interrupted(f"stopped before {arm}, seed {seed}")
            made_from = asdict(protocol) | {"seed": seed, "arm": arm, "data": train.name}
            made_from |= {"package": package.manifest.digest}
            found = kept_or_done(
                work.folder / f"{arm.replace(' ', '-').replace('+', 'and')}-{seed}.json",
                made_from=made_from,
                compute=partial(
                    _measured, arm, made, train=train, test=test, protocol=protocol, seed=seed
                ),
            )
            arms[arm][str(seed)] = found["accuracy"]
            work.on_done(arm, f"seed {seed}: {found['accuracy']:.2%}")
    return {
        "question": "train on synthetic, test on real",
        "package": package.manifest.id,
        "digest": package.manifest.digest,
        "data": train.name,
        "test_images": len(test),
        "protocol": asdict(protocol),
        "arms": arms,
    }


def check(package: Package, data: Dataset) -> None:
    """Refuse a package of other images than a classifier of `data` reads.

    Raises:
        PackageError: says what the package is of instead.
    """
    found = getattr(package.manifest.data, "shape", None)
    if found is None or tuple(found) != data.shape:
        raise PackageError(
            f"{package.manifest.id} is of data {found}, not of images {list(data.shape)}"
        )


def _measured(
    arm: str, made: Made, *, train: Dataset, test: Dataset, protocol: Protocol, seed: int
) -> dict[str, Any]:
    images, labels = training_set(arm, made, train=train, protocol=protocol, seed=seed)
    how = JudgeTraining(epochs=max(protocol.images_seen // len(images), 1))
    classifier = train_judge(
        torch.from_numpy(images),
        torch.from_numpy(labels),
        how=how,
        seed=seed,
        on_step=lambda step, loss: None,  # noqa: ARG005
    )
    bench = parse_judge(dump_judge(classifier))
    assert test.labels is not None, "test data of classes has labels"
    return {"accuracy": bench.accuracy(test.images, test.labels), "epochs": how.epochs}


def training_set(
    arm: str, made: Made, *, train: Dataset, protocol: Protocol, seed: int
) -> tuple[Float[np.ndarray, "n c h w"], Int64[np.ndarray, " n"]]:
    """What a classifier of this arm and seed sees in an epoch."""
    assert train.labels is not None, "training data of classes has labels"
    order = np.random.default_rng(seed).permutation(len(train))
    if arm == "real":
        rows = order[: protocol.samples]
        return train.images[rows], train.labels[rows]
    few = order[: protocol.few]
    if arm == "few real":
        return train.images[few], train.labels[few]
    samples = made()
    assert samples.labels is not None
    if arm == "samples":
        return samples.images, samples.labels
    again = np.resize(few, len(samples))  # as many as samples: half of what is seen is real
    return (
        np.concatenate([train.images[again], samples.images]),
        np.concatenate([train.labels[again], samples.labels]),
    )
