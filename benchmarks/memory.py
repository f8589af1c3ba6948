"""How much memory does a server hold that has answered 1,000 requests? `make bench BENCH=memory`

Each contender alone, on the small GAN, over eight connections; the proportional set size of all its
processes. The bound for Reverie is 80 MB.

server ──1,000 requests──► processes ──smaps──► PSS, and PSS were nobody else there
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence

from benchmarks.harness import save, show
from benchmarks.load import processes
from benchmarks.load.models import Generator, generator
from benchmarks.load.servers import Server, Unusable, running, send
from benchmarks.peers.environments import install
from benchmarks.peers.table import PEERS, Peer, ours

CONNECTIONS = 8
MB = 1e6


def main() -> None:
    """Measure and print."""
    options = _options()
    settings = dict(pair.split("=", 1) for pair in options.reverie_settings)
    peers = [*ours(**settings), *(p for p in PEERS if p.name in options.peers)]
    made = generator("small")
    rows: list[dict[str, object]] = []
    troubles: dict[str, str] = {}
    for peer in peers:
        try:
            if options.install:
                install(peer)
            rows.append(_weigh(peer, made, requests=options.requests, core=options.core))
        except RuntimeError as error:  # Unusable, or pip's
            troubles[peer.name] = str(error)
            rows.append({"case": peer.name, "processes": "—", "PSS, MB": "—", "alone, MB": "—"})
    show(f"Memory after {options.requests:,} requests, small GAN", rows)
    print("alone: what PSS would be, were no file of these processes mapped by any other")
    for name, reason in troubles.items():
        print(f"— {name}: {reason}")
    save("memory", rows, requests=options.requests, troubles=troubles)


def _weigh(peer: Peer, made: Generator, *, requests: int, core: int) -> dict[str, object]:
    """A row of the table."""
    print(f"{peer.name} …", file=sys.stderr)
    with running(peer, made, core=core) as server:
        _ask_many(server, requests)
        pids = server.processes()
        held = processes.memory(pids)
    return {
        "case": peer.name,
        "processes": len(pids),
        "PSS, MB": held.pss_bytes / MB,
        "alone, MB": held.alone_bytes / MB,
    }


def _ask_many(server: Server, requests: int) -> None:
    """Over as many connections as there are threads, each with seeds of its own.

    Raises:
        Unusable: an answer was not 200.
    """
    failures: list[Exception] = []
    threads = [
        threading.Thread(target=_ask, args=(server, range(k, requests, CONNECTIONS), failures))
        for k in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Unusable(f"a request failed: {failures[0]}")


def _ask(server: Server, seeds: Sequence[int], failures: list[Exception]) -> None:
    try:
        with server.connected() as connection:
            for seed in seeds:
                send(connection, server.request(1, "npy"), seed=seed)
    except (OSError, Unusable) as error:
        failures.append(error)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="*", default=names, choices=names, metavar="PEER",
                        help=f"beside Reverie: {', '.join(names)} (all)")  # fmt: skip
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--core", type=int, default=0, help="of the server (0)")
    parser.add_argument("--install", action="store_true", help="make missing environments (pip)")
    parser.add_argument("--reverie-settings", nargs="+", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
