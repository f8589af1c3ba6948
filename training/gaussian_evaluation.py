"""Quality figures of a machine with Gaussian visible units: log densities of whitened test rows.

machine ──exact | AIS, reverse AIS──► log Z ──► nats a row, beside what a Gaussian of full
covariance gives the same rows

Test data is looked at here, once training is over, and nowhere else.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from service.contract import Quality
from training.ais import LogZ
from training.binarised import waiting
from training.exact import MOST_UNITS
from training.gaussian import GaussianRbm, log_z_tensor
from training.gaussian_ais import Base, ais, reverse_ais
from training.gaussian_learning import run_chains
from training.gaussian_training import GaussianData
from training.rbm import draw
from training.rbm_config import EvaluateTable


def figures_of(
    machine: GaussianRbm,
    data: GaussianData,
    test: Float[Tensor, "n visible"],
    *,
    table: EvaluateTable,
    command: str,
) -> list[Quality]:
    """Mean log density of the test rows by each estimate of log Z, and the Gaussian's."""
    rows = f"{len(test):,} whitened test rows of {test.shape[1]} units, averaged float32 weights"
    free = -float(machine.free_energy(test).double().mean())

    def figure(name: str, log_z: float, low: float, high: float, protocol: str) -> Quality:
        ends = (free - high, free - low)
        return Quality(
            name=name,
            value=free - log_z,
            unit="nats",
            interval=ends if all(math.isfinite(end) for end in ends) else None,
            protocol=f"{protocol}; {rows}",
            command=command,
        )

    made = []
    if len(machine.c) <= MOST_UNITS:
        exact = float(log_z_tensor(machine))
        words = "exact log Z, by enumeration of the hidden layer"
        made.append(figure("test_log_density_exact", exact, exact, exact, words))
    forward, backward = _both_ways(machine, data, table)
    made += [
        figure(
            "test_log_density", forward.value, forward.low, forward.high,
            f"AIS from the Gaussian of the data's means and variances, {table.runs} runs, "
            f"{table.betas:,} betas, interval from ±3σ of the mean weight",
        ),
        figure(
            "test_log_density_reverse_ais", backward.value, backward.low, backward.high,
            f"reverse AIS, {table.reverse_runs} runs from training rows after "
            f"{table.reverse_burn_in:,} sweeps: errs low as far as these chains have mixed",
        ),
    ]  # fmt: skip
    gaussian = gaussian_density(data.rows, test)
    words = "a Gaussian of full covariance, fitted to the training rows"
    return [*made, figure("test_log_density_of_a_gaussian", free - gaussian,
                          free - gaussian, free - gaussian, words)]  # fmt: skip


def _both_ways(machine: GaussianRbm, data: GaussianData, table: EvaluateTable) -> tuple[LogZ, LogZ]:
    """log Z by AIS forwards, and in reverse from long chains that began at training rows."""
    generator = torch.Generator(machine.b.device).manual_seed(table.seed)
    base = Base.of(data.rows)
    with waiting("AIS", table.betas) as told:
        forward = ais(machine, base=base, runs=table.runs, betas=table.betas, generator=generator,
                      progress=told)  # fmt: skip
    chosen = torch.randint(
        len(data.rows), (table.reverse_runs,), generator=generator, device=generator.device
    )
    h = draw(torch.sigmoid(machine.hidden_input(data.rows[chosen])), generator)
    v, _ = run_chains(machine, h, sweeps=max(1, table.reverse_burn_in), generator=generator)
    with waiting("reverse AIS", table.betas) as told:
        backward = reverse_ais(machine, v, base=base, betas=table.betas, generator=generator,
                               progress=told)  # fmt: skip
    return forward, backward


def gaussian_density(rows: Float[Tensor, "n visible"], test: Float[Tensor, "m visible"]) -> float:
    """Mean log density of `test` under a Gaussian with the mean and covariance of `rows`."""
    x, y = rows.double(), test.double() - rows.double().mean(0)
    centred = x - x.mean(0)
    root = torch.linalg.cholesky(centred.T @ centred / len(x))
    distance = torch.linalg.solve_triangular(root, y.T, upper=False).square().sum(0).mean()
    volume = 2 * root.diagonal().log().sum() + len(root) * math.log(2 * math.pi)
    return -0.5 * float(distance + volume)
