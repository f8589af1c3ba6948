"""Early warning: when a training's instruments turn, what that means, and what to try.

metrics.jsonl ──series──► values by step ──turned──► one line a person should read now

A figure has turned when each of its last few values is worse than the best before them by a margin.
It is told once, at the judgement where it turns, and again only after it has recovered. Everything
is read from the run's own log, so that a resumed training knows what came before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Series = Sequence[tuple[int, float]]  # (step, value), by step

LOSING_MODES: Final = (
    "the generator is losing modes, or variety within them; try train.loss=relativistic with "
    "train.gamma_real and train.gamma_fake, train.packing=2, or train.minibatch_std=true"
)
LEAVING_DATA: Final = (
    "more samples lie off the data; try a lower train.learning_rate, or a larger train.average"
)
DIVERGING: Final = (
    "the players are drifting apart; try a lower train.learning_rate, or larger train.gamma_real "
    "and train.gamma_fake"
)
MEMORISING: Final = "the generator repeats training images; try more data, or a smaller model.width"
REPEATING: Final = "the generator repeats itself; " + LOSING_MODES.partition("; ")[2]
BEATEN: Final = (
    "the discriminator has won and the generator learns little from it; try larger "
    "train.gamma_real and train.gamma_fake, or a lower train.discriminator_rate"
)


@dataclass(frozen=True)
class Sign:
    """What is a bad sign in one figure.

    Attributes:
        figure: its name in the log.
        worse: which way is worse, or `stays above` for a level that is bad by itself.
        by: how much worse than the best before; the level, for `stays above`.
        relative: `by` is a share of the best before, rather than a difference.
        says: what it means, and what to try.
        last: how many values in a row must agree.
    """

    figure: str
    worse: Literal["falls", "rises", "stays above"]
    by: float
    says: str
    relative: bool = False
    last: int = 3

    @property
    def name(self) -> str:
        """As a sentence has it."""
        names = {"gradient__g": "the norm of G's gradient", "accuracy__pairs": "D's accuracy"}
        plain = self.figure.removeprefix("judge__").replace("_", " ")
        return names.get(self.figure, plain)

    @property
    def entries(self) -> str:
        """What its values come with."""
        return "judgements" if self.figure.startswith("judge__") else "lines of the log"


SIGNS: Final = (
    Sign("judge__modes", "falls", 0.1, LOSING_MODES, relative=True),
    Sign("judge__classes", "falls", 0.1, LOSING_MODES, relative=True),
    Sign("judge__recall", "falls", 0.1, LOSING_MODES),
    Sign("judge__coverage", "falls", 0.1, LOSING_MODES),
    Sign("judge__precision", "falls", 0.15, LEAVING_DATA),
    Sign("judge__high_quality", "falls", 0.15, LEAVING_DATA),
    Sign("judge__near_duplicates", "rises", 0.2, REPEATING),
    Sign("judge__near_copies", "rises", 0.1, MEMORISING),
    Sign("judge__frechet", "rises", 1.0, DIVERGING, relative=True),
    Sign("gradient__g", "rises", 50.0, DIVERGING, relative=True, last=10),
    Sign("accuracy__pairs", "stays above", 0.98, BEATEN, last=10),
)


def warnings(log: Path, *, signs: Iterable[Sign] = SIGNS) -> list[str]:
    """What has turned at the newest judgement in a run's metrics.jsonl, or since the one before it.

    Raises:
        OSError: the log cannot be read.
    """
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    judged = sorted({line["step"] for line in lines if any(k.startswith("judge__") for k in line)})
    since = judged[-2] if len(judged) > 1 else -1
    found = ((series(lines, sign.figure), sign) for sign in signs)
    return [text for values, sign in found if (text := turned(values, sign, since=since))]


def series(lines: Iterable[Mapping[str, Any]], figure: str) -> Series:
    """The values of one figure by step; of a step that was done twice, the later line counts."""
    found = {line["step"]: line[figure] for line in lines if line.get(figure) is not None}
    return sorted((int(step), float(value)) for step, value in found.items())


def turned(values: Series, sign: Sign, *, since: int) -> str | None:
    """One line, if the figure has turned by now and had not by step `since`."""
    now = _told(values, sign)
    return None if _told([at for at in values if at[0] <= since], sign) is not None else now


def _told(values: Series, sign: Sign) -> str | None:
    before, recent = values[: -sign.last], values[-sign.last :]
    if len(recent) < sign.last:
        return None
    last = recent[-1][1]
    if sign.worse == "stays above":
        if min(value for _, value in recent) < sign.by:
            return None
        return (
            f"{sign.name} has stayed above {sign.by:g} for {sign.last} {sign.entries}, and is "
            f"{last:.3g}: {sign.says}"
        )
    if not before:
        return None
    toward = -1.0 if sign.worse == "falls" else 1.0
    step, best = min(before, key=lambda at: toward * at[1])
    margin = sign.by * abs(best) if sign.relative else sign.by
    if margin == 0.0 or any(toward * (value - best) < margin for _, value in recent):
        return None
    verb = "fell" if sign.worse == "falls" else "rose"
    return (
        f"{sign.name} {verb} from {best:.3g} at step {step:,} to {last:.3g} over the last "
        f"{sign.last} {sign.entries}: {sign.says}"
    )
