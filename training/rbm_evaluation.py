"""Quality figures of a restricted Boltzmann machine, from its package's own files.

weights.safetensors ──AIS, reverse AIS──► test log-probability
score.onnx + calibration ──► AUROC of three kinds of anomalies, honesty of the p-values

Test data is looked at here, once training is over, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from service.contract import Quality
from training.ais import LogZ
from training.anomaly import anomaly_report
from training.asked_labels import asked_label_figures
from training.bennett import LadderLogZ, base_log_z, ladder_log_z
from training.binarised import binarisation, binary_rows, waiting
from training.boltzmann_package import read_tensors
from training.data import Dataset
from training.dbn_weights import label_units
from training.label_units import draw_visible, log_evidence, with_label
from training.likelihood_figure import likelihood_figure
from training.package import Package
from training.rbm import Rbm, base_rate_bias, draw
from training.rbm_ais import ais, reverse_ais
from training.rbm_config import EvaluateTable
from training.trajectory import Ladder

LADDER_SWEEPS = 400
LADDER_SEED = 1


@dataclass(frozen=True)
class EvaluationData:
    """The images that figures are computed on."""

    train: Dataset
    test: Dataset


@dataclass(frozen=True)
class Machine:
    """What is evaluated: a machine, whose last `labels` visible units are label units."""

    rbm: Rbm
    labels: int = 0

    def mean_log_probability(self, v: Float[Tensor, "rows pixels"], *, log_z: float) -> float:
        """Mean of log p(v) in nats, labels summed out."""
        return float(log_evidence(self.rbm, v, labels=self.labels).double().mean()) - log_z


@dataclass(frozen=True)
class LadderChains:
    """A training's ladder, and its learning machine's chains."""

    ladder: Ladder
    particles: Float[Tensor, "chains hidden"]


def package_figures(
    package: Package,
    data: EvaluationData,
    *,
    table: EvaluateTable,
    device: str,
    command: str,
) -> list[Quality]:
    """Every figure of a package, from its files alone."""
    machine = Machine(read_weights(package).to(device), label_units(package.manifest))
    words = "exported weights"
    likelihood = [
        ais_figure(
            machine, data, table=table, name="test_log_probability", weights=words, command=command
        ),
        reverse_ais_figure(machine, data, table=table, weights=words, command=command),
    ]
    errors = []
    if machine.labels:
        errors = [
            error_figure(package, data.test, command=command),
            *asked_label_figures(
                package, data.test, each=table.label_samples, seed=table.seed, command=command
            ),
        ]
    report = anomaly_report(
        lambda images: package.run("score", x=images)["free_energy"],
        data.test.images,
        package.calibration("free_energy"),
        seed=table.seed,
    )
    return [*likelihood, *errors, *report.figures(command=command)]


def read_weights(package: Package) -> Rbm:
    """The machine in weights.safetensors: `weight.1` [visible, hidden], `bias.0`, `bias.1`."""
    tensors = read_tensors(package)
    return Rbm(W=tensors["weight.1"], b=tensors["bias.0"], c=tensors["bias.1"])


def ais_figure(
    machine: Machine,
    data: EvaluationData,
    *,
    table: EvaluateTable,
    name: str,
    weights: str,
    command: str,
) -> Quality:
    """Mean log-probability of the binarised test images by forward AIS."""
    log_z = _forward(machine, _base_bias(machine, data), table)
    protocol = (
        f"AIS from the base-rate model, {table.runs} runs, {table.betas:,} betas, interval from "
        f"±3σ of the mean weight; AIS flatters on average; {binarisation(data.test)}; {weights}"
    )
    return _figure(machine, data, log_z, name=name, protocol=protocol, command=command)


def reverse_ais_figure(
    machine: Machine, data: EvaluationData, *, table: EvaluateTable, weights: str, command: str
) -> Quality:
    """The same by reverse AIS, which errs on the other side."""
    log_z = _backward(machine, _base_bias(machine, data), table, data.train)
    protocol = (
        f"reverse AIS, {table.reverse_runs} runs, {table.betas:,} betas, from training images "
        f"after {table.reverse_burn_in:,} sweeps: errs low as far as these chains have mixed; "
        f"{binarisation(data.test)}; {weights}"
    )
    name = "test_log_probability_reverse_ais"
    return _figure(machine, data, log_z, name=name, protocol=protocol, command=command)


def error_figure(package: Package, test: Dataset, *, command: str, batch: int = 500) -> Quality:
    """Share of the grey test images whose most probable label is not theirs."""
    assert test.labels is not None, "a classifier's data has labels"
    wrong = 0
    for at in range(0, len(test), batch):
        p = package.run("classify", x=test.images[at : at + batch])["probabilities"]
        wrong += int((p.argmax(1) != test.labels[at : at + batch]).sum())
    return Quality(
        name="test_error",
        value=100 * wrong / len(test),
        unit="%",
        protocol=f"{wrong:,} of {len(test):,} grey test images read wrongly; exported classifier",
        command=command,
    )


def ladder_figure(
    machine: Machine, data: EvaluationData, ladder: LadderChains, *, command: str
) -> Quality:
    """The same by the ladder that the training has left behind, with Bennett's ratios."""
    generator = torch.Generator(machine.rbm.b.device).manual_seed(LADDER_SEED)
    rungs = ladder.ladder.rungs(machine.rbm)
    h = torch.cat([ladder.ladder.replicas.h, ladder.particles[None]])
    log_z = ladder_log_z(
        rungs,
        h,
        base_log_z=base_log_z(ladder.ladder.base, labels=machine.labels),
        sweeps=LADDER_SWEEPS,
        burn_in=LADDER_SWEEPS // 10,  # the averaged machine is not quite the one that learned
        generator=generator,
        labels=machine.labels,
    )
    protocol = (
        f"Bennett ratios up the {len(rungs)} rungs of the training's ladder, {h.shape[1]} chains a "
        f"rung, {LADDER_SWEEPS} sweeps, least swap acceptance {float(log_z.acceptance.min()):.2f}, "
        "interval ±3σ by the jackknife over chains; "
        f"{binarisation(data.test)}; averaged float32 weights, before rounding"
    )
    name = "test_log_probability_by_ladder"
    return _figure(machine, data, log_z, name=name, protocol=protocol, command=command)


