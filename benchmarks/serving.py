"""How fast does it serve, against its peers? `make bench BENCH=serving`

Requests a second, latency and processor time for a small GAN and a DCGAN, at 1 and 16 images a
request, as npy and as JSON, for 1 to 256 connections at a time. Every peer is installed in an
environment of its own, gets the same ONNX file, draws its latents from the request's seed, and runs
on one core; the client, wrk, has another. The limit is the graph alone in a loop.

models ──► servers (paused but for their turn) ──cases × rounds──► trials ──► tables, JSON line

That loop is closed: so many connections, each asking again when it is answered. A last table is
open: requests that arrive at random, at so many a second. Needs Linux, two cores and wrk; the whole
takes an hour or so, and `--help` says how to run less. The first run is with `--install`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.progress import Progress

from benchmarks.harness import Contender, save, take_turns
from benchmarks.load.arrivals import arrive
from benchmarks.load.models import PLANS, Generator, generator
from benchmarks.load.servers import Server, all_running
from benchmarks.load.tables import RAW, Row, explain, print_tables, print_waits, rows_of
from benchmarks.load.trials import RAW_S, WARM_UP_S, Case, Cores, Raw, Trial
from benchmarks.load.wrk import Failed
from benchmarks.peers.environments import install
from benchmarks.peers.table import PEERS, Peer, ours

OPEN_S = 5.0  # of arrivals
OVERHEAD_S = 0.6  # of a turn: a probe, waiting until the server is quiet


def main() -> None:
    """Measure and print."""
    options = _options()
    cores = Cores(server=options.server_core, client=options.client_core)
    if not {cores.server, cores.client} <= os.sched_getaffinity(0) or cores.server == cores.client:
        sys.exit("two cores are needed: one for the server, one for the client")
    settings = dict(pair.split("=", 1) for pair in options.reverie_settings)
    peers = [*ours(**settings), *(p for p in PEERS if p.name in options.peers)]
    if options.install:
        _install(peers)
    rows: list[Row] = []
    absent: dict[str, str] = {}
    for name in options.models:
        made = generator(name)
        cases = _cases(options, made, cores)
        with all_running(peers, made, core=cores.server) as (servers, missing):
            if peers[0].name in missing:
                sys.exit(f"Reverie itself does not take part: {missing[peers[0].name]}")
            absent |= {f"{peer} ({name})": reason for peer, reason in missing.items()}
            found = _measure(servers, made, cases, cores, rounds=options.rounds)
            waits = _measure_waits(servers, made, options, cores)
        print_tables(name, [p.name for p in peers], found)
        print_waits(name, [p.name for p in peers], waits)
        rows += [*found, *waits]
    explain(peers, absent, rows)
    told = {peer.name: [peer.about, *peer.requirements] for peer in peers}
    save("serving", rows, peers=told, absent=absent, rounds=options.rounds)


def _measure(
    servers: Sequence[Server],
    made: Generator,
    cases: Mapping[Case, float],
    cores: Cores,
    *,
    rounds: int,
) -> list[Row]:
    """A row for each case and contender, all contenders in turn within each round."""
    rows: list[Row] = []
    _say(f"{made.name}: {math.ceil(_estimate_s(cases, len(servers), rounds) / 60)} minutes or so")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(made.name, total=len(cases) * (len(servers) + 1) * (rounds + 1))

        def counted(name: str, case: Case, contender: Contender) -> Contender:
            def run() -> float:
                progress.update(task, advance=1, description=f"{made.name} {case} {name}")
                return contender()

            return run

        for case, seconds in cases.items():
            trials = {s.peer.name: Trial(s, case, cores, seconds) for s in servers}
            contenders: dict[str, Contender] = {**trials, RAW: Raw(made, case.n, cores)}
            turns = {name: counted(name, case, run) for name, run in contenders.items()}
            rates = take_turns(turns, rounds=rounds)
            rows += rows_of(made.name, case, trials, rates)
    return rows


def _measure_waits(
    servers: Sequence[Server], made: Generator, options: argparse.Namespace, cores: Cores
) -> list[Row]:
    """A row for each rate of arrivals and contender; one image a request, as npy."""
    limit = Raw(made, 1, cores)()
    rows: list[Row] = []
    for rate in options.arrivals:
        if 2 * rate > limit:
            _say(f"{made.name}: {rate} arrivals a second are left out: the graph does {limit:.0f}")
            continue
        for server in servers:
            row: Row = {"model": made.name, "arrivals": rate, "contender": server.peer.name}
            try:
                with server.turn():
                    ask = server.request(1, "npy")
                    found = arrive(server.port, ask, rate=rate, seconds=OPEN_S, core=cores.client)
                rows.append(row | asdict(found))
            except Failed as error:
                rows.append(row | {"trouble": str(error)})
    return rows


def _cases(options: argparse.Namespace, made: Generator, cores: Cores) -> dict[Case, float]:
    """Every case, and how long a turn it needs: twice as many answers as connections, if it may.

    What would need more than `--longest` even without a server is left out, and said to be.
    """
    cases: dict[Case, float] = {}
    for n in options.n:
        limit = Raw(made, n, cores)()
        for form in options.formats:
            for connections in options.concurrency:
                case = Case(n, form, connections)
                needed = max(options.seconds, math.ceil(2 * connections / limit))
                if connections / limit > options.longest:
                    _say(
                        f"{made.name} {case} is left out: {connections} answers take "
                        f"{connections / limit:.0f} s at least; see --longest"
                    )
                else:
                    cases[case] = min(needed, options.longest)
    return cases


def _estimate_s(cases: Mapping[Case, float], servers: int, rounds: int) -> float:
    turns = [WARM_UP_S + rounds * s + (rounds + 1) * OVERHEAD_S for s in cases.values()]
    return servers * sum(turns) + RAW_S * (rounds + 1) * len(cases)


def _install(peers: Sequence[Peer]) -> None:
    for peer in peers:
        try:
            install(peer)
        except RuntimeError as error:
            _say(f"{peer.name}: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [peer.name for peer in PEERS]
    add("--peers", nargs="*", default=names, choices=names, metavar="PEER",
        help=f"beside Reverie, which always takes part: {', '.join(names)} (all)")  # fmt: skip
    add("--models", nargs="+", default=list(PLANS), choices=list(PLANS))
    add("--n", type=int, nargs="+", default=[1, 16], help="images a request (1 16)")
    add("--formats", nargs="+", default=["npy", "json"], choices=["npy", "json"])
    add("--concurrency", type=int, nargs="+", default=[1, 8, 64, 256], help="(1 8 64 256)")
    add("--arrivals", type=int, nargs="*", default=[50, 200], metavar="RATE",
        help="of the open loop, requests a second (50 200)")  # fmt: skip
    add("--rounds", type=int, default=3, help="interleaved rounds, after one that warms up (3)")
    add("--seconds", type=int, default=2, help="of a turn (2); longer where answers are few")
    add("--longest", type=int, default=6, help="seconds of a turn, where answers are few (6)")
    add("--install", action="store_true", help="make what environments are missing (pip)")
    add("--reverie-settings", nargs="+", default=[], metavar="KEY=VALUE",
        help="settings of Reverie, such as batch_rows=64")  # fmt: skip
    add("--server-core", type=int, default=0, help="(0)")
    add("--client-core", type=int, default=1, help="(1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
