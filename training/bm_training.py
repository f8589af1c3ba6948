"""The training of a Boltzmann machine, after that of the rivals it is compared with.

grey images ──fresh Bernoulli draws──► batches ──► update ──► checkpoints, monitors, sheets
                        one stage for each rival, then one for the machine; all by the same table

The order of the images follows from (seed, stage, epoch); all other noise comes from one generator
whose state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.alarms import check_images, check_sane
from training.bm import Bm, mean_field, unnormalised_bound
from training.bm_ais import ais
from training.bm_config import BmModelTable, BmTrainTable, Rival
from training.bm_connections import colour_blocks
from training.bm_learning import BmLearner, update
from training.rbm import draw
from training.rbm_training import Plan, Step, TrainingData
from training.run import Run
from training.sheets import png_bytes, sheet
from training.stages import Stages

FIGURES_EVERY = 50
MONITOR_ROWS = 1000
MONITOR_RUNS = 100
STAGE = "machine"


@dataclass(frozen=True)
class Machines:
    """What a run has trained: the machine, and its rivals by name."""

    bm: Bm
    rivals: dict[str, Bm]


def train_bm(
    data: TrainingData,
    *,
    model: BmModelTable,
    rivals: Sequence[Rival],
    train: BmTrainTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
) -> Machines:
    """Train, or go on from the run's newest checkpoint; returns the averaged machines.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the weights are no longer finite, or the chains have died.
    """
    generator = torch.Generator(data.images.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=train.checkpoint_minutes, stop=stop)
    trained = {}
    for number, rival in enumerate(rivals):
        stage = f"rival-{rival.name}"
        kept = stages.results(stage)
        if kept is None:
            learning = _Learning(data, rival, train, seed + 7919 * (number + 1), run, stages)
            bm = learning.learn(stage, generator)
            kept = {"W": bm.W, "b": bm.b}
            stages.finish(stage, kept)
        trained[rival.name] = _bm(kept, data.images.shape[1])
    bm = _Learning(data, model, train, seed, run, stages).learn(STAGE, generator)
    return Machines(bm=bm, rivals=trained)


def restored(checkpoint: dict[str, Any], *, visible: int) -> Machines | None:
    """The averaged machines in a checkpoint; None while rivals are still trained."""
    if checkpoint["stage"] != STAGE:
        return None
    named = checkpoint["tensors"]
    rivals = {
        stage.removeprefix("rival-"): _bm(kept, visible)
        for stage, kept in checkpoint["results"].items()
    }
    return Machines(
        bm=_bm({"W": named["average.W"], "b": named["average.b"]}, visible), rivals=rivals
    )


def reconstruction_error(bm: Bm, v: Tensor) -> float:
    """Mean squared error a pixel of p(v_i | μ, all other pixels), with μ the mean-field of v."""
    return float((bm.reconstruction(mean_field(bm, v)) - v).square().mean())


def _bm(kept: dict[str, Tensor], visible: int) -> Bm:
    return Bm(W=kept["W"], b=kept["b"], visible=visible)


@dataclass(frozen=True)
class _Learning:
    """One stage: one machine, from its first weights to its averaged last ones."""

    data: TrainingData
    model: BmModelTable
    train: BmTrainTable
    seed: int
    run: Run
    stages: Stages

    def learn(self, stage: str, generator: torch.Generator) -> Bm:
        done, kept = self.stages.begin(stage)
        # A resumed learner is begun for its shapes alone: that must not cost the run any noise.
        learner = self._begin(generator if kept is None else torch.Generator(generator.device))
        if kept is not None:
            learner.restore(kept)
        plan = Plan(train=self.train, images=len(self.data.images), seed=self.seed)
        title = f"{stage} {learner.visible}-{self.model.hidden}, {len(learner.blocks)} blocks"
        with self.run.progress(title, total=plan.total, done=done) as bar:
            for step in plan.steps(done):
                shown = self._update(step, learner, generator)
                bar.advance(images=len(step.rows), **shown)
                if step.ends_epoch and (step.epoch + 1) % self.train.monitor_every == 0:
                    self._monitor(step, learner, stage)
                self.stages.after_update(learner.tensors, last=step.number == plan.total)
        return learner.averaged.copy()

    def _begin(self, generator: torch.Generator) -> BmLearner:
        links = self.model.links(self.data.shape)
        return BmLearner.begin(
            links,
            colour_blocks(links, visible=self.data.images.shape[1]),
            visible_mean=self.data.images.mean(0),
            scale=self.model.initial_scale,
            chains=self.train.phases[0].chains,
            generator=generator,
        )

    def _update(
        self, step: Step, learner: BmLearner, generator: torch.Generator
    ) -> dict[str, float]:
        if len(learner.particles) != step.phase.chains:
            learner.grow(step.phase.chains)
        images = self.data.images
        v = draw(images[step.rows.to(images.device)], generator)
        update(
            learner,
            v,
            rule=self.train.bm_rule(step.phase),
            learning_rate=step.learning_rate,
            generator=generator,
        )
        if step.number % FIGURES_EVERY and not step.ends_epoch:
            return {}
        return {"epoch": step.epoch + 1, "loss": reconstruction_error(learner.bm, v)}

    def _monitor(self, step: Step, learner: BmLearner, stage: str) -> None:
        """Log how the averaged machine does on held-out training images.

        It has its own generator: watching a training must not change it.
        """
        number = self.stages.updates + 1
        check_sane(learner.tensors(), step=number)
        check_images(learner.bm.reconstruction(learner.particles), step=number)
        bm, images = learner.averaged, self.data.images
        generator = torch.Generator(images.device).manual_seed(self.seed + number)
        held_out = draw(self.data.held_out[:MONITOR_ROWS], generator)
        seen = draw(images[:MONITOR_ROWS], generator)
        log_z = ais(
            bm,
            base_bias=base_log_odds(bm, images),
            runs=MONITOR_RUNS,
            betas=self.train.monitor_betas,
            blocks=learner.blocks,
            generator=generator,
        )
        figures = {
            "epoch": step.epoch + 1,
            "learning_rate": step.learning_rate,
            "bound__held_out": mean_bound(bm, held_out) - log_z.value,
            "bound__train": mean_bound(bm, seen) - log_z.value,
            "bound__log_z": log_z.value,
            "bound__interval": log_z.high - log_z.low,
            "reconstruction__held_out": reconstruction_error(bm, held_out),
            "weights__largest": float(bm.W.abs().max()),
        }
        prefix = "" if stage == STAGE else f"{stage}__"
        self.run.record(number, **{f"{prefix}{name}": value for name, value in figures.items()})
        self._show(learner, held_out, stage, number)

    def _show(self, learner: BmLearner, held_out: Tensor, stage: str, number: int) -> None:
        bm = learner.averaged
        v, h = slice(0, bm.visible), slice(bm.visible, None)
        for name, (rows, columns) in {"visible-hidden": (v, h), "visible": (v, v),
                                      "hidden": (h, h)}.items():  # fmt: skip
            linked = learner.links[rows, columns]
            if bool(linked.any()):
                weights = bm.W[rows, columns][linked]
                self.run.histogram(f"{stage}/weights/{name}", weights, number)
        activity = mean_field(bm, held_out)[:, h].mean(0)
        self.run.histogram(f"{stage}/hidden_activity", activity, number)
        shown = learner.bm.reconstruction(learner.particles[:100])
        particles = sheet(shown.reshape(-1, *self.data.shape).cpu().numpy(), columns=10)
        self.run.sheet(f"{stage}-particles", png_bytes(particles), particles, number)


def mean_bound(bm: Bm, v: Tensor) -> float:
    """Mean of the variational bound on log p(v) + log Z; its value where hidden units are free."""
    return float(unnormalised_bound(bm, mean_field(bm, v)).double().mean())


def base_log_odds(bm: Bm, images: Tensor) -> Tensor:
    """Log-odds of independent units with the mean activities of grey images and their mean-field.

    Chains begin there, in AIS and in the exported `start`.
    """
    return torch.logit(mean_field(bm, images).mean(0).clamp(0.001, 0.999))
