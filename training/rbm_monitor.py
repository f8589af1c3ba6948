"""How a training does, and whether it still does anything: figures and pictures.

averaged machine, held-out images ──► AIS, reconstruction, histograms ──► metrics.jsonl, TensorBoard
particles ──► sheet
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.alarms import check_chains, check_sane
from training.bennett import base_log_z, ladder_log_z
from training.label_units import log_evidence
from training.rbm import Rbm, base_rate_bias, draw
from training.rbm_ais import ais
from training.rbm_chains import run_chains
from training.rbm_config import RbmTrainTable
from training.rbm_exchange import Helpers
from training.rbm_learning import LearnerState
from training.run import Run
from training.sheets import png_bytes, sheet
from training.trajectory import Ladder

MONITOR_ROWS = 1000
LADDER_SWEEPS = 20
SHEET = 100
SHEET_SWEEPS = 100


class Monitor:
    """Logs one training.

    It has its own generator: watching a training must not change it.
    """

    def __init__(
        self,
        images: Float[Tensor, "n visible"],
        held_out: Float[Tensor, "m visible"],
        *,
        shape: tuple[int, int, int],
        labels: int,
        train: RbmTrainTable,
        run: Run,
        seed: int,
    ) -> None:
        self._images, self._held_out = images, held_out
        self._shape, self._labels = shape, labels
        self._train, self._run, self._seed = train, run, seed
        self._base = base_rate_bias(images.mean(0))[: images.shape[1] - labels]

    def log(
        self,
        state: LearnerState,
        helpers: Helpers,
        *,
        step: int,
        epoch: int,
        learning_rate: float,
    ) -> None:
        """Figures of the averaged machine on held-out training images, and a sheet of particles."""
        check_alive(state, persistent=self._train.chains != "data", step=step)
        rbm = state.averaged
        generator = torch.Generator(self._images.device).manual_seed(self._seed + step)
        held_out = draw(self._held_out[:MONITOR_ROWS], generator)
        seen = draw(self._images[:MONITOR_ROWS], generator)
        log_z = ais(
            rbm,
            labels=self._labels,
            base_bias=self._base,
            runs=100,
            betas=self._train.monitor_betas,
            generator=generator,
        )
        self._run.record(
            step,
            epoch=epoch,
            learning_rate=learning_rate,
            likelihood__held_out=self._evidence(rbm, held_out) - log_z.value,
            likelihood__train=self._evidence(rbm, seen) - log_z.value,
            likelihood__log_z=log_z.value,
            likelihood__interval=log_z.high - log_z.low,
            pseudo_likelihood__held_out=rbm.pseudo_likelihood(held_out, generator),
            reconstruction__held_out=rbm.reconstruction_error(held_out),
            weights__largest=float(rbm.W.abs().max()),
            **self._of_helpers(state, helpers, held_out, generator),
        )
        self._run.histogram("weights", rbm.W, step)
        self._run.histogram("visible_bias", rbm.b, step)
        activity = torch.sigmoid(rbm.hidden_input(held_out)).mean(0)
        self._run.histogram("hidden_activity", activity, step)
        self._sheet(state, seen, step, generator)

    def _evidence(self, rbm: Rbm, v: Float[Tensor, "rows visible"]) -> float:
        """Mean of log p(v) + log Z, the label summed out where there is one."""
        pixels = v[:, : v.shape[1] - self._labels]
        return float(log_evidence(rbm, pixels, labels=self._labels).double().mean())

    def _of_helpers(
        self,
        state: LearnerState,
        helpers: Helpers,
        held_out: Float[Tensor, "rows visible"],
        generator: torch.Generator,
    ) -> dict[str, float]:
        if helpers is None:
            return {}
        figures = {"exchange__least_acceptance": float(helpers.replicas.acceptance.min())}
        if isinstance(helpers, Ladder):
            figures |= {"exchange__rungs": float(helpers.frozen)}
            if len(state.particles) > 1:
                estimate = ladder_log_z(
                    helpers.rungs(state.averaged),
                    torch.cat([helpers.replicas.h, state.particles[None]]),
                    base_log_z=base_log_z(helpers.base, labels=self._labels),
                    sweeps=LADDER_SWEEPS,
                    generator=generator,
                    labels=self._labels,
                )
                evidence = self._evidence(state.averaged, held_out)
                figures |= {
                    "likelihood__held_out_by_ladder": evidence - estimate.value,
                    "likelihood__ladder_error": estimate.error,
                }
        return figures

    def _sheet(
        self,
        state: LearnerState,
        seen: Float[Tensor, "rows visible"],
        step: int,
        generator: torch.Generator,
    ) -> None:
        """Fantasy particles; of CD, which keeps none, chains that began at training images."""
        rbm, h = state.rbm, state.particles[:SHEET]
        if self._train.chains == "data":
            h = draw(torch.sigmoid(rbm.hidden_input(seen[:SHEET])), generator)
            _, h = run_chains(rbm, h, sweeps=SHEET_SWEEPS, precision="float32",
                              generator=generator, labels=self._labels)  # fmt: skip
        p = torch.sigmoid(rbm.visible_input(h))
        pixels = p[:, : p.shape[1] - self._labels].reshape(-1, *self._shape)
        particles = sheet(pixels.cpu().numpy(), columns=10)
        self._run.sheet("particles", png_bytes(particles), particles, step)


def check_alive(state: LearnerState, *, persistent: bool, step: int) -> None:
    """Raise TrainingDiverged where the weights are out of all bounds, or the chains have died.

    Those of CD, which are not `persistent`, begin at the data each time, and cannot die.
    """
    check_sane({"a weight": state.W}, step=step)
    if persistent:
        check_chains(state.particles, step=step)
