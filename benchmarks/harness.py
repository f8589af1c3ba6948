"""What every benchmark needs: interleaved rounds, one table, and a JSON line with the machine.

contenders ──rounds in turn──► medians, paired ratios ──► table, benchmarks/results/<name>.jsonl

Machines are noisy, so contenders take turns within each round and are compared by the median of
their ratios to the first within the same round, never by absolute times of different runs.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")
VERSIONS = ("numpy", "onnxruntime", "onnxruntime-gpu", "torch")  # as far as they are there
_WIDEST = 1000  # columns of text

Contender = Callable[[], float]  # does the work once; returns units of work a second


def take_turns(contenders: Mapping[str, Contender], *, rounds: int) -> dict[str, list[float]]:
    """Rates of each contender, round by round; the first round warms up and is dropped."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(rounds + 1):
        for name, run in contenders.items():
            rate = run()
            if k:
                rates[name].append(rate)
    return rates


def paired_ratio(rates: list[float], to: list[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(rates, to, strict=True))


def timed(work: Callable[[], object], units: float) -> Contender:
    """A contender that does `units` of work in one call."""

    def run() -> float:
        began = time.perf_counter()
        work()
        return units / (time.perf_counter() - began)

    return run


def report(name: str, question: str, rows: list[dict[str, object]]) -> None:
    """Print one table, and append one JSON line."""
    show(question, rows)
    save(name, rows)


def show(title: str, rows: list[dict[str, object]]) -> None:
    """Print one table, as wide as it needs to be."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(*(f"{v:,.2f}" if isinstance(v, float) else str(v) for v in row.values()))
    console = Console(file=sys.stdout)
    needed = Console(width=_WIDEST).measure(table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def save(name: str, rows: list[dict[str, object]], **about: object) -> None:
    """Append one JSON line; `about` is what else there is to know of the run."""
    line = {
        "benchmark": name,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "machine": {"processor": _processor(), "python": platform.python_version()},
        "versions": dict(_versions()),
        **about,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _versions() -> Iterator[tuple[str, str]]:
    for package in VERSIONS:
        with suppress(PackageNotFoundError):
            yield package, version(package)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()
