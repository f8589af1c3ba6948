"""What do short requests pay for long ones beside them? `make bench BENCH=mixed`

Nine requests of ten are short (50 sweeps), one is long (4,000), each of four chains of an untrained
784-500 machine. They arrive as a Poisson process, whether or not earlier ones are answered, by one
seeded schedule for continuous batching (our scheduler) and static batching (a batch runs until its
longest row is done). A request is in time within three times what it takes in a batch as large as
may be; later than that it is given up. Load 1 is as many row-sweeps as such batches run.

    python -m benchmarks.mixed --seconds 3 --loads 0.5 --slots 16
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.chaining.machines import Sweep, untrained
from benchmarks.chaining.ours import in_a_loop, job_of, scheduler_of
from benchmarks.chaining.static import StaticScheduler
from benchmarks.harness import save, show
from service.errors import DeadlineExceeded, Overloaded
from service.queries import Call

SIZES = (784, 500)
SHORT, LONG = 50, 4000  # sweeps
LONG_SHARE = 0.1
ROWS = 4  # of a request
PATIENCE = 3.0  # times what a request takes in a full batch
TRIALS = 200  # sweeps to learn how long one takes

Submit = Callable[[int, float], Awaitable[None]]  # sweeps, seconds until the deadline


@dataclass(frozen=True)
class Arrival:
    """One request: when it comes, seconds from the start, and for how many sweeps."""

    at_s: float
    sweeps: int


@dataclass
class Seen:
    """What became of the requests of one run: seconds to the answer, infinite where none came."""

    short_s: list[float] = field(default_factory=list)
    long_s: list[float] = field(default_factory=list)
    refused: int = 0
    behind_s: float = 0.0  # how late the schedule itself was kept, at worst

    def in_time(self) -> tuple[int, int]:
        """(short, long) requests that were answered in time."""
        short, long = (sum(map(math.isfinite, s)) for s in (self.short_s, self.long_s))
        return short, long


def schedule(*, load: float, seconds: float, sweep_s: float, slots: int, seed: int
) -> list[Arrival]:  # fmt: skip
    """Poisson arrivals that ask for `load` of what full batches can run."""
    draw = random.Random(seed)
    mean = ROWS * ((1 - LONG_SHARE) * SHORT + LONG_SHARE * LONG)
    rate = load * slots / sweep_s / mean
    at, found = draw.expovariate(rate), []
    while at < seconds:
        found.append(Arrival(at, LONG if draw.random() < LONG_SHARE else SHORT))
        at += draw.expovariate(rate)
    return found


async def play(arrivals: list[Arrival], submit: Submit, *, patience_s: float) -> Seen:
    """Send each request at its time; `patience_s` is for each sweep."""
    seen = Seen()
    began = time.monotonic()

    async def ask(arrival: Arrival) -> None:
        due = began + arrival.at_s
        seen.behind_s = max(seen.behind_s, time.monotonic() - due)
        took = math.inf
        try:
            await submit(arrival.sweeps, due + arrival.sweeps * patience_s - time.monotonic())
            took = time.monotonic() - due
        except Overloaded:
            seen.refused += 1
        except (TimeoutError, DeadlineExceeded):
            pass
        (seen.short_s if arrival.sweeps == SHORT else seen.long_s).append(took)

    tasks = []
    for arrival in arrivals:
        await asyncio.sleep(began + arrival.at_s - time.monotonic())
        tasks.append(asyncio.create_task(ask(arrival)))
    await asyncio.gather(*tasks)
    return seen


async def continuous(sweep: Sweep, arrivals: list[Arrival], *, slots: int, patience_s: float
) -> Seen:  # fmt: skip
    """The schedule through our scheduler."""
    scheduler = scheduler_of(sweep, slots=slots)

    async def submit(sweeps: int, seconds: float) -> None:
        await scheduler.submit(job_of(sweep, ROWS, sweeps), Call.lasting(seconds))

    seen = await play(arrivals, submit, patience_s=patience_s)
    await scheduler.close()
    return seen


async def static(sweep: Sweep, arrivals: list[Arrival], *, slots: int, patience_s: float
) -> Seen:  # fmt: skip
    """The schedule through static batching."""
    scheduler = StaticScheduler(sweep, slots=slots)

    async def submit(sweeps: int, seconds: float) -> None:
        await scheduler.submit(ROWS, sweeps, time.monotonic() + seconds)

    seen = await play(arrivals, submit, patience_s=patience_s)
    await scheduler.close()
    return seen


def percentile(values: list[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed; NaN of none."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


def row(case: str, seen: Seen, seconds: float) -> dict[str, object]:
    """One row of the table."""
    short, long = seen.in_time()
    return {
        "case": case,
        "requests": len(seen.short_s) + len(seen.long_s),
        "in time/s": (short + long) / seconds,
        "row-sweeps in time/s": round(ROWS * (short * SHORT + long * LONG) / seconds),
        "short in time": short / max(len(seen.short_s), 1),
        "long in time": long / max(len(seen.long_s), 1),
        "refused": seen.refused,
        "short p50 ms": 1000 * percentile(seen.short_s, 0.5),
        "short p99 ms": 1000 * percentile(seen.short_s, 0.99),
        "long p50 ms": 1000 * percentile(seen.long_s, 0.5),
        "behind ms": 1000 * seen.behind_s,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of arrivals, for each row")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.25, 0.5, 0.8])
    parser.add_argument("--slots", type=int, default=64, help="rows of a batch at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sweep = Sweep(untrained(*SIZES))
    sweep_s = seconds_a_sweep(sweep, given.slots)
    rows = []
    for load in given.loads:
        arrivals = schedule(
            load=load, seconds=given.seconds, sweep_s=sweep_s, slots=given.slots, seed=given.seed
        )
        short = [a for a in arrivals if a.sweeps == SHORT]
        for case, policy, asked in (
            ("short ones alone", continuous, short),
            ("continuous", continuous, arrivals),
            ("static", static, arrivals),
        ):
            seen = asyncio.run(
                policy(sweep, asked, slots=given.slots, patience_s=PATIENCE * sweep_s)
            )
            rows.append(row(f"load {load}, {case}", seen, given.seconds))
    show(f"{ROWS} chains a request, {given.slots} slots, {sweep_s * 1e6:.0f} µs a full sweep", rows)
    save("mixed", rows, slots=given.slots, sweep_s=sweep_s, seconds=given.seconds)


def seconds_a_sweep(sweep: Sweep, rows: int) -> float:
    """Of so many rows, with their noise, in process."""
    run = in_a_loop(sweep)
    run(rows, TRIALS)
    began = time.perf_counter()
    run(rows, TRIALS)
    return (time.perf_counter() - began) / TRIALS


if __name__ == "__main__":
    main()
