"""Models of tables: rows by seed, and the missing cells of rows.

sample:   (seed, row), conditions ──► generate ──► rows
inpaint:  rows with holes, n times ──► generate, given what is known ──► rows without
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from service.contract import Role, TableData
from service.domain.randomness import draw_seed
from service.domain.rows import Cells, TableCodec
from service.errors import InvalidInput
from service.generation import GENERATE, SAMPLES
from service.operations.context import Context
from service.operations.inpainting import FILLINGS
from service.queries import Inpainted, InpaintRows, Sample, Sampled
from service.table_generation import row_inputs, seeded_cells

Known = Bool[np.ndarray, "rows columns"]


async def sample_rows(context: Context, query: Sample, *, psi: float) -> Sampled:
    """`query.n` rows: drawn by the seed, or from the latents that the query brings."""
    cells, known = _given(context, query)
    if query.latents is not None:
        z = (query.latents * np.float32(psi)).astype(np.float32)
        codec = TableCodec(context.table)
        inputs = row_inputs(codec, z, cells, known)
        written = codec.decode(await context.map_role(GENERATE, inputs, Role.DATA))
        return Sampled(np.where(known, cells, written), seed=None, table=context.table)
    seed = draw_seed() if query.seed is None else query.seed
    asked = seeded_cells(seed=seed, rows=list(range(query.n)), psi=psi, cells=cells, known=known)
    outputs = await context.model.maps[GENERATE].submit(asked, context.call)
    return Sampled(outputs[SAMPLES], seed=seed, table=context.table)


async def inpaint_rows(context: Context, query: InpaintRows) -> Inpainted:
    """`n` fillings of each row, none of them null; known cells come back as they were given."""
    context.require("inpaint")
    count, columns = query.rows.shape
    context.check_rows(count * query.n, "/n")
    _check_holes(query.known)
    seed = draw_seed() if query.seed is None else query.seed
    asked = seeded_cells(
        seed=seed,
        rows=[row * FILLINGS + filling for row in range(count) for filling in range(query.n)],
        psi=1.0,
        cells=np.repeat(query.rows, query.n, axis=0),
        known=np.repeat(query.known, query.n, axis=0),
        full=True,
    )
    outputs = await context.model.maps[GENERATE].submit(asked, context.call)
    return Inpainted(
        samples=outputs[SAMPLES].reshape(count, query.n, columns),
        seed=seed,
        hole_fraction=float(1.0 - query.known.mean()),
        table=context.table,
    )


def _given(context: Context, query: Sample) -> tuple[Cells, Known]:
    """(cells, which of them are known) of every row that is asked for."""
    table = context.table
    cells = np.full((query.n, len(table.columns)), np.nan)
    known = np.zeros(cells.shape, np.bool_)
    for column, value in query.conditions or ():
        cells[:, column], known[:, column] = value, True
    if query.labels is not None:
        column = _label_column(table)
        if known[:, column].any():
            raise InvalidInput(
                f"labels and conditions both speak of {table.label_column!r}: leave one out",
                pointer="/labels",
            )
        cells[:, column], known[:, column] = np.resize(np.array(query.labels), query.n), True
    return cells, known


def _label_column(table: TableData) -> int:
    names = [column.name for column in table.columns]
    assert table.label_column is not None, "labels were checked"
    return names.index(table.label_column)


def _check_holes(known: Known) -> None:
    for i, row in enumerate(known):
        if row.all():
            raise InvalidInput(
                "the row has no hole: write null where a value is to be filled in",
                pointer=f"/rows/{i}",
            )
        if not row.any():
            raise InvalidInput(
                "the row is nothing but holes: use sample, or give a value", pointer=f"/rows/{i}"
            )
