"""How each operation's answer is read: one function from a reply to a result.

Reply (JSON | npy + headers) ──samples, frames, …──► results.…

Fields that the server may add later are passed over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.client.results import (
    Classes,
    Diagnostics,
    Features,
    Fillings,
    Frames,
    Model,
    Reconstructions,
    Samples,
    Scores,
)
from service.client.wire import NPY, Reply, about, array_of, document_of


def samples(reply: Reply) -> Samples:
    """Samples with all that is known of them."""
    found = document_of(reply)
    return Samples(
        **about(reply),
        examples=_examples(found["samples"]),
        seed=found["seed"],
        diagnostics=_diagnostics(found.get("diagnostics")),
    )


def samples_in_binary(reply: Reply) -> Samples:
    """Samples from npy, with the seed from the headers."""
    seed = reply.headers.get("x-seed")
    return Samples(
        **about(reply), examples=array_of(reply), seed=None if seed is None else int(seed)
    )


def frames(reply: Reply) -> Frames:
    """The frames of a path, and their latents."""
    found = document_of(reply)
    return Frames(
        **about(reply), examples=_examples(found["frames"]), latents=_floats(found["latents"])
    )


def fillings(reply: Reply) -> Fillings:
    """The fillings of each image."""
    found = document_of(reply)
    return Fillings(
        **about(reply),
        examples=_examples(found["samples"]),
        seed=found["seed"],
        hole_fraction=found["hole_fraction"],
    )


def scores(reply: Reply) -> Scores:
    """Scores, and p-values where the model is calibrated."""
    found = document_of(reply)
    anomalous, p_values, heatmaps = (
        found.get(name) for name in ("anomalous", "p_values", "heatmaps")
    )
    return Scores(
        **about(reply),
        scores=_floats(found["scores"]),
        p_values=None if p_values is None else _floats(p_values),
        anomalous=None if anomalous is None else np.asarray(anomalous, np.bool_),
        threshold=found["threshold"],
        alpha=found["alpha"],
        method=found["method"],
        n_calibration=found["n_calibration"],
        heatmaps=None if heatmaps is None else _floats(heatmaps),
    )


def features(reply: Reply) -> Features:
    """Features, from npy or JSON."""
    binary = _is_binary(reply)
    array = array_of(reply) if binary else _floats(document_of(reply)["features"])
    return Features(**about(reply), array=array)


def reconstructions(reply: Reply) -> Reconstructions:
    """Reconstructions, from npy or JSON; a table's are `rows`."""
    if _is_binary(reply):
        return Reconstructions(**about(reply), examples=array_of(reply))
    found = document_of(reply)
    return Reconstructions(
        **about(reply), examples=_examples(found["images" if "images" in found else "rows"])
    )


def classes(reply: Reply) -> Classes:
    """Class probabilities and the classes' names."""
    found = document_of(reply)
    return Classes(
        **about(reply), array=_floats(found["probabilities"]), labels=tuple(found["labels"])
    )


def model(reply: Reply) -> Model:
    """One model's page."""
    return model_of(document_of(reply))


def models(reply: Reply) -> list[Model]:
    """Every model of the list."""
    return [model_of(row) for row in document_of(reply)["models"]]


def model_of(document: dict[str, Any]) -> Model:
    """One model, from its page or its row in the list."""
    data = document.get("data") or {}
    shape = data.get("shape")
    return Model(
        name=document["name"],
        version=document["version"],
        digest=document.get("digest"),
        family=document.get("family"),
        capabilities=tuple(document.get("capabilities", ())),
        state=document["state"],
        reason=document.get("reason"),
        kind=data.get("kind"),
        shape=None if shape is None else tuple(shape),
        document=document,
    )


def _is_binary(reply: Reply) -> bool:
    return reply.headers.get("content-type", "").startswith(NPY)


def _examples(value: Any) -> NDArray[np.float32] | list[Any]:  # noqa: ANN401  as it was read
    """Rows of a table as they are, however deep they are nested; else an array."""
    innermost = value
    while isinstance(innermost, list) and innermost:
        innermost = innermost[0]
    return list(value) if isinstance(innermost, dict) else _floats(value)


def _floats(value: Any) -> NDArray[np.float32]:  # noqa: ANN401  as it was read
    with np.errstate(over="raise"):  # a number that is no float32 is no answer of the service
        return np.asarray(value, np.float32)


def _diagnostics(found: dict[str, Any] | None) -> Diagnostics | None:
    if found is None:
        return None
    known = Diagnostics.__dataclass_fields__
    return Diagnostics(**{name: value for name, value in found.items() if name in known})
