"""What do the chains buy, at equal row-sweeps or equal updates? `make bench BENCH=tempering`

Restricted machines on the 8×8 digits by CD-1, PCD-1, PCD-5, parallel tempering and parallel
trajectory tempering. Every training may spend as many row-sweeps on its chains (one sweep of one
row of one machine), or make as many updates, and decays its rate to 0 over them; each is run at
four rates, and the rate is chosen on held-out training images. With 16 hidden units the likelihood
is exact; with 64 it is by AIS.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.harness import report
from training.binarised import binary_rows
from training.data import Dataset, load, split_holdout
from training.exact import log_z as exact_log_z
from training.rbm import Rbm, base_rate_bias, draw, initialise
from training.rbm_ais import ais
from training.rbm_chains import ChainKind
from training.rbm_config import Phase, RbmTrainTable
from training.rbm_exchange import begin_exchange
from training.rbm_learning import LearnerState, update
from training.trajectory import Ladder

CHAINS = BATCH = 100
RATES = (3.0, 1.0, 0.3, 0.1)
HELD_OUT = 237
METHODS: dict[str, tuple[ChainKind, int]] = {
    "CD-1": ("data", 1),
    "PCD-1": ("persistent", 1),
    "PCD-5": ("persistent", 5),
    "tempering, 10 temperatures": ("tempering", 1),
    "trajectory": ("trajectory", 1),
}


@dataclass(frozen=True)
class Digits:
    """Grey rows to train on, binary ones to measure on."""

    train: Tensor
    held_out: Tensor
    test: Tensor


def digits() -> Digits:
    """The splits; the binarisation is that of every figure of the project."""
    whole = load("digits", "train")
    seen, held_out = split_holdout(whole, HELD_OUT, seed=1)

    def rows(data: Dataset) -> Tensor:
        return binary_rows(data, device=torch.device("cpu"))

    return Digits(
        train=torch.from_numpy(seen.images.reshape(len(seen), -1)),
        held_out=rows(held_out),
        test=rows(load("digits", "test")),
    )


@dataclass(frozen=True)
class Learned:
    """A finished training: the averaged machine, and what it took."""

    rbm: Rbm
    updates: int
    row_sweeps: int
    rungs: int
    seconds: float


@dataclass(frozen=True)
class Budget:
    """What every training may spend: row-sweeps of its chains, or updates."""

    row_sweeps: int
    updates: int | None

    def share(self, *, spent: int, updates: int) -> float:
        """How much of it is gone; 1 is the end."""
        return spent / self.row_sweeps if self.updates is None else updates / self.updates


def learn(data: Digits, *, hidden: int, method: str, rate: float, budget: Budget) -> Learned:
    """Train until the budget is spent; the rate falls linearly to 0."""
    kind, sweeps = METHODS[method]
    train = RbmTrainTable(
        phases=(Phase(epochs=1, batch=BATCH, chains=CHAINS, sweeps=sweeps),),
        chains=kind,
        temperatures=10,
        ema_decay=0.99,
        weight_decay=1e-4,
    )
    rule = train.rule(train.phases[0])
    generator = torch.Generator().manual_seed(1)
    mean = data.train.mean(0)
    rbm = initialise(mean, hidden=hidden, scale=0.01, generator=generator)
    state = LearnerState.begin(rbm, chains=CHAINS, visible_mean=mean)
    helpers = begin_exchange(train, state, visible_mean=mean)
    began, spent, updates, rungs = time.process_time(), 0, 0, 1
    while (done := budget.share(spent=spent, updates=updates)) < 1:
        rows = torch.randint(len(data.train), (BATCH,), generator=generator)
        v = draw(data.train[rows], generator)
        now = rate * (1 - done)
        update(state, v, rule=rule, learning_rate=now, generator=generator, exchange=helpers)
        rungs = 1 if helpers is None else len(helpers.replicas.h) + 1
        spent += CHAINS * rule.sweeps * rungs
        updates += 1
    if isinstance(helpers, Ladder):
        rungs = helpers.frozen + 1
    return Learned(state.averaged.copy(), updates, spent, rungs, time.process_time() - began)


def log_z(rbm: Rbm, data: Digits) -> float:
    """Exact where the hidden layer can be enumerated, else by AIS."""
    if len(rbm.c) <= 16:
        return exact_log_z(rbm)
    generator = torch.Generator().manual_seed(1)
    base = base_rate_bias(data.train.mean(0))
    return ais(rbm, base_bias=base, runs=500, betas=2000, generator=generator).value


def measured(data: Digits, *, hidden: int, method: str, budget: Budget) -> dict[str, object]:
    """The best of the rates by held-out images, and its figures."""
    best: tuple[float, float, Learned, float] | None = None
    for rate in RATES:
        learned = learn(data, hidden=hidden, method=method, rate=rate, budget=budget)
        z = log_z(learned.rbm, data)
        held_out = -float(learned.rbm.free_energy(data.held_out).double().mean()) - z
        if best is None or held_out > best[0]:
            best = (held_out, rate, learned, z)
    assert best is not None
    held_out, rate, learned, z = best
    test = -float(learned.rbm.free_energy(data.test).double().mean()) - z
    return {
        "case": f"64-{hidden} {method}",
        "rate": rate,
        "updates": learned.updates,
        "row-sweeps": learned.row_sweeps,
        "rungs": learned.rungs,
        "CPU s": learned.seconds,
        "held-out nats": held_out,
        "test nats": test,
        "log Z": "exact" if hidden <= 16 else "AIS",
    }


def main() -> None:
    """Measure, print, append."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row-sweeps", type=int, default=200_000, help="of every training")
    parser.add_argument("--updates", type=int, help="of every training, instead")
    parser.add_argument("--hidden", type=int, nargs="+", default=[16, 64])
    words = parser.parse_args()
    torch.set_num_threads(1)
    data, budget = digits(), Budget(words.row_sweeps, words.updates)
    spent = f"{words.updates or words.row_sweeps:,} {'updates' if words.updates else 'row-sweeps'}"
    rows = [
        measured(data, hidden=hidden, method=method, budget=budget)
        for hidden in words.hidden
        for method in METHODS
    ]
    report("tempering", f"Log-probability of the digits after {spent}", rows)


if __name__ == "__main__":
    main()
