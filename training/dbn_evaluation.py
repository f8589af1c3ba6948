"""Quality figures of a deep belief network, from its package's own files.

weights.safetensors ──AIS, reverse AIS of the top──► variational bound on the test log-probability
score.onnx + calibration ──► AUROC of three kinds of anomalies, honesty of the p-values
samples of every label ──judge──► share that is read as the label asked for

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
from training.asked_labels import asked_label_figures
from training.binarised import binarisation, binary_rows, waiting
from training.data import Dataset
from training.dbn import Dbn, mean_bound
from training.dbn_weights import is_guided, read_weights
from training.label_units import draw_visible, label_probabilities, with_label
from training.likelihood_figure import likelihood_figure
from training.package import Package
from training.rbm import base_rate_bias, draw
from training.rbm_ais import ais, reverse_ais
from training.rbm_config import EvaluateTable
from training.rbm_evaluation import EvaluationData, error_figure

DRAWS = 10
BASE_RATE_IMAGES = 10_000
GUIDED = " of guided chains, whose p(label | h) is sharper than the network's"


def package_figures(
    package: Package, data: EvaluationData, *, table: EvaluateTable, device: str, command: str
) -> list[Quality]:
    """Every figure of a package, from its files alone."""
    dbn = read_weights(package).to(device)
    words = "exported weights"
    figures = [
        bound_figure(dbn, data, table=table, name="test_bound", weights=words, command=command),
        reverse_bound_figure(dbn, data, table=table, weights=words, command=command),
    ]
    if "classify" in package.manifest.functions:
        figures.append(error_figure(package, data.test, command=command))
    if dbn.labels:
        figures.append(top_error_figure(dbn, data.test, command=command, seed=table.seed))
        guided = GUIDED if is_guided(package) else ""
        figures += asked_label_figures(
            package,
            data.test,
            each=table.label_samples,
            seed=table.seed,
            command=command,
            chains=guided,
        )
    report = anomaly_report(
        lambda images: package.run("score", x=images)["negative_bound"],
        data.test.images,
        package.calibration("negative_bound"),
        seed=table.seed,
    )
    return [*figures, *report.figures(command=command)]


def bound_figure(
    dbn: Dbn, data: EvaluationData, *, table: EvaluateTable, name: str, weights: str, command: str
) -> Quality:
    """Mean variational bound of the binarised test images, with log Z by forward AIS."""
    generator = torch.Generator(dbn.top.b.device).manual_seed(table.seed)
    with waiting("AIS", table.betas) as told:
        log_z = ais(
            dbn.top,
            labels=dbn.labels,
            base_bias=_base_bias(dbn, data.train, generator),
            runs=table.runs,
            betas=table.betas,
            generator=generator,
            progress=told,
        )
    protocol = (
        f"variational bound by {DRAWS} draws of the recognition weights an image, log Z of the top "
        f"machine by AIS from the base-rate model, {table.runs} runs, {table.betas:,} betas, "
        "interval from ±3σ of the mean weight; AIS flatters on average, the bound errs low; "
        f"{binarisation(data.test)}; {weights}"
    )
    return _figure(dbn, data, log_z, generator, name=name, protocol=protocol, command=command)


def reverse_bound_figure(
    dbn: Dbn, data: EvaluationData, *, table: EvaluateTable, weights: str, command: str
) -> Quality:
    """The same with log Z by reverse AIS, which errs on the other side."""
    generator = torch.Generator(dbn.top.b.device).manual_seed(table.seed)
    x = _samples(dbn, data.train, table, generator)
    with waiting("reverse AIS", table.betas) as told:
        log_z = reverse_ais(
            dbn.top,
            x,
            labels=dbn.labels,
            base_bias=_base_bias(dbn, data.train, generator),
            betas=table.betas,
            generator=generator,
            progress=told,
        )
    protocol = (
        f"variational bound by {DRAWS} draws of the recognition weights an image, log Z of the top "
        f"machine by reverse AIS, {table.reverse_runs} runs, {table.betas:,} betas, from training "
        f"images after {table.reverse_burn_in:,} sweeps: errs low as far as these chains have "
        f"mixed; {binarisation(data.test)}; {weights}"
    )
    return _figure(dbn, data, log_z, generator, name="test_bound_reverse_ais", protocol=protocol,
                   command=command)  # fmt: skip


def top_error_figure(dbn: Dbn, test: Dataset, *, command: str, seed: int) -> Quality:
    """Share of the test images to which the top machine gives another label, untuned."""
    assert test.labels is not None, "a network with label units has labelled data"
    generator = torch.Generator(dbn.top.b.device).manual_seed(seed)
    wrong = 0
    labels = torch.from_numpy(test.labels).to(dbn.top.b.device)
    rows = binary_rows(test, device=dbn.top.b.device)
    for v, y in zip(torch.split(rows, 1000), torch.split(labels, 1000), strict=True):
        p = label_probabilities(dbn.top, dbn.rise(v, generator)[-1], labels=dbn.labels)
        wrong += int((p.argmax(1) != y).sum())
    return Quality(
        name="test_error_of_the_top_machine",
        value=100 * wrong / len(test),
        unit="%",
        protocol=(
            "most probable label unit given one draw of the recognition weights; no supervised "
            f"fine-tuning; {binarisation(test)}"
        ),
        command=command,
    )


def _samples(
    dbn: Dbn, train: Dataset, table: EvaluateTable, generator: torch.Generator
) -> Float[Tensor, "runs visible"]:
    """Visible states of the top machine after long chains that began at training images."""
    rows = np.random.default_rng(table.seed).choice(len(train), table.reverse_runs)
    part = train.take(rows)
    h = dbn.rise(binary_rows(part, device=dbn.top.b.device), generator)[-1]
    labels = torch.zeros(len(h), dtype=torch.int64) if part.labels is None else (
        torch.from_numpy(part.labels)
    )  # fmt: skip
    x = with_label(h, labels.to(h.device), labels=dbn.labels)
    for _ in range(table.reverse_burn_in):
        above = draw(torch.sigmoid(dbn.top.hidden_input(x)), generator)
        down = dbn.top.visible_input(above)
        x = draw_visible(down, labels=dbn.labels, generator=generator)
    return x


def _figure(
    dbn: Dbn,
    data: EvaluationData,
    log_z: LogZ,
    generator: torch.Generator,
    *,
    name: str,
    protocol: str,
    command: str,
) -> Quality:
    test = binary_rows(data.test, device=dbn.top.b.device)
    value = mean_bound(dbn, test, log_z=log_z.value, draws=DRAWS, generator=generator)
    return likelihood_figure(value, log_z, name=name, protocol=protocol, command=command)


def _base_bias(dbn: Dbn, train: Dataset, generator: torch.Generator) -> Float[Tensor, " units"]:
    """Log-odds of the topmost directed layer's base rates over training images."""
    v = binary_rows(train.take(slice(BASE_RATE_IMAGES)), device=dbn.top.b.device)
    return base_rate_bias(dbn.rise(v, generator)[-1].mean(0))
