"""How fast does a restricted machine learn, against its peers? `make bench BENCH=training`

Epochs a second of a 784-500 machine by PCD-1 and CD-1, batches and chains of 100, float32, one
thread; an epoch is 60,000 binary rows. Beside it scikit-learn's BernoulliRBM and `rbms` (DsysDML,
PyPI), which do the same work: the statistics of the batch, one sweep of 100 chains, their
statistics, one step. The limit is the five matrix products that no PCD-1 can do without, alone in a
loop: v W and vᵀh of the data, h Wᵀ, v W and vᵀh of the chains.

The first run is with `--install`, which puts `rbms` into benchmarks/.envs/rbms; it runs in a
process of its own, on the same torch. `--rows` says how much work a measurement is.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

from benchmarks.harness import Contender, paired_ratio, report, take_turns, timed
from training.rbm import initialise
from training.rbm_chains import ChainKind, Precision
from training.rbm_learning import LearnerState, LearningRule, update

VISIBLE, HIDDEN, BATCH, EPOCH = 784, 500, 100, 60_000
INK = 0.13  # the share of ones, as MNIST has it
RATE = 0.01
PEER = "rbms==0.5.0"
PEER_NEEDS = (PEER, "h5py>=3.12", "tqdm>=4.65")  # torch and numpy are ours
PEER_FOLDER = Path(__file__).with_name(".envs") / "rbms"
PEER_S = 600.0  # a measurement of it, at most


def rows_of_ink(rows: int) -> Tensor:
    """Binary rows; what they show does not matter to the time."""
    draw = torch.Generator().manual_seed(0)
    return (torch.rand(rows, VISIBLE, generator=draw) < INK).float()


class Ours:
    """The project's own update, batch after batch."""

    def __init__(self, data: Tensor, chains: ChainKind, precision: Precision = "float32") -> None:
        self._batches = torch.split(data, BATCH)
        self._generator = torch.Generator().manual_seed(1)
        mean = data.mean(0)
        rbm = initialise(mean, hidden=HIDDEN, scale=0.01, generator=self._generator)
        self._state = LearnerState.begin(rbm, chains=BATCH, visible_mean=mean)
        self._rule = LearningRule(sweeps=1, chains=chains, chain_precision=precision)

    def learn(self) -> None:
        """Every batch once."""
        for v in self._batches:
            update(self._state, v, rule=self._rule, learning_rate=RATE, generator=self._generator)


class Scikit:
    """scikit-learn's PCD-1; its data are float32, and so is all that it computes."""

    def __init__(self, data: Tensor) -> None:
        self._batches = [v.numpy() for v in torch.split(data, BATCH)]
        self._peer = BernoulliRBM(
            n_components=HIDDEN, learning_rate=RATE, batch_size=BATCH, random_state=0
        )

    def learn(self) -> None:
        """Every batch once."""
        for v in self._batches:
            self._peer.partial_fit(v)


class Limit:
    """The five products of an update, and nothing else."""

    def __init__(self, data: Tensor) -> None:
        self._v, self._updates = data[:BATCH], len(data) // BATCH
        self._W = torch.randn(VISIBLE, HIDDEN)
        self._h, self._down = torch.rand(BATCH, HIDDEN), torch.empty(BATCH, VISIBLE)
        self._outer = torch.empty(VISIBLE, HIDDEN)

    def learn(self) -> None:
        """As many updates as the others."""
        for _ in range(self._updates):
            for _phase in range(2):
                torch.mm(self._v, self._W, out=self._h)
                torch.mm(self._v.T, self._h, out=self._outer)
            torch.mm(self._h, self._W.T, out=self._down)


def peer_process(rows: int) -> Contender:
    """`rbms` in a process that finds it; the process times itself, and so not its own start."""

    def run() -> float:
        command = [sys.executable, "-m", "benchmarks.training", "--as-peer", "--rows", str(rows)]
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(PEER_FOLDER)},
            capture_output=True,
            text=True,
            check=True,
            timeout=PEER_S,
        )
        return rows / EPOCH / float(done.stdout.split()[-1])

    return run


def seconds_of_the_peer(rows: int) -> float:
    """One pass of `rbms` over the rows, after one that warms up."""
    # Its process alone has it.
    BBRBM = importlib.import_module("rbms.bernoulli_bernoulli.classes").BBRBM
    fit_batch_pcd = importlib.import_module("rbms.training.pcd").fit_batch_pcd
    torch.set_num_threads(1)
    data = rows_of_ink(rows)
    machine = BBRBM(
        weight_matrix=0.01 * torch.randn(VISIBLE, HIDDEN),
        vbias=torch.zeros(VISIBLE),
        hbias=torch.zeros(HIDDEN),
    )
    for parameter in machine.parameters():
        parameter.grad = torch.zeros_like(parameter)
    chains = machine.init_chains(BATCH)
    optimiser = torch.optim.SGD(machine.parameters(), lr=RATE, maximize=True)
    weights = torch.ones(BATCH, 1)

    def learn(batches: Sequence[Tensor]) -> None:
        nonlocal chains
        for v in batches:
            optimiser.zero_grad(set_to_none=False)
            chains, _ = fit_batch_pcd(
                (v, weights), chains, machine, gibbs_steps=1, beta=1.0, centered=True
            )
            optimiser.step()

    batches = torch.split(data, BATCH)
    with torch.no_grad():
        learn(batches[:3])
        began = time.perf_counter()
        learn(batches)
    return time.perf_counter() - began


def install_peer() -> None:
    """`rbms` and what it imports, into a folder of its own; torch stays ours."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PEER_FOLDER)]
    subprocess.run([*pip, *PEER_NEEDS], check=True)


def measured(rows: int, rounds: int) -> list[dict[str, object]]:
    """The table: every contender in turn."""
    data = rows_of_ink(rows)
    share = rows / EPOCH
    work = {
        "PCD-1": Ours(data, "persistent").learn,
        "PCD-1, bfloat16 chains": Ours(data, "persistent", "bfloat16").learn,
        "CD-1": Ours(data, "data").learn,
        "scikit-learn BernoulliRBM (PCD-1)": Scikit(data).learn,
        "limit: five sgemm an update": Limit(data).learn,
    }
    contenders: dict[str, Contender] = {name: timed(do, share) for name, do in work.items()}
    present = (PEER_FOLDER / "rbms").is_dir()
    peer = f"{PEER.replace('==', ' ')} (PCD-1)"
    if present:
        contenders[peer] = peer_process(rows)
    rates = take_turns(contenders, rounds=rounds)
    first, limit = rates["PCD-1"], rates["limit: five sgemm an update"]
    table: list[dict[str, object]] = [
        {
            "case": name,
            "epochs a second": sorted(found)[len(found) // 2],
            "PCD-1 is … × it": paired_ratio(first, found),
            "% of the limit": 100 * paired_ratio(found, limit),
        }
        for name, found in rates.items()
    ]
    if not present:
        table.append({"case": f"{peer}: not installed, run with --install",
                      "epochs a second": "—", "PCD-1 is … × it": "—",
                      "% of the limit": "—"})  # fmt: skip
    return table


def main() -> None:
    """Measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000, help="of a measurement; 60,000 an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--install", action="store_true", help=f"install {PEER} first")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    torch.set_num_threads(1)
    if words.as_peer:
        print(seconds_of_the_peer(words.rows))
        return
    if words.install:
        install_peer()
    question = "Epochs a second of a 784-500 machine, one thread, batches of 100"
    report("training", question, measured(words.rows, words.rounds))


if __name__ == "__main__":
    main()
