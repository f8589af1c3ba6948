"""What of a real row the generator is shown: nothing, one choice, or a random part.

training rows ──Conditions.draw──► Known (rows, mask)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from training.tabular.networks import RowShape


@dataclass(frozen=True)
class Known:
    """Encoded real rows [n, width], and which of their columns the generator sees [n, columns]."""

    rows: Float[Tensor, "n width"]
    mask: Float[Tensor, "n columns"]


@dataclass(frozen=True)
class Choice:
    """One column that is a choice alone: its rows sorted by entry, and how often each is drawn.

    Attributes:
        column: its place in the table.
        order: rows, those of the first entry first.
        first, count: where each entry's rows begin in `order`, and how many they are.
        cumulative: of the entries' probabilities, which go by the logarithm of their frequency.
    """

    column: int
    order: Int[Tensor, " n"]
    first: Int[Tensor, " k"]
    count: Int[Tensor, " k"]
    cumulative: Float[Tensor, " k"]


class Conditions:
    """Draws real rows, and what is known of each."""

    def __init__(
        self,
        rows: Float[Tensor, "n width"],
        shape: RowShape,
        *,
        one_known: float,
        some_known: float,
    ) -> None:
        """Sort the rows once; `one_known` and `some_known` are shares of what is drawn."""
        self._rows, self._shape = rows, shape
        self._choices = _choices(rows.cpu(), shape)
        self._one = one_known if self._choices else 0.0
        self._some = some_known

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._rows.device

    def draw(self, n: int, generator: torch.Generator) -> Known:
        """`n` rows: first those with one choice known, then those with a part, then the others."""
        one, some = round(n * self._one), round(n * self._some)
        at = torch.randint(len(self._rows), (n,), generator=generator)
        mask = torch.zeros(n, self._shape.columns)
        kept = torch.rand(some, 1, generator=generator)
        mask[one : one + some] = (
            torch.rand(some, self._shape.columns, generator=generator) < kept
        ).float()
        if one:
            at[:one], columns = self._by_frequency(one, generator)
            mask[torch.arange(one), columns] = 1.0
        # Packs hold rows of every kind.
        mixed = torch.randperm(n, generator=generator)
        device = self._rows.device
        return Known(self._rows[at[mixed].to(device)], mask[mixed].to(device))

    def _by_frequency(
        self, n: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """(rows, the column of each that is known): any column, an entry by log frequency."""
        rows = torch.empty(n, dtype=torch.long)
        columns = torch.empty(n, dtype=torch.long)
        which = torch.randint(len(self._choices), (n,), generator=generator)
        where = torch.rand(n, 2, generator=generator)
        for k, choice in enumerate(self._choices):
            mine = which == k
            entry = torch.searchsorted(choice.cumulative, where[mine, 0]).clamp(
                max=len(choice.count) - 1
            )
            offset = (where[mine, 1] * choice.count[entry]).long()
            rows[mine] = choice.order[choice.first[entry] + offset]
            columns[mine] = choice.column
        return rows, columns


def _choices(rows: Float[Tensor, "n width"], shape: RowShape) -> tuple[Choice, ...]:
    """The columns that are a choice alone, of entries that training rows have."""
    found = []
    for column, ((start, end), width) in enumerate(zip(shape.choices, shape.widths, strict=True)):
        if end - start < width:
            continue
        entries = rows[:, start:end].argmax(1).numpy()
        counts = np.bincount(entries, minlength=end - start)
        there = np.flatnonzero(counts)
        order = np.argsort(entries, kind="stable")
        firsts = (np.cumsum(counts) - counts)[there]
        logs = np.log(counts[there] + 1.0)
        found.append(
            Choice(
                column=column,
                order=torch.from_numpy(order),
                first=torch.from_numpy(firsts),
                count=torch.from_numpy(counts[there]),
                cumulative=torch.from_numpy(np.cumsum(logs / logs.sum())).float(),
            )
        )
    return tuple(found)
