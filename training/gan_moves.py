"""One step of the adversarial game: D's moves, then G's, then a step of the generator's average.

real, z ──G──► fake ──augment, pack──► D ──► loss + penalties ──Adam──► D, then G ──► Average.follow
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from training.gan_options import GanTraining
from training.losses import LOSSES, input_gradient, wgan_gp_penalty
from training.networks import of_class
from training.players import Players, follow
from training.run import check_finite

Figures = dict[str, float]


@dataclass(frozen=True)
class Examples:
    """Images in [0, 1], or points, with their classes where the players know of any."""

    images: Float[Tensor, "n ..."]
    labels: Int[Tensor, " n"] | None = None

    def take(self, rows: Int[Tensor, " m"] | slice) -> Examples:
        """Some rows."""
        at = rows if isinstance(rows, slice) else rows.to(self.images.device)
        return Examples(self.images[at], None if self.labels is None else self.labels[at])

    def followed_by(self, other: Examples) -> Examples:
        """These, then the others, which have labels if these have."""
        images = torch.cat([self.images, other.images])
        if self.labels is None or other.labels is None:
            return Examples(images)
        return Examples(images, torch.cat([self.labels, other.labels]))

    def halves(self) -> tuple[Examples, Examples]:
        """The inverse of `followed_by`, of as many."""
        n = len(self.images) // 2
        return self.take(slice(n)), self.take(slice(n, None))


@dataclass(frozen=True)
class Sight:
    """What D makes of rows, or of packs of them."""

    features: Float[Tensor, "n f h w"] = field(repr=False)
    logits: Float[Tensor, " n"]


def adversarial_step(
    players: Players, real: Examples, *, config: GanTraining, step: int
) -> Figures:
    """One move of G after n_critic of D, on draws of z, and a step of the average.

    `real` holds the images of all moves. With labels, each generated image is of the class of the
    real one that it is paired with.
    """
    progress = step / config.steps
    _set_rates(players, config, progress=progress)
    penalised = step % config.penalty_every == 0 and config.penalises
    strength = cosine(progress, last=config.final_gamma) * config.penalty_every * penalised
    *before, last = _parts(real, config.n_critic)
    lower = config.precision == "bfloat16"
    with torch.autocast(real.images.device.type, torch.bfloat16, enabled=lower):
        for part in before:
            with torch.no_grad():
                made = _generate(players, part)
            discriminator_step(players, part, made, config=config, strength=strength)
        fake = _generate(players, last)
        seen = Examples(fake.images.detach(), last.labels)
        figures = discriminator_step(players, last, seen, config=config, strength=strength)
        figures |= generator_step(players, last, fake, config=config)
    for name in ("loss__d", "loss__g"):
        check_finite(name, figures[name], step=step)
    follow(players.average, players.generator, decay=min(config.average, step / (step + 10.0)))
    if config.augment == "adaptive":
        players.augmentation.heed(figures["accuracy__pairs"], images=len(last.images))
        figures["augment__p"] = players.augmentation.p
    return figures


def discriminator_step(
    players: Players, real: Examples, fake: Examples, *, config: GanTraining, strength: float
) -> Figures:
    """D's move: its loss, R₁ and R₂ times `strength` where that is not 0, and WGAN-GP's penalty."""
    both = real.followed_by(fake)
    both.images.requires_grad_(strength > 0)
    logits = _both_logits(players, both)
    on_real, on_fake = logits.chunk(2)
    smoothing = {"smoothing": config.label_smoothing} if config.label_smoothing else {}
    loss = total = LOSSES[config.loss].discriminator(real=on_real, fake=on_fake, **smoothing)
    if strength > 0:
        # E over each half: one penalty a row, weighed by its kind, then the mean of each half.
        gradient = input_gradient(logits=logits, images=both.images)
        r1, r2 = gradient.flatten(1).square().sum(1).chunk(2)
        total = loss + 0.5 * strength * (
            config.gamma_real * r1.mean() + config.gamma_fake * r2.mean()
        )
    if config.wgan_gp > 0:
        total = total + _between(players, real, fake, weight=config.wgan_gp)
    norm = _move(players.optimizers["discriminator"], players.discriminator, total)
    if config.clip > 0:
        clip_weights(players.discriminator, most=config.clip)
    return {
        "loss__d": float(loss.detach()),
        "accuracy__pairs": float((on_real > on_fake).float().mean()),
        "gradient__d": norm,
    }


def generator_step(
    players: Players, real: Examples, fake: Examples, *, config: GanTraining
) -> Figures:
    """G's move, against the discriminator that has just moved."""
    game = LOSSES[config.loss]
    players.discriminator.requires_grad_(False)
    on_fake = look(players, fake)
    on_real: Sight | None = None
    if game.generator_sees_real or config.feature_matching > 0:
        with torch.no_grad():
            on_real = look(players, real)
    against = torch.zeros_like(on_fake.logits) if on_real is None else on_real.logits
    loss = total = game.generator(real=against, fake=on_fake.logits)
    if config.feature_matching > 0:
        assert on_real is not None
        apart = on_fake.features.float().mean(0) - on_real.features.float().mean(0)
        total = loss + config.feature_matching * apart.square().sum()
    norm = _move(players.optimizers["generator"], players.generator, total)
    players.discriminator.requires_grad_(True)
    return {"loss__g": float(loss.detach()), "gradient__g": norm}


