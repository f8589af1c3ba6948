"""From what is asked to what is ordered: every default filled in, every name looked up.

Asked + the model's manifest ──► Order, which decides every byte
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from service.augmentation.examples import check_format, chunk_rows_of, dtype_of
from service.augmentation.order import Acceptance, Dtype, Format, Order, Reporting
from service.augmentation.plan import BLOCK_ROWS, MAX_ROWS
from service.contract import ImageData, Manifest, Role, TableData
from service.domain.randomness import draw_seed
from service.errors import InvalidInput, MissingCapability
from service.settings import Settings

Labels = Mapping[str, int] | Literal["balanced"]


@dataclass(frozen=True, kw_only=True)
class TopUp:
    """Rows that a data set lacks: it has `have` of each label, and is to have `to`.

    `to`: counts by label, one count for all labels, or as many as the largest class has.
    """

    have: Mapping[str, int]
    to: Mapping[str, int] | int | Literal["largest"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """An order as somebody gives it; None is for what they leave out."""

    model: str
    n: int | None = None
    seed: int | None = None
    labels: Labels | None = None
    top_up: TopUp | None = None
    format: Format = "parquet"
    dtype: Dtype | None = None
    chunk_rows: int | None = None
    truncation: float | None = None
    temperature: float | None = None
    burn_in: int | None = None
    values: Literal["mean", "sample"] = "mean"
    accept: Acceptance = field(default_factory=Acceptance)
    unique: bool = False
    report: bool = True


def resolve(
    asked: Asked,
    model: Manifest,
    judge: Manifest | None,
    settings: Settings,
    *,
    report: Reporting | None = None,
) -> Order:
    """The order that was meant.

    Raises:
        InvalidInput: with a pointer at what is wrong.
        MissingCapability: the model, or its judge, cannot do this.
    """
    _check_sampling(model)
    check_format(asked.format, asked.dtype, model)
    counts = _counts(asked, model)
    n = sum(counts) if counts is not None else (asked.n or 0)
    _check_rows(n, settings)
    _check_sweeps(asked.burn_in, settings)
    return Order(
        model=model.id,
        digest=model.digest,
        n=n,
        seed=draw_seed() if asked.seed is None else asked.seed,
        format=asked.format,
        dtype=dtype_of(asked.format, asked.dtype),
        chunk_rows=chunk_rows_of(asked.chunk_rows, model),
        labels=model.labels.names if counts is not None and model.labels else None,
        counts=counts,
        truncation=asked.truncation,
        temperature=asked.temperature,
        burn_in=asked.burn_in,
        values=asked.values,
        accept=_acceptance(asked.accept, model, judge, conditional=counts is not None),
        unique=asked.unique,
        report=report,
    )


def _check_sampling(model: Manifest) -> None:
    if "sample" not in model.capabilities:
        raise MissingCapability(
            f"{model.id} cannot sample; it can {', '.join(model.capabilities) or 'do nothing'}"
        )


def _counts(asked: Asked, model: Manifest) -> tuple[int, ...] | None:
    """Rows for each label of a conditional model; None for a model without labels."""
    if asked.labels is not None and asked.top_up is not None:
        raise InvalidInput("labels and top_up both say how many: give one", pointer="/top_up")
    if not is_conditional(model) or model.labels is None:
        for name in ("labels", "top_up"):
            if getattr(asked, name) is not None:
                raise InvalidInput(
                    f"{model.id} is not conditional: leave {name} out, and give n",
                    pointer=f"/{name}",
                )
        if asked.n is None:
            raise InvalidInput("n is missing: say how many rows", pointer="/n")
        return None
    unasked = asked.labels is None and asked.top_up is None
    if unasked and asked.n is not None and isinstance(model.data, TableData):
        return None  # rows as they come: labels are as frequent as in the training rows
    return _by_label(asked, model.labels.names)


def _by_label(asked: Asked, names: tuple[str, ...]) -> tuple[int, ...]:
    if asked.top_up is not None:
        counts = _topped_up(asked.top_up, names)
    elif isinstance(asked.labels, Mapping):
        counts = by_class(asked.labels, names, pointer="/labels")
    elif asked.n is None:
        raise InvalidInput("n is missing: say how many rows, or labels with counts", pointer="/n")
    else:
        each, over = divmod(asked.n, len(names))
        counts = tuple(each + (k < over) for k in range(len(names)))
    if asked.n is not None and sum(counts) != asked.n:
        raise InvalidInput(
            f"n={asked.n}, but the labels come to {sum(counts)}: leave n out", pointer="/n"
        )
    return counts


def is_conditional(model: Manifest) -> bool:
    """Whether an order of the model is by class: a table's is where it asks for labels."""
    if isinstance(model.data, TableData):
        return model.data.label_column is not None and model.labels is not None
    spec = model.functions.get("generate") or model.functions["sweep"]
    return spec.input(Role.LABEL) is not None and model.labels is not None


