"""The training of a deep Boltzmann machine: layer by layer, then all layers together.

grey images ──fresh Bernoulli draws──► RBM a layer (doubled) ──compose──► Dbm ──joint updates──► Dbm
                              phases: batch and chains grow, the rate decays to its end

The order of the images follows from (seed, stage, epoch); all other noise comes from one generator
whose state is in the checkpoint. So a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from training.alarms import check_images, check_sane
from training.dbm import Dbm, MeanField, mean_field
from training.dbm_ais import ais
from training.dbm_bound import mean_bound
from training.dbm_config import DeepModelTable, JointTable
from training.dbm_learning import DbmLearner, dbm_of, update
from training.layerwise import doublings, pretrain
from training.rbm import Rbm, base_rate_bias, draw
from training.rbm_config import TrainTable
from training.rbm_training import Plan, Step, TrainingData
from training.run import Run
from training.sheets import png_bytes, sheet
from training.stages import Stages

FIGURES_EVERY = 50
MONITOR_ROWS = 1000
STAGE = "joint"


def train_dbm(
    data: TrainingData,
    *,
    model: DeepModelTable,
    pretraining: Sequence[TrainTable],
    train: JointTable,
    seed: int,
    run: Run,
    stop: Callable[[], bool],
    start: Rbm | None = None,
) -> Dbm:
    """Train, or go on from the run's newest checkpoint; returns the averaged machine.

    `start` is the first layer, where no layer is to be trained by itself.

    Raises:
        Interrupted: `stop` said so; a checkpoint is written.
        TrainingDiverged: the weights are no longer finite, or the chains have died.
    """
    generator = torch.Generator(data.images.device).manual_seed(seed)
    stages = Stages(run, generator, minutes=train.checkpoint_minutes, stop=stop)
    layers = (
        []
        if start
        else pretrain(
            data,
            hidden=model.hidden,
            tables=pretraining,
            doubling=doublings(len(model.hidden)),
            initial_scale=model.initial_scale,
            seed=seed,
            run=run,
            stages=stages,
            generator=generator,
        )
    )
    plan = Plan(train=train, images=len(data.images), seed=seed + 104_729)
    done, kept = stages.begin(STAGE)
    if kept is not None:
        learner = _restored(kept, generator)
    else:
        if start is not None:
            layers = upon(start, model.hidden, scale=model.initial_scale, generator=generator)
        learner = _begin(data, layers, train, generator)
    names = "-".join(map(str, learner.dbm.sizes))
    with run.progress(f"dbm {names}", total=plan.total, done=done) as bar:
        for step in plan.steps(done):
            shown = _advance(step, learner, data=data, train=train, generator=generator)
            bar.advance(images=len(step.rows), **shown)
            if step.ends_epoch and (step.epoch + 1) % train.monitor_every == 0:
                _monitor(step, learner, data=data, train=train, run=run, seed=seed,
                         number=stages.updates + 1)  # fmt: skip
            stages.after_update(learner.tensors, last=step.number == plan.total)
    return learner.averaged.copy()


def upon(
    first: Rbm, hidden: Sequence[int], *, scale: float, generator: torch.Generator
) -> list[Rbm]:
    """`first`, and layers above it that say nothing while their weights are small.

    Composed, they are a deep machine with the marginal of `first`, up to the square of `scale`: the
    units of a layer above are fair coins at first, and the layer below has its biases less what
    they say to it on average. Mean-field is then nearly exact.
    """
    layers = [first]
    for units in hidden[1:]:
        below = layers[-1].c
        shape = (len(below), units)
        noise = torch.randn(shape, generator=generator, device=below.device, dtype=below.dtype)
        # `compose` takes the mean of the two biases: twice a half of every weight is taken away.
        layers.append(
            Rbm(W=scale * noise, b=below - scale * noise.sum(1), c=below.new_zeros(units))
        )
    return layers


def compose(layers: Sequence[Rbm]) -> Dbm:
    """The deep machine of pre-trained layers.

    A hidden layer between two machines was hidden in one and visible in the other: each gave it the
    whole of its bias and of its (doubled) input, so that the mean of the two log-odds has the
    weights once, and the mean of the biases. Salakhutdinov & Hinton (2009), §3.1.
    """
    between = [(low.c + high.b) / 2 for low, high in pairwise(layers)]
    biases = (layers[0].b, *between, layers[-1].c)
    return Dbm(W=tuple(rbm.W for rbm in layers), b=biases).copy()


def restore_averaged(checkpoint: dict[str, Any]) -> Dbm | None:
    """The averaged machine in a checkpoint; None while its layers are still pre-trained."""
    if checkpoint["stage"] != STAGE:
        return None
    named = checkpoint["tensors"]
    return dbm_of(
        {n.removeprefix("averaged."): t for n, t in named.items() if n.startswith("averaged.")}
    )


def _begin(
    data: TrainingData, layers: Sequence[Rbm], train: JointTable, generator: torch.Generator
) -> DbmLearner:
    """Particles start from the posterior of training images, as many as the first phase has."""
    chains = train.phases[0].chains
    v = draw(data.images[:chains], generator)
    return DbmLearner.begin(compose(layers), data=v, chains=chains, generator=generator)


def _restored(kept: dict[str, Tensor], generator: torch.Generator) -> DbmLearner:
    return DbmLearner.restored(kept, generator.device)


def _advance(
    step: Step,
    learner: DbmLearner,
    *,
    data: TrainingData,
    train: JointTable,
    generator: torch.Generator,
) -> dict[str, float]:
    if learner.chains != step.phase.chains:
        learner.grow(step.phase.chains)
    v = draw(data.images[step.rows.to(data.images.device)], generator)
    update(
        learner,
        v,
        rule=train.joint_rule(step.phase),
        learning_rate=step.learning_rate,
        generator=generator,
    )
    if step.number % FIGURES_EVERY and not step.ends_epoch:
        return {}
    return {"epoch": step.epoch + 1, "loss": reconstruction_error(learner.dbm, v)}


def reconstruction_error(dbm: Dbm, v: Tensor) -> float:
    """Mean squared error a pixel of p(v | μ¹), with μ the mean-field of v."""
    mu = mean_field(dbm, v, MeanField(updates=5))
    seen = torch.sigmoid(dbm.input(0, {1: mu[1]}))
    return float((seen - v).square().mean())


def _monitor(
    step: Step,
    learner: DbmLearner,
    *,
    data: TrainingData,
    train: JointTable,
    run: Run,
    seed: int,
    number: int,
) -> None:
    """Log how the averaged machine does on held-out training images.

    It has its own generator: watching a training must not change it.
    """
    check_sane(learner.tensors(), step=number)
    check_images(torch.sigmoid(learner.dbm.input(0, learner.particles)), step=number)
    dbm = learner.averaged
    generator = torch.Generator(data.images.device).manual_seed(seed + number)
    held_out = draw(data.held_out[:MONITOR_ROWS], generator)
    seen = draw(data.images[:MONITOR_ROWS], generator)
    base = base_rate_bias(data.images.mean(0))
    log_z = ais(dbm, base_bias=base, runs=100, betas=train.monitor_betas, generator=generator)
    rule = MeanField()
    run.record(
        number,
        epoch=step.epoch + 1,
        learning_rate=step.learning_rate,
        bound__held_out=mean_bound(dbm, held_out, log_z=log_z.value, rule=rule),
        bound__train=mean_bound(dbm, seen, log_z=log_z.value, rule=rule),
        bound__log_z=log_z.value,
        bound__interval=log_z.high - log_z.low,
        reconstruction__held_out=reconstruction_error(dbm, held_out),
        weights__largest=max(float(W.abs().max()) for W in dbm.W),
    )
    mu = mean_field(dbm, held_out, rule)
    for layer, W in enumerate(dbm.W, start=1):
        run.histogram(f"weights/{layer}", W, number)
        run.histogram(f"activity/{layer}", mu[layer].mean(0), number)
    p = torch.sigmoid(dbm.input(0, {1: learner.particles[1][:100]}))
    particles = sheet(p.reshape(-1, *data.shape).cpu().numpy(), columns=10)
    run.sheet("particles", png_bytes(particles), particles, number)