def look(players: Players, x: Examples) -> Sight:
    """D(T(x)), the last sum in float32: bfloat16 would round the differences of logits away."""
    d = players.discriminator
    changed = players.augmentation(x.images, players.noise)
    features = d.features(packed(changed, d.packing))
    with torch.autocast(x.images.device.type, enabled=False):
        return Sight(features, d.realism(features.float(), x.labels))


def packed(x: Float[Tensor, "n c ..."], packing: int) -> Float[Tensor, "m many ..."]:
    """Every `packing` rows one behind the other: [n/packing, packing·c, …]. Lin et al. (2018)."""
    return x if packing == 1 else x.reshape(len(x) // packing, -1, *x.shape[2:])


def clip_weights(player: nn.Module, *, most: float) -> None:
    """Every weight between −most and most: a Lipschitz bound of a crude kind."""
    with torch.no_grad():
        for parameter in player.parameters():
            parameter.clamp_(-most, most)


def cosine(progress: float, *, last: float) -> float:
    """From 1 at progress 0 to `last` at progress 1, along half a cosine."""
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def _both_logits(players: Players, both: Examples) -> Float[Tensor, " n"]:
    """In one pass, or in one for each half where D looks at the rows together."""
    if not players.discriminator.mixes_rows:
        return look(players, both).logits
    return torch.cat([look(players, half).logits for half in both.halves()])


def _between(players: Players, real: Examples, fake: Examples, *, weight: float) -> Tensor:
    d = players.discriminator
    ends = [
        packed(players.augmentation(end.images, players.noise), d.packing).detach()
        for end in (real, fake)
    ]
    mix = torch.rand(len(ends[0]), generator=players.noise).to(ends[0])
    return wgan_gp_penalty(
        discriminator=lambda x: d(x, real.labels),
        real=ends[0],
        fake=ends[1],
        mix=mix,
        weight=weight,
    )


def _generate(players: Players, real: Examples) -> Examples:
    """Images of fresh codes, each of the class of its real one."""
    z = torch.randn(len(real.images), players.generator.latent, generator=players.noise)
    if real.labels is not None and not players.generator.labelled:
        z = of_class(z, real.labels.cpu(), classes=players.generator.classes)
    made = players.generator(z.to(real.images.device), real.labels).float()
    return Examples(made, real.labels)


def _parts(real: Examples, n: int) -> list[Examples]:
    size = len(real.images) // n
    return [real.take(slice(i * size, (i + 1) * size)) for i in range(n)] if n > 1 else [real]


def _set_rates(players: Players, config: GanTraining, *, progress: float) -> None:
    rates = {
        "generator": config.learning_rate,
        "discriminator": config.discriminator_rate or config.learning_rate,
    }
    for name, optimizer in players.optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = rates[name] * cosine(progress, last=config.final_rate)


def _move(optimizer: torch.optim.Adam, player: nn.Module, loss: Tensor) -> float:
    optimizer.zero_grad()
    torch.autograd.backward([loss])
    gradients = [p.grad for p in player.parameters() if p.grad is not None]
    norm = float(nn.utils.get_total_norm(gradients))
    optimizer.step()
    return norm
