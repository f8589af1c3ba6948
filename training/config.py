"""Recipes: one TOML file a model, checked before anything runs.

recipe.toml ──► [smoke] overrides ──► --set key=value ──► the kind's pydantic model

A recipe's `kind` chooses a `Recipe`: its configuration class and the functions that train, export
and evaluate it. A new kind is one line in `RECIPES`.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.contract import NAME_PATTERN, Quality, Reference
from training.data import DataConfig, Dataset

# kind → "module:attribute" of its Recipe; imported when a recipe asks for it.
RECIPES: Final = {
    "rbm": "training.recipes.rbm:RECIPE",
    "gaussian-rbm": "training.recipes.gaussian:RECIPE",
    "bm": "training.recipes.bm:RECIPE",
    "dbm": "training.recipes.dbm:RECIPE",
    "dbn": "training.recipes.dbn:RECIPE",
    "gan": "training.recipes.gan:RECIPE",
    "tabular": "training.recipes.tabular:RECIPE",
    "judge": "training.recipes.judge:RECIPE",
}


class ConfigError(ValueError):
    """A recipe that cannot be read or is wrong; the message names the key, value and remedy."""


class Table(BaseModel):
    """Base of every table in a recipe: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyTable = TypeVar("AnyTable", bound=Table)


class BareRecipe(Table):
    """What every recipe has, whatever its data are."""

    name: str = Field(pattern=NAME_PATTERN, description="The model's name in the store.")
    version: int = Field(1, ge=1, description="Its version, a whole number from 1.")
    kind: str = Field(description="Which recipe reads this file: " + ", ".join(RECIPES))
    seed: int = Field(0, ge=0, lt=2**53, description="Seed of everything random in the run.")


class RecipeConfig(BareRecipe):
    """A recipe for images; each kind adds `model`, `train` and `evaluate` tables of its own."""

    data: DataConfig


@dataclass(frozen=True)
class Workspace:
    """Where and on what a recipe works; none of it changes what is computed.

    Attributes:
        run: the run's folder (checkpoints, logs, sheets).
        store: the folder of packages that the result is published under.
        device: `cpu` or `cuda`.
        resume: go on from the newest checkpoint.
        smoke: a tiny run that walks the whole path.
        command: what a person types to do this again, for the card.
    """

    run: Path
    store: Path
    device: str
    resume: bool
    smoke: bool
    command: str


@dataclass(frozen=True)
class Recipe:
    """How one kind of model is made.

    Attributes:
        config: its configuration class, a RecipeConfig for images.
        train: trains, evaluates, exports and publishes; returns the package's folder.
        export: the last part alone, from the newest checkpoint.
        evaluate: recomputes a package's quality figures from its own files; `quick` for a rough
            answer. Takes (package folder, config, quick, device).
        training_set: the images that it is trained on, for a package's reference.
        reference: makes the reference where it is not of images: takes (config, package folder,
            whether somebody asked for it); None where rows are not published unasked. Kinds that
            have neither get none.
        needs_run: whether exporting needs a training run's folder.
    """

    config: type[BareRecipe]
    train: Callable[[Any, Workspace], Path]
    export: Callable[[Any, Workspace], Path]
    evaluate: Callable[[Path, Any, bool, str], Sequence[Quality]]
    training_set: Callable[[Any], Dataset] | None = None
    reference: Callable[[Any, Path, bool], tuple[bytes, Reference] | None] | None = None
    needs_run: bool = True


def find_recipe(kind: str) -> Recipe:
    """The Recipe that is registered for `kind`.

    Raises:
        ConfigError: no recipe has this kind.
    """
    if kind not in RECIPES:
        raise ConfigError(f"kind {kind!r} is not known: use one of {', '.join(RECIPES)}")
    module, _, attribute = RECIPES[kind].partition(":")
    recipe = getattr(importlib.import_module(module), attribute)
    assert isinstance(recipe, Recipe)
    return recipe


def load_config(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> tuple[Recipe, BareRecipe]:
    """Read a recipe.

    Args:
        path: the TOML file.
        overrides: `key=value` with a dotted key and a TOML value, as `train.epochs=3`. A value
            that is no TOML is taken as a string.
        smoke: apply the file's `[smoke]` table first.

    Raises:
        ConfigError: the file is missing or no TOML, or a key or value is wrong.
    """
    return validate(read_document(path, overrides, smoke=smoke), where=path.name)


def read_document(
    path: Path, overrides: Sequence[str] = (), *, smoke: bool = False
) -> dict[str, Any]:
    """A TOML file with its overrides, not yet checked; the arguments are those of `load_config`."""
    document = _read_toml(path)
    tiny = document.pop("smoke", {})
    if not isinstance(tiny, dict):
        raise ConfigError(f"{path.name}: [smoke] must be a table of overrides")
    if smoke:
        document = merge(document, tiny)
    for override in overrides:
        document = merge(document, parse_override(override))
    return document


def validate(document: Mapping[str, Any], *, where: str) -> tuple[Recipe, BareRecipe]:
    """Check a recipe that is already a dict, such as the one in a package's provenance."""
    kind = document.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(f"{where}: 'kind' is missing: one of {', '.join(RECIPES)}")
    recipe = find_recipe(kind)
    return recipe, checked(document, recipe.config, where=where)


def checked(document: Mapping[str, Any], table: type[AnyTable], *, where: str) -> AnyTable:
    """The document as a table; `where` is what a fault is told of.

    Raises:
        ConfigError: a key or a value is wrong.
    """
    try:
        return table.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_fault(error)}") from error


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=3` → {"a": {"b": 3}}.

    Raises:
        ConfigError: there is no `=`, or the key is not dotted names.
    """
    key, equals, raw = text.partition("=")
    key = key.strip()
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", key):
        raise ConfigError(f"{text!r} is not key=value: write it like train.epochs=3")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = raw.strip()
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`; tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both and isinstance(below, dict) else value
    return merged


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: the recipes are in training/configs") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the recipe"
    if fault["type"] == "extra_forbidden":
        return f"{where} is not a key that this recipe knows"
    given = f", not {fault['input']!r}" if fault["type"] != "missing" else ""
    return f"{where}: {fault['msg']}{given}"
