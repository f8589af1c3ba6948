"""The `[train]` table of a GAN: its game, its pace, and the remedies that may be switched on.

[train] ──► GanTraining (a game and its rates) and Remedies (all off) ──► Critic, Augmentation
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from training.augment import TRANSFORMS, Augmentation
from training.config import Table
from training.shapes import Critic

SMOOTHED = ("minimax", "non_saturating", "least_squares")


class Remedies(Table):
    """What can be switched on against collapse and divergence; as it stands, all is off.

    A field that has its default is left out of a run's record, so that a run from before the field
    was there goes on.
    """

    n_critic: int = Field(
        1, ge=1, le=100, description="Steps of D before each of G; each sees its own images."
    )
    discriminator_rate: float | None = Field(
        None, gt=0, description="Adam's rate for D (Heusel et al. 2017); none: learning_rate."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="D's target for real images is 1 minus this (one-sided)."
    )
    clip: float = Field(
        0.0, ge=0, description="D's weights are kept in ±this (Arjovsky et al. 2017); 0: they are "
        "not."
    )  # fmt: skip
    wgan_gp: float = Field(
        0.0, ge=0, description="Weight λ of (‖∇D‖ − 1)² between real and fake; 10 is usual."
    )
    feature_matching: float = Field(
        0.0, ge=0, description="Weight of ‖E f(x) − E f(G(z))‖² in G's loss (Salimans et al. 2016)."
    )
    packing: int = Field(
        1, ge=1, le=16, description="Images that D judges together, as one (PacGAN)."
    )
    minibatch_std: bool = Field(
        default=False, description="D sees the batch's mean standard deviation of its features."
    )
    minibatch_discrimination: int = Field(
        0, ge=0, le=1000, description="Kernels by which D sees how near the batch's images are."
    )
    spectral_norm: bool = Field(
        default=False, description="Every layer of D has largest singular value 1."
    )
    augment: Literal["none", "fixed", "adaptive"] = Field(
        "none", description="Whether D sees changed images; adaptive: as often as it overfits."
    )
    augment_p: float = Field(
        0.0, ge=0, le=1, description="Probability of each transform; at the start, if adaptive."
    )
    augment_target: float = Field(
        0.6, ge=0, lt=1, description="Adaptive: E sign(D(x) − D(G(z))) that p is steered to."
    )
    augment_images: int = Field(
        50_000, ge=1, description="Adaptive: images in which p can go from 0 to 1."
    )
    transforms: tuple[Literal["translate", "cutout", "noise", "brightness", "flip"], ...] = Field(
        ("translate", "cutout", "noise"),
        min_length=1,
        description="Which; digits must not be flipped.",
    )

    def critic(self) -> Critic:
        """What the discriminator is built with."""
        return Critic(
            packing=self.packing,
            minibatch_std=self.minibatch_std,
            kernels=self.minibatch_discrimination,
            spectral_norm=self.spectral_norm,
        )

    def augmentation(self) -> Augmentation:
        """The transforms, as often as at the start."""
        p = 0.0 if self.augment == "none" else self.augment_p
        return Augmentation(
            p=p,
            transforms=tuple(TRANSFORMS[name] for name in self.transforms),
            target=self.augment_target if self.augment == "adaptive" else None,
            images=self.augment_images,
        )


class GanTraining(Remedies):
    """The `[train]` table of a GAN's recipe."""

    steps: int = Field(28_000, ge=1, description="Steps of both players.")
    batch: int = Field(64, ge=2, description="Images a step.")
    loss: Literal[
        "relativistic", "non_saturating", "minimax", "least_squares", "wasserstein", "hinge"
    ] = Field("relativistic", description="The game; see training/losses.py.")
    learning_rate: float = Field(4e-4, gt=0, description="Adam's, at the start.")
    final_rate: float = Field(0.1, gt=0, le=1, description="The last rate, as a share of it.")
    beta1: float = Field(0.0, ge=0, lt=1, description="Adam's momentum; 0 for R3GAN.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Adam's decay of squares.")
    gamma_real: float = Field(0.5, ge=0, description="R₁'s γ at the start, for pixels in [0, 1].")
    gamma_fake: float = Field(0.5, ge=0, description="R₂'s γ at the start.")
    final_gamma: float = Field(0.1, gt=0, le=1, description="The last γ, as a share of the first.")
    penalty_every: int = Field(
        2, ge=1, description="Lazy regularisation (Karras et al. 2020): every k-th step, k-fold."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Of the convolutions; bfloat16 is 1.6 × faster on AVX512-BF16."
    )
    average: float = Field(0.999, ge=0, lt=1, description="Decay of the generator's average (EMA).")
    judge_every: int = Field(1000, ge=1, description="Steps between two judgements.")
    save_every: int = Field(1000, ge=1, description="Steps between two checkpoints.")
    log_every: int = Field(100, ge=1, description="Steps between two lines of the log.")

    @property
    def penalises(self) -> bool:
        """Whether D is differentiated by its images, for R₁ or R₂."""
        return self.gamma_real > 0 or self.gamma_fake > 0

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.label_smoothing and self.loss not in SMOOTHED:
            raise ValueError(
                f"train.label_smoothing={self.label_smoothing:g} has no target to smooth in "
                f"loss={self.loss!r}: set it to 0, or use one of {', '.join(SMOOTHED)}"
            )
        if self.batch % self.packing:
            raise ValueError(
                f"train.packing={self.packing} does not divide train.batch={self.batch}: "
                f"use a batch of {self.batch + self.packing - self.batch % self.packing}"
            )
        if self.packing == self.batch and (self.minibatch_std or self.minibatch_discrimination):
            raise ValueError(
                f"train.packing={self.packing} makes one pack of the batch, which has no other to "
                "be compared with: raise train.batch"
            )
        return self
