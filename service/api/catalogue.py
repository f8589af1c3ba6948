"""What the service says of its models: the list, one model's page, its card and preview.

registry.Entry ──summary──► one row of the list ──page──► everything that is known of one model
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from starlette.exceptions import HTTPException

from service.api.exchange import Exchange
from service.api.formats import formats_of
from service.api.tables import column_page
from service.contract import ImageData, Manifest, ScoreMethod, read_verified
from service.model import Model
from service.registry import Entry
from service.settings import Settings

_BY_HIDDEN_UNITS = (
    "The path runs through the hidden units' mean-field probabilities: a frame between two points "
    "is decoded from probabilities, not from a state that the chain would visit."
)
_BY_LATENT = "The path runs through the latent space, and every frame is generated."


_digests: WeakKeyDictionary[Model, str] = WeakKeyDictionary()


def digest_of(entry: Entry) -> str | None:
    """The digest of a package; that of a loaded model, which cannot change, is worked out once."""
    if entry.model is None:
        return None if entry.manifest is None else entry.manifest.digest
    found = _digests.get(entry.model)
    if found is None:
        found = _digests[entry.model] = entry.model.manifest.digest
    return found


def note(exchange: Exchange, entry: Entry) -> None:
    """Note in the exchange which model is asked, if its package can be read."""
    digest = digest_of(entry)
    if entry.manifest is not None and digest is not None:
        exchange.concerns(entry.manifest, digest)


def summary(entry: Entry) -> dict[str, Any]:
    """One row of `GET /v1/models`; what a package that failed does not tell is null."""
    manifest, model = entry.manifest, entry.model
    found: dict[str, Any] = {
        "name": entry.name,
        "version": entry.version,
        "digest": digest_of(entry),
        "family": None if manifest is None else manifest.family,
        "capabilities": [] if manifest is None else manifest.capabilities,
        "state": entry.state,
        "data": None if manifest is None else _data(manifest),
        "runtime": None if model is None else model.runtime,
        "device": None if model is None else model.device,
    }
    if entry.reason is not None:
        found["reason"] = entry.reason
    if manifest is not None and manifest.latent is not None:
        found["latent"] = manifest.latent.model_dump()
    return found


def page(entry: Entry, settings: Settings) -> dict[str, Any]:
    """`GET /v1/models/{model}`: the summary, and everything else that the package says."""
    found, manifest = summary(entry), entry.manifest
    if manifest is None:
        return found
    found |= {
        "description": manifest.description,
        "limits": _limits(settings),
        "defaults": manifest.defaults.model_dump(exclude_none=True),
        "operations": {name: formats_of(name, manifest) for name in manifest.capabilities},
        "functions": {name: _function(manifest, name) for name in manifest.functions},
        "scores": [
            {"method": s.method, "heatmap": s.heatmap is not None, **_calibration(s)}
            for s in manifest.scores
        ],
        "quality": [q.model_dump(exclude_none=True) for q in manifest.quality],
        "provenance": manifest.provenance,
    }
    if manifest.labels is not None:
        found["labels"] = manifest.labels.names
    if "interpolate" in manifest.capabilities:
        found["interpolation"] = _BY_HIDDEN_UNITS if "sweep" in manifest.functions else _BY_LATENT
    if entry.model is not None:
        found["seeds"] = entry.model.seed_promise
    return found


def companion(model: Model, name: str, *, what: str) -> bytes:
    """A companion file of a package, its digest checked once more.

    Raises:
        HTTPException: 404, the package has no such file.
        PackageError: the file was changed after the model was loaded.
    """
    entry = model.manifest.files.get(name)
    if entry is None:
        raise HTTPException(404, f"{model.manifest.id} has no {what}")
    return read_verified(model.directory, name, entry.sha256)


def _data(manifest: Manifest) -> dict[str, Any]:
    """What the model's examples look like to a client, who always sees [0, 1]."""
    data = manifest.data
    if isinstance(data, ImageData):
        return {"kind": data.kind, "shape": data.shape}
    columns = [column_page(column) for column in data.columns]
    found: dict[str, Any] = {"kind": data.kind, "columns": columns}
    return found if data.label_column is None else found | {"label_column": data.label_column}


def _limits(settings: Settings) -> dict[str, int]:
    return {
        "body_bytes": settings.max_body_bytes,
        "rows": settings.max_rows,
        "sweeps": settings.max_sweeps,
        "frames": settings.max_frames,
    }


def _function(manifest: Manifest, name: str) -> dict[str, Any]:
    keep = {"kind", "inputs", "outputs", "start", "readout", "exact"}
    return manifest.functions[name].model_dump(mode="json", include=keep, exclude_none=True)


def _calibration(score: ScoreMethod) -> dict[str, Any]:
    found = score.calibration
    return {} if found is None else {"n_calibration": found.n, "calibrated_on": found.data}
