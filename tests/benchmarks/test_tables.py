"""What is made of the rounds of a case."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.load.tables import explain, print_tables, rows_of
from benchmarks.load.trials import Case, Cores, Trial
from benchmarks.load.wrk import Answers
from benchmarks.peers.table import PEERS

CASE = Case(n=16, form="npy", connections=8)
PEER = PEERS[0]


def trial(*counts: int, trouble: str | None = None) -> Trial:
    """A trial whose rounds of one second had so many answers, at 2 ms of processor time each."""
    answers = [Answers(c, 1.0, 1e4, p50_ms=c / 10, p95_ms=c / 5, p99_ms=c / 2) for c in counts]
    return Trial(
        server=cast("Any", SimpleNamespace(peer=PEER)), case=CASE, cores=Cores(0, 1), seconds=1,
        answers=answers, cpu_s=[0.002 * c for c in counts], trouble=trouble, warm=True,
    )  # fmt: skip


def test_figures_are_medians_over_rounds():
    figures = trial(100, 300, 200).figures()
    assert figures is not None
    assert figures.rate == 200
    assert (figures.p50_ms, figures.p95_ms, figures.p99_ms) == (20, 40, 100)
    assert figures.cpu_ms == pytest.approx(2)


def test_latencies_of_fewer_answers_than_connections_are_not_told():
    figures = trial(100, 7, 200).figures()
    assert figures is not None
    assert figures.rate == 100
    assert math.isnan(figures.p99_ms)


def test_rows_hold_samples_and_the_ratio_within_rounds():
    trials = {"reverie": trial(100, 300), "fastapi": trial(50, 100)}
    rates = {"reverie": [100.0, 300.0], "fastapi": [50.0, 100.0], "raw": [1000.0, 1000.0]}
    first, second, raw = rows_of("small", CASE, trials, rates)
    assert first["samples"] == 16 * 200
    assert second["first_to_it"] == 2.5
    assert raw["first_to_it"] == pytest.approx(0.2)


def test_a_dash_comes_with_its_reason(capsys):
    trials = {"reverie": trial(100), "fastapi": trial(trouble="{'bad_status': 3} among 9 answers")}
    rates = {"reverie": [100.0], "fastapi": [math.nan], "raw": [500.0]}
    rows = rows_of("small", CASE, trials, rates)
    print_tables("small", ["reverie", "fastapi"], rows)
    explain([PEER], {"ray (small)": "not installed"}, rows)
    told = capsys.readouterr().out
    assert "—" in told
    assert "fastapi at small n=16 npy ×8: {'bad_status': 3} among 9 answers" in told
    assert "ray (small): not installed" in told
