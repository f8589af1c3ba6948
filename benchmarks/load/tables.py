"""What was measured, as rows for the JSON line and as tables for the eye.

trials, rates ──rows_of──► a row for each case and contender ──► a table for each question
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from benchmarks.harness import paired_ratio, show
from benchmarks.load.trials import Case, Trial
from benchmarks.peers.table import Peer

RAW = "raw"
Row = dict[str, object]


def rows_of(
    model: str, case: Case, trials: Mapping[str, Trial], rates: Mapping[str, list[float]]
) -> list[Row]:
    """What a case gave, contender by contender; ratios are those within rounds."""
    rows: list[Row] = []
    first = next(iter(rates))
    for name, found in rates.items():
        trial = trials.get(name)
        figures = trial.figures() if trial else None
        row: Row = {"model": model, **asdict(case), "contender": name}
        if figures is not None:
            row |= {k: v for k, v in asdict(figures).items() if not math.isnan(v)}
        elif trial is None:
            row["rate"] = statistics.median(found)
        else:
            row["trouble"] = trial.trouble
        if "rate" in row:
            row["samples"] = case.n * statistics.median(found)
            row["rounds"] = found
            if not any(math.isnan(rate) for rate in rates[first]):
                row["first_to_it"] = paired_ratio(rates[first], found)
        rows.append(row)
    return rows


def print_tables(model: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    """Throughput, ratios, latency and processor time: one table each, a line for each case."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(_case_of(row), {})[str(row["contender"])] = row
    if not by_case:
        print(f"{model}: no case to measure")
        return
    everyone = [*names, RAW]
    tables: list[tuple[str, list[str], Callable[[Row], str]]] = [
        ("requests a second (× n: samples)", everyone, lambda row: _text(row, "rate", ",.0f")),
        (f"{names[0]} ÷ each", everyone[1:], lambda row: _text(row, "first_to_it", ".2f")),
        ("latency, p50 / p95 / p99 ms", everyone[:-1], _latencies),
        ("processor time, ms a request", everyone[:-1], lambda row: _text(row, "cpu_ms", ".3f")),
    ]
    for title, columns, cell in tables:
        lines: list[Row] = [
            {"case": case, **{name: cell(found.get(name, {})) for name in columns}}
            for case, found in by_case.items()
        ]
        show(f"\n{model}: {title}", lines)


def _latencies(row: Row) -> str:
    return " / ".join(_text(row, f"p{p}_ms", ",.3g") for p in (50, 95, 99))


def _text(row: Row, key: str, form: str) -> str:
    value = row.get(key)
    return format(value, form) if isinstance(value, float) else "—"


def print_waits(model: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    """The open loop: latency from when a request was due."""
    lines: dict[str, Row] = {}
    for row in rows:
        line = lines.setdefault(_case_of(row), {"case": _case_of(row), **dict.fromkeys(names, "—")})
        line[str(row["contender"])] = _latencies(row)
    if lines:
        show(f"\n{model}: open loop, n=1 npy, p50 / p95 / p99 ms", list(lines.values()))


def explain(peers: Sequence[Peer], absent: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Who was who, and why a dash is a dash."""
    print()
    for peer in peers:
        print(f"{peer.name}: {peer.about}")
    print("raw: the graph alone, in a loop at batch n, one thread, latents drawn before")
    for name, reason in absent.items():
        print(f"— {name}: {reason}")
    for row in rows:
        if row.get("trouble"):
            print(f"— {row['contender']} at {row['model']} {_case_of(row)}: {row['trouble']}")


def _case_of(row: Row) -> str:
    if "arrivals" in row:
        return f"{row['arrivals']} a second"
    return f"n={row['n']} {row['form']} ×{row['connections']}"
