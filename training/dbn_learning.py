"""How a deep belief network learns: the top machine by likelihood, the layers by wake and sleep.

wake:   v ──recognition──► h¹ … h^{L-1} ──► generative weights; [h^{L-1}, label] ──► top machine
sleep:  fantasy of the top machine ──generation──► h^{L-2} … v ──► recognition weights

The up-down algorithm of Hinton, Osindero & Teh (2006), §5 and Appendix B, with the top machine's
chains persistent and its gradient centred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from training.dbn import Dbn, Directed
from training.label_units import draw_visible, with_label
from training.rbm import Rbm
from training.rbm_learning import LearnerState, LearningRule
from training.rbm_learning import update as update_rbm


@dataclass
class DbnLearner:
    """Everything that an update reads and writes, so everything that a checkpoint keeps.

    Attributes:
        top: of the top machine; its particles are states of h^L.
        layers: the directed layers; updates are in place.
        averaged: their exponential average.
        labels: label units of the top machine; 0 for none.
    """

    top: LearnerState
    layers: tuple[Directed, ...]
    averaged: tuple[Directed, ...]
    labels: int

    @classmethod
    def begin(
        cls,
        layers: Sequence[Rbm],
        top: Rbm,
        *,
        labels: int,
        chains: int,
        visible_mean: Float[Tensor, " visible"],
    ) -> DbnLearner:
        """The state before the first update; `visible_mean` is that of the top's visible units."""
        return cls(
            top=LearnerState.begin(top, chains=chains, visible_mean=visible_mean),
            layers=tuple(Directed.of(rbm) for rbm in layers),
            averaged=tuple(Directed.of(rbm) for rbm in layers),
            labels=labels,
        )

    @property
    def dbn(self) -> Dbn:
        """The network as it learns; shares memory with the learner."""
        return Dbn(layers=self.layers, top=self.top.rbm, labels=self.labels)

    @property
    def averaged_dbn(self) -> Dbn:
        """The network with averaged weights; shares memory with the learner."""
        return Dbn(layers=self.averaged, top=self.top.averaged, labels=self.labels)

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for a checkpoint."""
        named = {f"top.{name}": tensor for name, tensor in self.top.tensors().items()}
        for kind, layers in (("now", self.layers), ("averaged", self.averaged)):
            for i, layer in enumerate(layers):
                named |= {f"{kind}.{i}.{f.name}": getattr(layer, f.name) for f in fields(layer)}
        return named

    @classmethod
    def restored(cls, named: Mapping[str, Tensor], *, labels: int) -> DbnLearner:
        """The learner that `tensors` gave."""
        top = {n.removeprefix("top."): t for n, t in named.items() if n.startswith("top.")}
        return cls(
            top=LearnerState(**top),
            layers=_directed(named, "now"),
            averaged=_directed(named, "averaged"),
            labels=labels,
        )


def _directed(named: Mapping[str, Tensor], kind: str) -> tuple[Directed, ...]:
    depth = sum(name.startswith(f"{kind}.") and name.endswith(".up") for name in named)
    return tuple(
        Directed(**{f.name: named[f"{kind}.{i}.{f.name}"] for f in fields(Directed)})
        for i in range(depth)
    )


def update(
    learner: DbnLearner,
    v: Float[Tensor, "batch visible"],
    y: Int64[Tensor, " batch"],
    *,
    rule: LearningRule,
    learning_rate: float,
    lower_rate: float,
    generator: torch.Generator,
) -> None:
    """One step of the up-down algorithm, in place.

    Args:
        learner: parameters, averages and particles.
        v: a batch of binary data.
        y: its labels; not looked at where the network has no label units.
        rule: what an update of the top machine takes; its average's decay holds for all.
        learning_rate: of the top machine, > 0.
        lower_rate: of the directed layers; 0 leaves them alone.
        generator: of all noise.
    """
    dbn = learner.dbn
    states = dbn.rise(v, generator)
    x = with_label(states[-1], y, labels=learner.labels)
    update_rbm(
        learner.top,
        x,
        rule=rule,
        learning_rate=learning_rate,
        generator=generator,
        labels=learner.labels,
    )
    if not lower_rate:
        return
    wake(learner.layers, states, rate=lower_rate)
    sleep(learner.layers, dbn.descend(fantasy(learner, generator), generator), rate=lower_rate)
    for now, average in zip(learner.layers, learner.averaged, strict=True):
        for field in fields(now):
            getattr(average, field.name).lerp_(getattr(now, field.name), 1 - rule.ema_decay)


def fantasy(learner: DbnLearner, generator: torch.Generator) -> Float[Tensor, "chains units"]:
    """h^{L-1} given the top machine's particles."""
    rbm = learner.top.rbm
    log_odds = rbm.visible_input(learner.top.particles)
    x = draw_visible(log_odds, labels=learner.labels, generator=generator)
    return x[:, : x.shape[1] - learner.labels]


def wake(layers: Sequence[Directed], states: Sequence[Tensor], *, rate: float) -> None:
    """Ascend log p(h^{l-1} | h^l) of recognised states in the generative weights.

    ∇down = <(h^{l-1} - p) h^lᵀ>, ∇b = <h^{l-1} - p>, with p the prediction from h^l.
    """
    for layer, x, h in zip(layers, states, states[1:], strict=False):
        surprise = x - torch.sigmoid(layer.generate(h))
        layer.down.addmm_(surprise.T, h, alpha=rate / len(x))
        layer.b.add_(surprise.mean(0), alpha=rate)


def sleep(layers: Sequence[Directed], states: Sequence[Tensor], *, rate: float) -> None:
    """Ascend log q(h^l | h^{l-1}) of dreamt states in the recognition weights.

    ∇up = <h^{l-1} (h^l - q)ᵀ>, ∇c = <h^l - q>, with q the prediction from h^{l-1}.
    """
    for layer, x, h in zip(layers, states, states[1:], strict=False):
        surprise = h - torch.sigmoid(layer.recognise(x))
        layer.up.addmm_(x.T, surprise, alpha=rate / len(x))
        layer.c.add_(surprise.mean(0), alpha=rate)
