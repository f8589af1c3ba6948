"""Results of the benchmarks as tables: for a terminal, for a file, for docs/quality.md.

results.json ──► Grid (head, rows of text) ──► rich table | Markdown
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from training.benchmarks.normality import OUTSIDE_THE_PROTOCOL as OUTSIDE

NAMES: Mapping[str, str] = {
    "free_energy": "F",
    "free_energy_minus_ink": "F − ink",
    "free_energy_minus_pixels": "F − rates",
    "free_energy_minus_turned": "F − turned",
    "reconstruction_error": "rebuilt",
    OUTSIDE: "(F − all)",
    "isolation_forest": "forest",
    "izi_f": "izi_f",
}
KINDS: Mapping[str, str] = {"knn": "kNN", "pca": "PCA"}
ITSELF = "the image itself"
HOLE_COLUMNS: Mapping[str, str] = {
    "cross_entropy": "cross-entropy",
    "mse": "MSE",
    "mse_of_mean": "MSE of the mean",
    "diversity": "diversity",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "class_kept": "digit kept",
    "cpu_ms": "CPU ms",
}


@dataclass(frozen=True)
class Grid:
    """A table of text: what is best in its row or group is between `**`."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As Markdown, without its title."""
        lines = [self.head, ("---", *(["---:"] * (len(self.head) - 1))), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def for_terminal(self) -> Table:
        """As a rich table."""
        table = Table(title=self.title, title_justify="left")
        for i, column in enumerate(self.head):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*(_bold_in_rich(cell) for cell in row))
        return table


def auroc_grid(results: Mapping[str, Any]) -> Grid:
    """AUROC of each class as the normal one, on the test images, and the mean."""
    digits, methods = results["digits"], _shown(results)
    rows = []
    for digit, families in digits.items():
        values = [families[family][method]["auroc"] for family, method in methods]
        rows.append((digit, *_best(values, methods)))
    means = [_mean(digits, family, method, "auroc") for family, method in methods]
    rows.append(("mean", *_best(means, methods)))
    head = ("normal", *(_name(method) for _, method in methods))
    return Grid(title="AUROC on the test images, by normal class", head=head, rows=tuple(rows))


def methods_grid(results: Mapping[str, Any]) -> Grid:
    """Every method: how it was chosen, and how honest its p-values are."""
    digits = results["digits"]
    first = next(iter(digits.values()))
    rows = []
    for family, methods in first.items():
        for method in methods:
            shares = [families[family][method]["share"] for families in digits.values()]
            chosen = method == results["chosen"][family] and len(methods) > 1
            rows.append(
                (
                    _name(method) + (" (chosen)" if chosen else ""),
                    f"{_mean(digits, family, method, 'held_out_auroc'):.4f}",
                    f"{_mean(digits, family, method, 'auroc'):.4f}",
                    f"{sum(shares) / len(shares):.3f}",
                    f"{min(shares):.3f} … {max(shares):.3f}",
                )
            )
    alpha = results["config"]["alpha"]
    head = ("score", "mean AUROC, held out", "mean AUROC, test", f"p ≤ {alpha}", "by digit")
    return Grid(title="Scores and their p-values", head=head, rows=tuple(rows))


def inpainting_grids(results: Mapping[str, Any]) -> list[Grid]:
    """A table a mask: every filler, the best figures marked."""
    grids = []
    for mask, fillers in results["masks"].items():
        contest = {name: figures for name, figures in fillers.items() if name != ITSELF}
        rows = [
            (name, *(_hole_cell(column, figures, contest) for column in HOLE_COLUMNS))
            for name, figures in contest.items()
        ]
        floor = (ITSELF, *(_hole_cell(column, fillers[ITSELF], {}) for column in HOLE_COLUMNS))
        head = ("filled by", *HOLE_COLUMNS.values())
        grids.append(Grid(title=mask, head=head, rows=(*rows, floor)))
    return grids


def _hole_cell(
    column: str, figures: Mapping[str, float | None], contest: Mapping[str, Mapping[str, Any]]
) -> str:
    value = figures.get(column)
    if value is None:
        return ""
    text = _written(column, value)
    if column in {"diversity", "cpu_ms"} or not contest:
        return text  # neither is a contest
    rivals = [f[column] for f in contest.values() if f.get(column) is not None]
    best = max(rivals) if column in {"psnr", "ssim", "class_kept"} else min(rivals)
    return f"**{text}**" if text == _written(column, best) else text


def _written(column: str, value: float) -> str:
    return f"{value:.1%}" if column == "class_kept" else f"{value:.3g}"


def _shown(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(family, method) of the columns: every score of the machines, else the chosen one."""
    first = next(iter(results["digits"].values()))
    inside = [("RBM", method) for method in first.get("RBM", {}) if method != OUTSIDE]
    others = [(f, method) for f, method in results["chosen"].items() if f != "RBM"]
    outside = [("RBM", OUTSIDE)] if OUTSIDE in first.get("RBM", {}) else []
    return [*inside, *others, *outside]


def _best(values: Sequence[float], methods: Sequence[tuple[str, str]]) -> list[str]:
    """Three digits each, the best among those inside the protocol between `**`."""
    texts = [f"{v:.3f}" for v in values]
    inside = [method != OUTSIDE for _, method in methods]
    best = max(text for text, counts in zip(texts, inside, strict=True) if counts)
    return [
        f"**{text}**" if text == best and counts else text
        for text, counts in zip(texts, inside, strict=True)
    ]


def _mean(digits: Mapping[str, Any], family: str, method: str, key: str) -> float:
    values = [families[family][method][key] for families in digits.values()]
    return float(sum(values) / len(values))


def _name(method: str) -> str:
    if method in NAMES:
        return NAMES[method]
    own, _, background = method.partition("_minus_")
    kind, _, size = own.partition("_")
    name = f"{KINDS.get(kind, kind)}-{size}" if size else kind
    return f"{name} − {background}" if background else name


def _bold_in_rich(cell: str) -> str:
    inner = cell.removeprefix("**").removesuffix("**")
    return f"[bold]{inner}[/bold]" if inner != cell else cell
