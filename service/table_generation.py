"""Seeded sampling of tables: rows by (seed, row), with the cells that are known of each.

{seed, row, psi, cells, known, full} ──► z ~ prior ──► generate ──► decode ──► {samples}
                                                 known cells as they were given ──┘

A sample knows nothing of a row; a label or a condition is one known cell; filling in missing cells
knows all the others: one function does all three. Other inputs go to `generate` as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from service.contract import Latent, Manifest, Role, TableData
from service.domain import latent
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole, feed
from service.domain.rows import Cells, TableCodec
from service.generation import GENERATE, SAMPLES
from service.invariance import MapFunction


def seeded_cells(
    *,
    seed: int,
    rows: list[int],
    psi: float,
    cells: Cells,
    known: Bool[np.ndarray, "rows columns"],
    full: bool = False,
) -> Arrays:
    """What asks a generator of rows for these rows of this seed, given the cells that are known.

    Where they are to be `full`, what is drawn is never null.
    """
    return {
        "seed": np.full(len(rows), seed, np.uint64),
        "row": np.array(rows, np.uint64),
        "psi": np.full(len(rows), psi, np.float32),
        "cells": cells,
        "known": known,
        "full": np.full(len(rows), full, np.bool_),
    }


def row_inputs(
    codec: TableCodec,
    z: Float32[np.ndarray, "n z"],
    cells: Cells,
    known: Bool[np.ndarray, "n columns"],
) -> ByRole:
    """What `generate` of a table is fed, by role."""
    return {
        Role.LATENT: z,
        Role.CLAMP_VALUES: codec.encode(cells, known),
        Role.CLAMP_MASK: known.astype(np.float32),
    }


@dataclass(frozen=True)
class SeededTable:
    """A `generate` of rows that also takes `seeded_cells`, and then gives {samples}: cells."""

    generate: MapFunction
    manifest: Manifest
    prior: Latent
    codec: TableCodec

    @classmethod
    def of(cls, generate: MapFunction, manifest: Manifest) -> SeededTable:
        """The generator of a model of tables."""
        assert isinstance(manifest.data, TableData), "rows are of a table"
        assert manifest.latent is not None, "the contract checks the latent prior"
        return cls(generate, manifest, manifest.latent, TableCodec(manifest.data))

    def __call__(self, inputs: Arrays) -> Arrays:
        """{samples: cells [n, columns]} of seeded rows; what `generate` gives of other inputs."""
        if "seed" not in inputs:
            return self.generate(inputs)
        keys = list(zip(inputs["seed"].tolist(), inputs["row"].tolist(), strict=True))
        z = latent.draw_each(prior=self.prior.prior, size=self.prior.size, keys=keys)
        z = (z * inputs["psi"][:, np.newaxis]).astype(np.float32)
        cells, known = inputs["cells"], inputs["known"]
        spec = self.manifest.functions[GENERATE]
        outputs = self.generate(feed(spec, row_inputs(self.codec, z, cells, known)))
        written = spec.output(Role.DATA)
        assert written is not None, "a generator gives data"
        decoded = self.codec.decode(outputs[written.name], full=inputs["full"])
        return {SAMPLES: np.where(known, cells, decoded)}
