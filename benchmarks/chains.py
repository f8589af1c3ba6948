"""How many row-sweeps a second, against batch size? `make bench BENCH=chains`

A restricted machine of 784-500 units and a deep one of 784-500-1000, untrained, on one core: one
request to the service (a process of its own, over loopback), through its scheduler, the exported
graph with its noise in a loop, numpy, torch and torch.compile in float32; and two rooflines: the
float32 products of a sweep, which a float sweep cannot pass, and the exported graph without noise.

    python -m benchmarks.chains --rounds 1 --rows 1 16 --work 500 --without service compiled
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import torch

from benchmarks.chaining.machines import Machine, Sweep, untrained
from benchmarks.chaining.ours import (
    graph_alone,
    in_a_loop,
    through_the_scheduler,
    through_the_service,
)
from benchmarks.chaining.peers import Run, arithmetic, compiles, in_numpy, in_torch
from benchmarks.harness import paired_ratio, save, show, take_turns, timed

MACHINES = ((784, 500), (784, 500, 1000))
ROW_SWEEPS = 6000  # of work a measurement
LEAST_SWEEPS = 500  # the published models ask for 1,000 before a sample
SHARES = (
    ("service", "loop"),
    ("scheduler", "loop"),
    ("loop", "graph"),
    ("scheduler", "sgemm"),
    ("service", "sgemm"),
    ("numpy", "sgemm"),
    ("torch", "sgemm"),
    ("compiled", "sgemm"),
)


def contenders(machine: Machine, stack: ExitStack, without: set[str]) -> dict[str, Run]:
    """Every way to run the machine's chains, by name, but those left out."""
    sweep = Sweep(machine)
    found: dict[str, Run] = {
        "sgemm": arithmetic(machine),
        "graph": graph_alone(sweep),
        "loop": in_a_loop(sweep),
        "scheduler": through_the_scheduler(sweep),
    }
    if "service" not in without:
        found["service"] = stack.enter_context(through_the_service(machine))
    found["numpy"] = in_numpy(machine)
    found["torch"] = in_torch(machine)
    if "compiled" not in without:
        reason = compiles(machine)
        if reason:
            print(f"torch.compile does not work here: {reason}")
        else:
            found["compiled"] = in_torch(machine, compiled=True)
    return {name: run for name, run in found.items() if name not in without}


def measured(runs: Mapping[str, Run], n: int, *, rounds: int, work: int) -> dict[str, object]:
    """One row of the table: rates in the median, and shares as the median of paired ratios."""
    sweeps = max(work // n, LEAST_SWEEPS)
    rates = take_turns(
        {name: timed(partial(run, n, sweeps), n * sweeps) for name, run in runs.items()},
        rounds=rounds,
    )
    row: dict[str, object] = {"case": f"{n} rows"}
    for name, found in rates.items():
        row[f"{name}/s"] = round(sorted(found)[len(found) // 2])
    for name, to in SHARES:
        if name in rates and to in rates:
            row[f"{name} ÷ {to}"] = paired_ratio(rates[name], rates[to])
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--work", type=int, default=ROW_SWEEPS, help="row-sweeps a measurement")
    parser.add_argument("--without", nargs="*", default=[], help="columns to leave out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for sizes in MACHINES:
        machine = untrained(*sizes)
        with ExitStack() as stack:
            runs = contenders(machine, stack, set(given.without))
            rows = [measured(runs, n, rounds=given.rounds, work=given.work) for n in given.rows]
        show(f"Row-sweeps a second, {machine.name}, one core", rows)
        save("chains", rows, machine_of_units=machine.name)


if __name__ == "__main__":
    main()
