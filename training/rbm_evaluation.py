"""Quality figures of a restricted Boltzmann machine, from its package's own files.

weights.safetensors ──AIS, reverse AIS──► test log-probability
score.onnx + calibration ──► AUROC of three kinds of anomalies, honesty of the p-values

Test data is looked at here, once training is over, and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load as load_safetensors
from torch import Tensor

from service.contract import WEIGHTS_FILE, Quality
from training.ais import LogZ, ais, mean_log_probability, reverse_ais
from training.anomaly import anomaly_report
from training.binarised import binarisation, binary_rows, waiting
from training.data import Dataset
from training.package import Package
from training.rbm import Rbm, base_rate_bias, draw
from training.rbm_config import EvaluateTable


@dataclass(frozen=True)
class EvaluationData:
    """The images that figures are computed on."""

    train: Dataset
    test: Dataset


def package_figures(
    package: Package,
    data: EvaluationData,
    *,
    table: EvaluateTable,
    device: str,
    command: str,
) -> list[Quality]:
    """Every figure of a package, from its files alone."""
    rbm = read_weights(package).to(device)
    words = "exported weights"
    likelihood = [
        ais_figure(
            rbm, data, table=table, name="test_log_probability", weights=words, command=command
        ),
        reverse_ais_figure(rbm, data, table=table, weights=words, command=command),
    ]
    report = anomaly_report(
        lambda images: package.run("score", x=images)["free_energy"],
        data.test.images,
        package.calibration("free_energy"),
        seed=table.seed,
    )
    return [*likelihood, *report.figures(command=command)]


def read_weights(package: Package) -> Rbm:
    """The machine in weights.safetensors: `weight.1` [visible, hidden], `bias.0`, `bias.1`."""
    tensors = load_safetensors(package.read(WEIGHTS_FILE))
    return Rbm(W=tensors["weight.1"], b=tensors["bias.0"], c=tensors["bias.1"])


def ais_figure(
    rbm: Rbm, data: EvaluationData, *, table: EvaluateTable, name: str, weights: str, command: str
) -> Quality:
    """Mean log-probability of the binarised test images by forward AIS."""
    log_z = _forward(rbm, _base_bias(rbm, data), table)
    protocol = (
        f"AIS from the base-rate model, {table.runs} runs, {table.betas:,} betas, interval from "
        f"±3σ of the mean weight; AIS flatters on average; {binarisation(data.test)}; {weights}"
    )
    return _figure(rbm, data, log_z, name=name, protocol=protocol, command=command)


def reverse_ais_figure(
    rbm: Rbm, data: EvaluationData, *, table: EvaluateTable, weights: str, command: str
) -> Quality:
    """The same by reverse AIS, which errs on the other side."""
    log_z = _backward(rbm, _base_bias(rbm, data), table, data.train)
    protocol = (
        f"reverse AIS, {table.reverse_runs} runs, {table.betas:,} betas, from training images "
        f"after {table.reverse_burn_in:,} sweeps: errs low as far as these chains have mixed; "
        f"{binarisation(data.test)}; {weights}"
    )
    name = "test_log_probability_reverse_ais"
    return _figure(rbm, data, log_z, name=name, protocol=protocol, command=command)


def _figure(
    rbm: Rbm, data: EvaluationData, log_z: LogZ, *, name: str, protocol: str, command: str
) -> Quality:
    test = binary_rows(data.test, device=rbm.b.device)
    value = mean_log_probability(rbm, test, log_z=log_z.value)
    ends = (value + log_z.value - log_z.high, value + log_z.value - log_z.low)
    interval = ends if all(math.isfinite(end) for end in ends) else None
    if interval is None:
        protocol += "; the interval is unbounded: more runs or betas are needed"
    return Quality(
        name=name, value=value, unit="nats", interval=interval, protocol=protocol, command=command
    )


def _base_bias(rbm: Rbm, data: EvaluationData) -> Float[Tensor, " visible"]:
    means = torch.from_numpy(data.train.images.reshape(len(data.train), -1).mean(0))
    return base_rate_bias(means.to(rbm.b.device))


def _forward(rbm: Rbm, base: Float[Tensor, " visible"], table: EvaluateTable) -> LogZ:
    generator = torch.Generator(rbm.b.device).manual_seed(table.seed)
    with waiting("AIS", table.betas) as told:
        return ais(
            rbm,
            base_bias=base,
            runs=table.runs,
            betas=table.betas,
            generator=generator,
            progress=told,
        )


def _backward(
    rbm: Rbm, base: Float[Tensor, " visible"], table: EvaluateTable, train: Dataset
) -> LogZ:
    generator = torch.Generator(rbm.b.device).manual_seed(table.seed)
    rows = np.random.default_rng(table.seed).choice(len(train), table.reverse_runs)
    v = binary_rows(train.take(rows), device=rbm.b.device)
    for _ in range(table.reverse_burn_in):
        v, _h = rbm.sweep(draw(torch.sigmoid(rbm.hidden_input(v)), generator), generator)
    with waiting("reverse AIS", table.betas) as told:
        return reverse_ais(
            rbm, v, base_bias=base, betas=table.betas, generator=generator, progress=told
        )
