"""Anomaly protocol A: one class is normal, all others are anomalous; once for every class.

training images of the class ──families──► detectors
held-out images, first half ──► AUROC that chooses one score a family
test images ──► AUROC, and with held-out normals of the second half the share of p ≤ α

A finished class is a file, `class-N.json`, so that an interrupted benchmark goes on after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from service.domain.anomaly import conformal_p_values
from training.anomaly import auroc
from training.benchmarks.anomaly_config import AnomalyConfig
from training.benchmarks.detectors import FAMILIES
from training.benchmarks.normality import OUTSIDE_THE_PROTOCOL, Normality, RowScores, flat
from training.config import ConfigError
from training.data import Dataset, load, split_holdout
from training.run import Interrupted, RunConflict


@dataclass(frozen=True)
class Outcome:
    """How one method does on one class.

    Attributes:
        auroc: on the test images.
        held_out_auroc: on the first half of the held-out training images, which chooses.
        share: of normal test images with conformal p ≤ α.
        calibration: how many held-out normal images p-values are calibrated with.
    """

    auroc: float
    held_out_auroc: float
    share: float
    calibration: int


Outcomes = Mapping[str, Mapping[str, Outcome]]  # family → method → outcome


@dataclass(frozen=True)
class Splits:
    """The data of all classes, in the parts that the protocol needs."""

    train: Dataset
    choosing: Dataset
    calibration: Dataset
    test: Dataset

    @classmethod
    def of(cls, config: AnomalyConfig) -> Splits:
        """Held-out images are halved in their order in the file, which says nothing of classes.

        Raises:
            ConfigError: the data has no labels.
        """
        train, held_out = split_holdout(load(config.data), config.data.holdout, config.seed)
        if held_out.labels is None:
            raise ConfigError(f"{config.data.title} has no labels: protocol A needs classes")
        half = len(held_out) // 2
        return cls(
            train=train,
            choosing=held_out.take(slice(half)),
            calibration=held_out.take(slice(half, None)),
            test=load(config.data, "test"),
        )


def run_protocol(
    config: AnomalyConfig,
    digits: Sequence[int],
    *,
    folder: Path,
    stop: Callable[[], bool],
    on_digit: Callable[[int, bool], None],
) -> dict[str, Any]:
    """The results of these classes as plain JSON values; finished ones are read from `folder`.

    `on_digit` is told each class and whether it is there already.

    Raises:
        ConfigError: a class is not in the data.
        Interrupted: `stop` said so; what is finished is kept.
        RunConflict: `folder` holds results of another configuration.
    """
    splits = Splits.of(config)
    found: dict[int, Outcomes] = {}
    for digit in digits:
        if stop():
            raise Interrupted(f"stopped before digit {digit}")
        kept = _kept(folder, digit, config)
        on_digit(digit, kept is not None)
        if kept is None:
            kept = judge_class(digit, splits, config, folder=folder, stop=stop)
            _keep(folder, digit, kept, config)
        found[digit] = kept
    return {
        "question": "anomaly protocol A",
        "config": config.model_dump(mode="json"),
        "test_images": len(splits.test),
        "digits": {str(digit): _plain(outcomes) for digit, outcomes in found.items()},
        "chosen": chosen_methods(list(found.values())),
    }


def judge_class(
    digit: int,
    splits: Splits,
    config: AnomalyConfig,
    *,
    folder: Path,
    stop: Callable[[], bool],
) -> Outcomes:
    """Every family's methods with `digit` as the normal class."""
    normal = Normality(
        digit=digit,
        images=_of_class(splits.train, digit),
        everyone=splits.train,
        folder=folder,
        stop=stop,
    )
    outcomes: dict[str, dict[str, Outcome]] = {}
    for family, learn in FAMILIES.items():
        outcomes[family] = {
            method: _outcome(score, digit, splits, alpha=config.alpha)
            for method, score in learn(normal, config).items()
        }
    return outcomes


def chosen_methods(found: Sequence[Outcomes]) -> dict[str, str]:
    """Each family's method with the highest mean AUROC on held-out training images."""
    return {
        family: max(
            (method for method in found[0][family] if method != OUTSIDE_THE_PROTOCOL),
            key=lambda m: sum(outcomes[family][m].held_out_auroc for outcomes in found),
        )
        for family in found[0]
    }


def _outcome(score: RowScores, digit: int, splits: Splits, *, alpha: float) -> Outcome:
    test = score(flat(splits.test))
    choosing = score(flat(splits.choosing))
    held_out = np.sort(score(flat(_of_class(splits.calibration, digit))))
    normal = _is(splits.test, digit)
    p = conformal_p_values(test[normal], calibration=held_out)
    known = _is(splits.choosing, digit)
    return Outcome(
        auroc=auroc(normal=test[normal], anomalous=test[~normal]),
        held_out_auroc=auroc(normal=choosing[known], anomalous=choosing[~known]),
        share=float((p <= alpha).mean()),
        calibration=len(held_out),
    )


def _of_class(data: Dataset, digit: int) -> Dataset:
    """The images of one class.

    Raises:
        ConfigError: there is none.
    """
    rows = _is(data, digit)
    if not rows.any():
        raise ConfigError(f"class {digit} has no images in {data.name}: name one that it has")
    return data.take(rows)


def _is(data: Dataset, digit: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    assert data.labels is not None
    mask: np.ndarray[Any, np.dtype[np.bool_]] = data.labels == digit
    return mask


def _kept(folder: Path, digit: int, config: AnomalyConfig) -> Outcomes | None:
    path = folder / f"class-{digit}.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text("utf-8"))
    if _validated(document["config"]) != config:
        raise RunConflict(f"{path} comes from another configuration: give the same one, or --fresh")
    if set(document["outcomes"]) != set(FAMILIES):
        return None  # a family came or went since; the machines are kept, and only scored again
    return {
        family: {method: Outcome(**fields) for method, fields in methods.items()}
        for family, methods in document["outcomes"].items()
    }


def _validated(recorded: object) -> AnomalyConfig | None:
    """The recorded configuration; tables that came later have their defaults."""
    try:
        return AnomalyConfig.model_validate(recorded)
    except ValidationError:
        return None


def _keep(folder: Path, digit: int, outcomes: Outcomes, config: AnomalyConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"config": config.model_dump(mode="json"), "outcomes": _plain(outcomes)}
    temporary = folder / f".class-{digit}.{os.getpid()}"
    temporary.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    temporary.rename(folder / f"class-{digit}.json")


def _plain(outcomes: Outcomes) -> dict[str, dict[str, dict[str, float]]]:
    return {
        family: {method: asdict(outcome) for method, outcome in methods.items()}
        for family, methods in outcomes.items()
    }
