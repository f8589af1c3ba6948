"""Quality figures of a Boltzmann machine and its rivals, from its package's own files.

weights.safetensors, rival-*.safetensors ──AIS──► log Z ──┐
test images ──exact | AIS from mean-field──► log p·Z ─────┴─► test log-probability ──► gains
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
from torch.nn.functional import softplus

from service.contract import Quality
from training.ais import LogZ
from training.anomaly import anomaly_report
from training.binarised import binarisation, binary_rows, waiting
from training.bm import Bm, bm_of, mean_field
from training.bm_ais import ais, log_evidence, reverse_ais
from training.bm_config import BmEvaluateTable
from training.bm_connections import Blocks, colour_blocks
from training.bm_sampling import run_chains
from training.bm_training import base_log_odds, mean_bound
from training.boltzmann_package import read_tensors
from training.package import Package
from training.rbm import base_rate_bias, draw
from training.rbm_evaluation import EvaluationData

RIVAL_FILES = ("rival-", ".safetensors")
# In them the weights are whole numbers, in units of this.
RIVAL_STEP = "step"


@dataclass(frozen=True)
class Likelihood:
    """log p of each test image in nats: `evidence` (log p + log Z) less log Z."""

    evidence: Float[Tensor, " n"]
    log_z: LogZ

    @property
    def value(self) -> float:
        """Mean log-probability."""
        return float(self.evidence.mean()) - self.log_z.value

    @property
    def interval(self) -> tuple[float, float] | None:
        """What the interval of log Z makes of it; None where that is unbounded."""
        mean = float(self.evidence.mean())
        ends = (mean - self.log_z.high, mean - self.log_z.low)
        return ends if all(math.isfinite(end) for end in ends) else None


def package_figures(
    package: Package,
    data: EvaluationData,
    *,
    table: BmEvaluateTable,
    device: str,
    command: str,
) -> list[Quality]:
    """Every figure of a package, from its files alone."""
    measure = Measure(data, table, device, command)
    bm = read_weights(package)
    own = measure.likelihood(bm)
    figures = [
        measure.figure(own, bm, name="test_log_probability", weights="exported weights"),
        measure.reverse_figure(own, bm),
        *([] if bm.hidden_are_free else [measure.bound_figure(own, bm)]),
        measure.base_rate_figure(),
    ]
    for name, rival in read_rivals(package).items():
        theirs = measure.likelihood(rival)
        figures += [
            measure.rival_figure(theirs, rival, name),
            measure.gain_figure(own, theirs, name=f"gain_over_{name}"),
        ]
    return [*figures, *_anomaly_figures(package, data, table, command)]


def read_weights(package: Package) -> Bm:
    """The machine in weights.safetensors, as `training.bm.named_tensors` has it."""
    return bm_of(read_tensors(package))


def read_rivals(package: Package) -> dict[str, Bm]:
    """The machines in rival-<name>.safetensors, by name."""
    before, after = RIVAL_FILES
    files = (f for f in package.manifest.files if f.startswith(before) and f.endswith(after))
    rivals = {}
    for file in sorted(files):
        named = load_safetensors(package.read(file))
        step = named.pop(RIVAL_STEP)
        rival = bm_of({name: whole.float() * step for name, whole in named.items()})
        rivals[file.removeprefix(before).removesuffix(after)] = rival
    return rivals


def blocks_of(bm: Bm) -> Blocks:
    """Blocks of a machine by the weights that it has."""
    return colour_blocks((bm.W != 0).cpu(), visible=bm.visible)


class Measure:
    """Likelihoods on one set of test images, by one protocol."""

    def __init__(
        self, data: EvaluationData, table: BmEvaluateTable, device: str, command: str
    ) -> None:
        self._data, self._table, self._command = data, table, command
        self._device = torch.device(device)
        self._test = binary_rows(data.test, device=self._device)
        rows = torch.from_numpy(data.train.images.reshape(len(data.train), -1))
        self._train = rows.to(self._device)

    def likelihood(self, bm: Bm) -> Likelihood:
        """With log Z by forward AIS, and log p·Z exactly or by AIS from the mean-field."""
        bm, table, generator = self._placed(bm), self._table, self._generator()
        with waiting("AIS", table.betas) as told:
            log_z = ais(
                bm,
                base_bias=base_log_odds(bm, self._train),
                runs=table.runs,
                betas=table.betas,
                blocks=blocks_of(bm),
                generator=generator,
                progress=told,
            )
        evidence = log_evidence(
            bm,
            self._test,
            runs=table.evidence_runs,
            betas=table.evidence_betas,
            generator=generator,
        )
        return Likelihood(evidence=evidence, log_z=log_z)

    def figure(self, found: Likelihood, bm: Bm, *, name: str, weights: str) -> Quality:
        """Mean log-probability of the binarised test images."""
        table = self._table
        protocol = (
            f"log Z by AIS from independent units, {table.runs} runs, {table.betas:,} betas, "
            f"interval from ±3σ of the mean weight; {self._evidence_words(bm)}; AIS of log Z "
            f"flatters on average; {binarisation(self._data.test)}; {weights}"
        )
        return self._quality(name, found, protocol)

    def rival_figure(self, found: Likelihood, rival: Bm, name: str) -> Quality:
        """The same of a rival, told in fewer words."""
        file = f"{RIVAL_FILES[0]}{name}{RIVAL_FILES[1]}"
        protocol = f"as test_log_probability, of {file}; {self._evidence_words(rival)}"
        return self._quality(f"{name}_test_log_probability", found, protocol)

    def reverse_figure(self, own: Likelihood, bm: Bm) -> Quality:
        """The same with log Z by reverse AIS, which errs on the other side."""
        bm, table, generator = self._placed(bm), self._table, self._generator()
        rows = np.random.default_rng(table.seed).choice(len(self._data.train), table.reverse_runs)
        v = binary_rows(self._data.train.take(rows), device=self._device)
        x = torch.cat([v, draw(mean_field(bm, v)[:, bm.visible :].contiguous(), generator)], 1)
        blocks = blocks_of(bm)
        x = run_chains(bm, x, sweeps=table.reverse_burn_in, blocks=blocks, generator=generator)
        with waiting("reverse AIS", table.betas) as told:
            log_z = reverse_ais(
                bm,
                x,
                base_bias=base_log_odds(bm, self._train),
                betas=table.betas,
                blocks=blocks,
                generator=generator,
                progress=told,
            )
        protocol = (
            f"the same with log Z by reverse AIS, {table.reverse_runs} runs, {table.betas:,} "
            f"betas, from training images after {table.reverse_burn_in:,} sweeps: errs low as far "
            f"as these chains have mixed"
        )
        found = Likelihood(evidence=own.evidence, log_z=log_z)
        return self._quality("test_log_probability_reverse_ais", found, protocol)

    def bound_figure(self, own: Likelihood, bm: Bm) -> Quality:
        """Mean variational bound by mean-field."""
        bound = torch.tensor([mean_bound(self._placed(bm), self._test)], dtype=torch.float64)
        protocol = "variational bound by mean-field in place of log p·Z, with the same log Z"
        return self._quality("test_bound", Likelihood(bound, own.log_z), protocol)

    def base_rate_figure(self) -> Quality:
        """What independent pixels with the training images' base rates give."""
        bias = base_rate_bias(self._train.mean(0))
        value = float((self._test @ bias - softplus(bias).sum()).double().mean())
        return Quality(
            name="test_log_probability_base_rates",
            value=value,
            unit="nats",
            protocol="independent pixels at the training images' mean values, exact; same images",
            command=self._command,
        )

    def gain_figure(self, own: Likelihood, theirs: Likelihood, *, name: str) -> Quality:
        """How much more probable the machine finds a test image than a rival does."""
        gains = own.evidence - theirs.evidence
        error = 2 * float(gains.std()) / math.sqrt(len(gains))
        value = own.value - theirs.value
        spreads = [log_z.high - log_z.low for log_z in (own.log_z, theirs.log_z)]
        widened = error + sum(spreads) / 2
        return Quality(
            name=name,
            value=value,
            unit="nats",
            interval=(value - widened, value + widened) if math.isfinite(widened) else None,
            protocol=(
                f"mean difference over the same test images, ± 2 standard errors ({error:.2f}) and "
                "both AIS intervals; the rival was trained in the same run, by the same table"
            ),
            command=self._command,
        )

    def _evidence_words(self, bm: Bm) -> str:
        table = self._table
        if bm.hidden_are_free:
            return "hidden units summed out exactly"
        return (
            f"hidden units summed out by AIS from each image's mean-field, {table.evidence_runs} "
            f"runs, {table.evidence_betas:,} betas, which errs low on average"
        )

    def _quality(self, name: str, found: Likelihood, protocol: str) -> Quality:
        interval = found.interval
        if interval is None:
            protocol += "; the interval is unbounded: more runs or betas are needed"
        return Quality(
            name=name,
            value=found.value,
            unit="nats",
            interval=interval,
            protocol=protocol,
            command=self._command,
        )

    def _placed(self, bm: Bm) -> Bm:
        return bm.to(self._device)

    def _generator(self) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(self._table.seed)


def _anomaly_figures(
    package: Package, data: EvaluationData, table: BmEvaluateTable, command: str
) -> tuple[Quality, ...]:
    (score,) = package.manifest.scores
    report = anomaly_report(
        lambda images: package.run("score", image=images)[score.output],
        data.test.images,
        package.calibration(score.method),
        seed=table.seed,
    )
    return report.figures(command=command)
