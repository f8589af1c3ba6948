"""Quality figures of a deep Boltzmann machine, from its package's own files.

weights.safetensors ──AIS, reverse AIS──► two variational bounds on the test log-probability
score.onnx + calibration ──► AUROC of three kinds of anomalies, honesty of the p-values

Test data is looked at here, once training is over, and nowhere else.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from service.contract import Quality
from training.ais import LogZ
from training.anomaly import anomaly_report
from training.binarised import binarisation, binary_rows, waiting
from training.boltzmann_package import read_tensors
from training.data import Dataset
from training.dbm import Dbm, MeanField, mean_field
from training.dbm_ais import ais, reverse_ais
from training.dbm_bound import mean_bound, summed_bound
from training.dbm_learning import dbm_of
from training.likelihood_figure import likelihood_figure
from training.package import Package
from training.rbm import base_rate_bias, draw
from training.rbm_config import EvaluateTable
from training.rbm_evaluation import EvaluationData, error_figure

POSTERIOR = MeanField(updates=100, tolerance=1e-5)
DRAWS = 10  # of the odd layers, an image


def package_figures(
    package: Package, data: EvaluationData, *, table: EvaluateTable, device: str, command: str
) -> list[Quality]:
    """Every figure of a package, from its files alone."""
    dbm = read_weights(package).to(device)
    words = "exported weights"
    likelihood = [
        *bound_figures(dbm, data, table=table, name="test_bound", weights=words, command=command),
        *reverse_bound_figures(dbm, data, table=table, weights=words, command=command),
    ]
    report = anomaly_report(
        lambda images: package.run("score", x=images)["negative_bound"],
        data.test.images,
        package.calibration("negative_bound"),
        seed=table.seed,
    )
    errors = [error_figure(package, data.test, command=command)] if _classifies(package) else []
    return [*likelihood, *errors, *report.figures(command=command)]


def _classifies(package: Package) -> bool:
    return "classify" in package.manifest.functions


def read_weights(package: Package) -> Dbm:
    """The machine in weights.safetensors: `weight.1 … weight.L`, `bias.0 … bias.L`."""
    return dbm_of(read_tensors(package))


def bound_figures(
    dbm: Dbm, data: EvaluationData, *, table: EvaluateTable, name: str, weights: str, command: str
) -> list[Quality]:
    """Mean variational bounds of the binarised test images, with log Z by forward AIS."""
    generator = torch.Generator(dbm.b[0].device).manual_seed(table.seed)
    base = _base_bias(dbm, data.train)
    with waiting("AIS", table.betas) as told:
        log_z = ais(dbm, base_bias=base, runs=table.runs, betas=table.betas, generator=generator,
                    progress=told)  # fmt: skip
    protocol = (
        f"log Z by AIS from the base-rate model, {table.runs} runs, {table.betas:,} betas, "
        "interval from ±3σ of the mean weight; AIS flatters on average, the bound errs low; "
        f"{binarisation(data.test)}; {weights}"
    )
    return _figures(dbm, data, log_z, table=table, name=name, protocol=protocol, command=command)


def reverse_bound_figures(
    dbm: Dbm, data: EvaluationData, *, table: EvaluateTable, weights: str, command: str
) -> list[Quality]:
    """The same with log Z by reverse AIS, which errs on the other side."""
    generator = torch.Generator(dbm.b[0].device).manual_seed(table.seed)
    odd = _samples(dbm, data.train, table, generator)
    base = _base_bias(dbm, data.train)
    with waiting("reverse AIS", table.betas) as told:
        log_z = reverse_ais(
            dbm, odd, base_bias=base, betas=table.betas, generator=generator, progress=told
        )
    protocol = (
        f"log Z by reverse AIS, {table.reverse_runs} runs, {table.betas:,} betas, from training "
        f"images after {table.reverse_burn_in:,} sweeps: errs low as far as these chains have "
        f"mixed; {binarisation(data.test)}; {weights}"
    )
    return _figures(dbm, data, log_z, table=table, name="test_bound_reverse_ais",
                    protocol=protocol, command=command)  # fmt: skip


def _samples(
    dbm: Dbm, train: Dataset, table: EvaluateTable, generator: torch.Generator
) -> dict[int, Tensor]:
    """Odd layers of long chains that began at training images."""
    rows = np.random.default_rng(table.seed).choice(len(train), table.reverse_runs)
    mu = mean_field(dbm, binary_rows(train.take(rows), device=dbm.b[0].device), POSTERIOR)
    odd = {layer: draw(mu[layer], generator) for layer in dbm.odd}
    for _ in range(table.reverse_burn_in):
        _, odd = dbm.sweep(odd, generator)
    return odd


def _figures(
    dbm: Dbm,
    data: EvaluationData,
    log_z: LogZ,
    *,
    table: EvaluateTable,
    name: str,
    protocol: str,
    command: str,
) -> list[Quality]:
    """The bound of mean-field, and the one with the even hidden layers summed out."""
    test = binary_rows(data.test, device=dbm.b[0].device)
    plain = mean_bound(dbm, test, log_z=log_z.value, rule=POSTERIOR)
    generator = torch.Generator(dbm.b[0].device).manual_seed(table.seed)
    tight = summed_bound(
        dbm, test, log_z=log_z.value, rule=POSTERIOR, draws=DRAWS, generator=generator
    )
    summed = (
        f"the even hidden layers summed out, the odd ones by mean-field, {DRAWS} draws an image"
    )
    return [
        likelihood_figure(value, log_z, name=found, protocol=f"{how}, {protocol}", command=command)
        for value, found, how in (
            (plain, name, "variational bound by mean-field"),
            (tight, f"{name}_summed", f"variational bound, {summed}"),
        )
    ]


def _base_bias(dbm: Dbm, train: Dataset) -> Float[Tensor, " visible"]:
    means = torch.from_numpy(train.images.reshape(len(train), -1).mean(0))
    return base_rate_bias(means.to(dbm.b[0].device))
