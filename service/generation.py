"""Seeded sampling for a whole batch: rows are asked for by (seed, row) and drawn together.

{seed, row, psi[, label]} ──► z ~ prior ──ψ·z──► generate ──► data space: {samples}

Drawing one row alone costs nearly as much as drawing sixteen, so a generator's queue holds seeds,
and the worker draws the latents of all that it has taken. Other inputs go to `generate` as they
are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.contract import FunctionSpec, ImageData, Latent, Manifest, Role, TensorSpec
from service.domain import latent
from service.domain.arrays import Arrays
from service.domain.images import to_data_space
from service.invariance import MapFunction

GENERATE = "generate"
SAMPLES = "samples"
DRAWN = -1  # the label of a row whose class is drawn by its seed


def seeded_rows(
    *, seed: int, rows: range, psi: float, labels: tuple[int, ...] | None = None
) -> Arrays:
    """What asks a generator for these rows of this seed; no labels: they are drawn."""
    n, labels = len(rows), labels or (DRAWN,)
    return {
        "seed": np.array([seed] * n, np.uint64),
        "row": np.array(rows, np.uint64),
        "psi": np.array([psi] * n, np.float32),
        "label": np.array(labels * n if len(labels) == 1 else labels, np.int64),
    }


@dataclass(frozen=True)
class SeededGenerator:
    """A `generate` that also takes rows as `seeded_rows` has them, and then gives `samples`.

    Attributes:
        generate: the function itself, on any number of rows.
        prior: what z is drawn from.
        latent, sample: the input and the output of `generate`.
        label: its label input, if it is conditional, on `classes` classes.
        data: the shape and range of its images; None leaves samples as they are.
    """

    generate: MapFunction
    prior: Latent
    latent: TensorSpec
    sample: TensorSpec
    label: TensorSpec | None
    classes: int
    data: ImageData | None

    @classmethod
    def of(cls, generate: MapFunction, manifest: Manifest) -> MapFunction:
        """The manifest's generator; `generate` itself where there is no latent to draw."""
        spec: FunctionSpec = manifest.functions[GENERATE]
        z, x, prior = spec.input(Role.LATENT), spec.output(Role.DATA), manifest.latent
        if z is None or x is None or prior is None:
            return generate
        return cls(
            generate=generate,
            prior=prior,
            latent=z,
            sample=x,
            label=spec.input(Role.LABEL),
            classes=len(manifest.labels.names) if manifest.labels else 1,
            data=manifest.data if isinstance(manifest.data, ImageData) else None,
        )

    def __call__(self, inputs: Arrays) -> Arrays:
        """{samples: [n, …]} of seeded rows; what `generate` gives of other inputs."""
        if "seed" not in inputs:
            return self.generate(inputs)
        keys = list(zip(inputs["seed"].tolist(), inputs["row"].tolist(), strict=True))
        z = latent.draw_each(prior=self.prior.prior, size=self.prior.size, keys=keys)
        psi = inputs["psi"][:, np.newaxis]
        fed = {self.latent.name: (z * psi).reshape(-1, *self.latent.row_shape)}
        if self.label is not None:
            given = inputs["label"]
            drawn = latent.draw_classes(classes=self.classes, keys=keys)
            labels = np.where(given == DRAWN, drawn, given)
            fed[self.label.name] = labels.reshape(-1, *self.label.row_shape)
        samples = self.generate(fed)[self.sample.name]
        if self.data is not None:
            low, high = self.data.range
            samples = to_data_space(samples, shape=self.data.shape, low=low, high=high)
        return {SAMPLES: samples}