def _topped_up(asked: TopUp, names: tuple[str, ...]) -> tuple[int, ...]:
    have = by_class(asked.have, names, pointer="/top_up/have")
    if isinstance(asked.to, Mapping):
        wanted = by_class(asked.to, names, pointer="/top_up/to")
    else:
        wanted = (max(have) if asked.to == "largest" else asked.to,) * len(names)
    counts = tuple(max(w - h, 0) for w, h in zip(wanted, have, strict=True))
    if not any(counts):
        raise InvalidInput(
            "the data set has all of these already: there is nothing to order", pointer="/top_up"
        )
    return counts


def by_class(given: Mapping[str, int], names: tuple[str, ...], *, pointer: str) -> tuple[int, ...]:
    """Counts in the order of the classes, given by name or index; 0 for those that are not named.

    Raises:
        InvalidInput: no such class, one that is given twice, or a count below 0.
    """
    counts = [0] * len(names)
    seen: set[int] = set()
    for label, count in given.items():
        if label in names:
            k = names.index(label)
        elif label.isdecimal() and label.isascii() and int(label[:9]) < len(names):
            k = int(label)
        else:
            raise InvalidInput(
                f"{label[:40]!r} is no class; the classes are {', '.join(names)}, or their indices",
                pointer=pointer,
            )
        if k in seen or count < 0:
            wrong = "is given twice" if k in seen else f"has a count of {count}, below 0"
            raise InvalidInput(f"class {label!r} {wrong}", pointer=pointer)
        seen.add(k)
        counts[k] = count
    return tuple(counts)


def _check_rows(n: int, settings: Settings) -> None:
    if settings.max_rows < BLOCK_ROWS:
        raise InvalidInput(
            f"orders draw {BLOCK_ROWS} rows at a time, and this service gives at most "
            f"{settings.max_rows}: its operator would raise REVERIE_MAX_ROWS"
        )
    limit = min(settings.max_order_rows, MAX_ROWS)
    if not 1 <= n <= limit:
        raise InvalidInput(
            f"n={n} is not between 1 and {limit}; split what is larger into orders with seeds of "
            "their own",
            pointer="/n",
        )


def _check_sweeps(burn_in: int | None, settings: Settings) -> None:
    if burn_in is not None and burn_in > settings.max_sweeps:
        raise InvalidInput(
            f"burn_in={burn_in} exceeds {settings.max_sweeps}; ask for fewer", pointer="/burn_in"
        )


def _acceptance(
    rule: Acceptance, model: Manifest, judge: Manifest | None, *, conditional: bool
) -> Acceptance:
    if rule.max_p_value_rejected is not None:
        _check_scores(rule.method, model)
    elif rule.method is not None:
        raise InvalidInput("method is for max_p_value_rejected", pointer="/accept/method")
    if judge is None:
        return rule
    if not conditional:
        raise InvalidInput(
            f"{model.id} has no labels that a judge could agree with: leave judge out",
            pointer="/accept/judge",
        )
    _check_judge(judge, model)
    return Acceptance(
        max_p_value_rejected=rule.max_p_value_rejected,
        method=rule.method,
        judge=judge.id,
        judge_digest=judge.digest,
        max_draws=rule.max_draws,
    )


def _check_scores(method: str | None, model: Manifest) -> None:
    calibrated = [s.method for s in model.scores if s.calibration is not None]
    chosen = method or (model.scores[0].method if model.scores else None)
    if chosen not in calibrated:
        raise MissingCapability(
            f"{model.id} has no p-values{f' by {chosen}' if chosen else ''}: its calibrated "
            f"methods are {', '.join(calibrated) or 'none'}"
        )


def _check_judge(judge: Manifest, model: Manifest) -> None:
    if "classify" not in judge.capabilities:
        raise MissingCapability(f"{judge.id} cannot classify, so it cannot judge")
    shapes = [m.data.shape if isinstance(m.data, ImageData) else None for m in (judge, model)]
    if shapes[0] is None or shapes[0] != shapes[1]:
        raise InvalidInput(
            f"{judge.id} does not take images like those of {model.id}", pointer="/accept/judge"
        )
    known = set(judge.labels.names if judge.labels else ())
    unknown = [n for n in (model.labels.names if model.labels else ()) if n not in known]
    if unknown:
        raise InvalidInput(
            f"{judge.id} does not know the class {unknown[0]!r} of {model.id}",
            pointer="/accept/judge",
        )
