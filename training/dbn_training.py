"""The training of a deep belief network: layer by layer, then up and down through all of them.

grey images ──fresh Bernoulli draws──► an RBM for each directed layer ──► activities, labels
activities, labels ──► top machine alone ──► up-down: all layers together ──► averaged network

The order of the images follows from (seed, stage, epoch); all other noise comes from one generator
whose state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from training.alarms import check_chains, check_sane
from training.dbn import Dbn, mean_bound
from training.dbn_config import DbnModelTable, UpDownTable
from training.dbn_learning import DbnLearner, fantasy, update
from training.label_units import label_probabilities, with_label
from training.layerwise import pretrain, rise, undoubled
from training.mirror import mirrored
from training.rbm import Rbm, base_rate_bias, draw, initialise
from training.rbm_ais import ais
from training.rbm_config import TrainTable
from training.rbm_training import Plan, Step, TrainingData
from training.run import Run
from training.sheets import png_bytes, sheet
from training.stages import Stages

FIGURES_EVERY = 50
MONITOR_ROWS = 1000
BASE_RATE_IMAGES = 10_000
STAGE = "up-down"


@dataclass(frozen=True)
class LabelledImages(TrainingData):
    """Training data with the labels of both parts; zeros where there are none."""

    labels: Int64[Tensor, " n"]
    held_out_labels: Int64[Tensor, " m"]

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.labels.max()) + 1


def train_dbn(
    data: LabelledImages,
    *,
    model: DbnModelTable,
    pretraining: Sequence[TrainTable],
    train: UpDownTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
    start: Rbm | None = None,
) -> Dbn:
    """Train, or go on from the run's newest checkpoint; returns the averaged network.

    `start` is the only directed layer, where it is not to be trained first.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: a weight is no longer finite, or the chains have died.
    """
    generator = torch.Generator(data.images.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=train.checkpoint_minutes, stop=stop)
    labels = data.classes if model.labels else 0
    layers = (
        [start]
        if start
        else pretrain(
            data,
            hidden=model.hidden[:-1],
            tables=pretraining,
            doubling=undoubled(len(pretraining)),
            initial_scale=model.initial_scale,
            seed=seed,
            run=run,
            stages=stages,
            generator=generator,
        )
    )
    plan = Plan(train=train, images=len(data.images), seed=seed + 104_729)
    done, kept = stages.begin(STAGE)
    if kept is None:
        learner = _begin(
            data, layers, model, train, labels=labels, mirror=start is not None, generator=generator
        )
    else:
        learner = DbnLearner.restored(kept, labels=labels)
    with run.progress(
        f"dbn {'-'.join(map(str, model.hidden))}", total=plan.total, done=done
    ) as bar:
        for step in plan.steps(done):
            shown = _advance(step, learner, data=data, train=train, generator=generator)
            bar.advance(images=len(step.rows), **shown)
            if step.ends_epoch and (step.epoch + 1) % train.monitor_every == 0:
                _monitor(step, learner, data=data, train=train, run=run, seed=seed,
                         number=stages.updates + 1)  # fmt: skip
            stages.after_update(learner.tensors, last=step.number == plan.total)
    return learner.averaged_dbn


def restore_averaged(checkpoint: dict[str, Any], *, labels: int) -> Dbn | None:
    """The averaged network in a checkpoint; None while its layers are still pre-trained."""
    if checkpoint["stage"] != STAGE:
        return None
    return DbnLearner.restored(checkpoint["tensors"], labels=labels).averaged_dbn


def _begin(
    data: LabelledImages,
    layers: Sequence[Rbm],
    model: DbnModelTable,
    train: UpDownTable,
    *,
    labels: int,
    mirror: bool,
    generator: torch.Generator,
) -> DbnLearner:
    """A top machine with small weights, on the activities of the layers below it.

    One that is a mirror image of the layer below is no fresh one: its chains begin at the data.
    """
    v = draw(data.images[:BASE_RATE_IMAGES], generator)
    h = rise(v, layers, undoubled(len(layers)), generator)
    x = with_label(h, data.labels[:BASE_RATE_IMAGES], labels=labels)
    mean, hidden, scale = x.mean(0), model.hidden[-1], model.initial_scale
    chains = train.phases[0].chains
    if not mirror:
        top = initialise(mean, hidden=hidden, scale=scale, generator=generator)
        return DbnLearner.begin(layers, top, labels=labels, chains=chains, visible_mean=mean)
    top = mirrored(layers[0], hidden=hidden, labels=labels, scale=scale, generator=generator)
    learner = DbnLearner.begin(layers, top, labels=labels, chains=chains, visible_mean=mean)
    p = torch.sigmoid(top.hidden_input(x))
    rows = torch.arange(chains, device=p.device) % len(p)
    learner.top.particles, learner.top.hidden_offset = draw(p[rows], generator), p.mean(0)
    return learner


def _advance(
    step: Step,
    learner: DbnLearner,
    *,
    data: LabelledImages,
    train: UpDownTable,
    generator: torch.Generator,
) -> dict[str, float]:
    if len(learner.top.particles) != step.phase.chains:
        learner.top.grow(step.phase.chains)
    rows = step.rows.to(data.images.device)
    v = draw(data.images[rows], generator)
    share = step.learning_rate / train.learning_rate
    update(
        learner,
        v,
        data.labels[rows],
        rule=train.rule(step.phase),
        learning_rate=step.learning_rate,
        lower_rate=0.0 if step.epoch < train.greedy_epochs else share * train.lower_learning_rate,
        generator=generator,
    )
    if step.number % FIGURES_EVERY and not step.ends_epoch:
        return {}
    return {"epoch": step.epoch + 1, "loss": reconstruction_error(learner.dbn, v)}


def reconstruction_error(dbn: Dbn, v: Tensor) -> float:
    """Mean squared error a pixel of one mean-field pass up and down through the directed layers."""
    x = v
    for layer in dbn.layers:
        x = torch.sigmoid(layer.recognise(x))
    for layer in reversed(dbn.layers):
        x = torch.sigmoid(layer.generate(x))
    return float((x - v).square().mean())


def _monitor(
    step: Step,
    learner: DbnLearner,
    *,
    data: LabelledImages,
    train: UpDownTable,
    run: Run,
    seed: int,
    number: int,
) -> None:
    """Log how the averaged network does on held-out training images.

    It has its own generator: watching a training must not change it.
    """
    check_sane(learner.tensors(), step=number)
    check_chains(learner.top.particles, step=number)
    dbn = learner.averaged_dbn
    generator = torch.Generator(data.images.device).manual_seed(seed + number)
    held_out = draw(data.held_out[:MONITOR_ROWS], generator)
    seen = draw(data.images[:MONITOR_ROWS], generator)
    units = len(dbn.top.b) - dbn.labels
    h = dbn.rise(seen, generator)[-1]
    log_z = ais(
        dbn.top,
        labels=dbn.labels,
        base_bias=base_rate_bias(h.mean(0)),
        runs=100,
        betas=train.monitor_betas,
        generator=generator,
    )
    bounds = {
        name: mean_bound(dbn, v, log_z=log_z.value, draws=train.monitor_draws, generator=generator)
        for name, v in (("bound__held_out", held_out), ("bound__train", seen))
    }
    read = {}
    if dbn.labels:
        p = label_probabilities(dbn.top, dbn.rise(held_out, generator)[-1], labels=dbn.labels)
        wrong = p.argmax(1) != data.held_out_labels[:MONITOR_ROWS]
        read = {"labels__held_out_error": float(wrong.float().mean())}
    run.record(
        number,
        epoch=step.epoch + 1,
        learning_rate=step.learning_rate,
        **bounds,
        bound__log_z=log_z.value,
        bound__interval=log_z.high - log_z.low,
        reconstruction__held_out=reconstruction_error(dbn, held_out),
        weights__largest=float(dbn.top.W[:units].abs().max()),
        **read,
    )
    _histograms(dbn, held_out, run, number)
    p = dbn.mean_image(fantasy(learner, generator)[:100], generator)
    particles = sheet(p.reshape(-1, *data.shape).cpu().numpy(), columns=10)
    run.sheet("particles", png_bytes(particles), particles, number)


def _histograms(dbn: Dbn, held_out: Tensor, run: Run, number: int) -> None:
    """Weights of each layer both ways, and how often its units are on for held-out images."""
    x = held_out
    for depth, layer in enumerate(dbn.layers, start=1):
        x = torch.sigmoid(layer.recognise(x))
        run.histogram(f"weights/{depth}-up", layer.up, number)
        run.histogram(f"weights/{depth}-down", layer.down, number)
        run.histogram(f"activity/{depth}", x.mean(0), number)
    run.histogram("weights/top", dbn.top.W, number)
    labels = x.new_full((len(x), dbn.labels), 1 / max(dbn.labels, 1))
    activity = torch.sigmoid(dbn.top.hidden_input(torch.cat([x, labels], 1)))
    run.histogram("activity/top", activity.mean(0), number)