def _figure(
    machine: Machine,
    data: EvaluationData,
    log_z: LogZ | LadderLogZ,
    *,
    name: str,
    protocol: str,
    command: str,
) -> Quality:
    test = binary_rows(data.test, device=machine.rbm.b.device)
    value = machine.mean_log_probability(test, log_z=log_z.value)
    return likelihood_figure(value, log_z, name=name, protocol=protocol, command=command)


def _base_bias(machine: Machine, data: EvaluationData) -> Float[Tensor, " pixels"]:
    means = torch.from_numpy(data.train.images.reshape(len(data.train), -1).mean(0))
    return base_rate_bias(means.to(machine.rbm.b.device))


def _forward(machine: Machine, base: Float[Tensor, " pixels"], table: EvaluateTable) -> LogZ:
    generator = torch.Generator(machine.rbm.b.device).manual_seed(table.seed)
    with waiting("AIS", table.betas) as told:
        return ais(
            machine.rbm,
            labels=machine.labels,
            base_bias=base,
            runs=table.runs,
            betas=table.betas,
            generator=generator,
            progress=told,
        )


def _backward(
    machine: Machine, base: Float[Tensor, " pixels"], table: EvaluateTable, train: Dataset
) -> LogZ:
    rbm, labels = machine.rbm, machine.labels
    generator = torch.Generator(rbm.b.device).manual_seed(table.seed)
    part = train.take(np.random.default_rng(table.seed).choice(len(train), table.reverse_runs))
    v = binary_rows(part, device=rbm.b.device)
    if labels:
        assert part.labels is not None, "a machine with label units has labelled data"
        v = with_label(v, torch.from_numpy(part.labels).to(v.device), labels=labels)
    for _ in range(table.reverse_burn_in):
        v = _swept(machine, v, generator)
    with waiting("reverse AIS", table.betas) as told:
        return reverse_ais(
            rbm,
            v,
            labels=labels,
            base_bias=base,
            betas=table.betas,
            generator=generator,
            progress=told,
        )


def _swept(
    machine: Machine, v: Float[Tensor, "rows visible"], generator: torch.Generator
) -> Float[Tensor, "rows visible"]:
    h = draw(torch.sigmoid(machine.rbm.hidden_input(v)), generator)
    if not machine.labels:
        return machine.rbm.sweep(h, generator)[0]
    down = machine.rbm.visible_input(h)
    return draw_visible(down, labels=machine.labels, generator=generator)
