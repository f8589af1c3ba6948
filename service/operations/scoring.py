"""Score: how unusual an image is, as a raw score and as a conformal p-value.

x ──score function──► s(x) ──held-out scores──► p(x) ──α──► anomalous
"""

from __future__ import annotations

import numpy as np

from service.contract import Role, ScoreMethod
from service.domain.anomaly import conformal_p_values, threshold
from service.domain.feeding import feed
from service.errors import InvalidInput
from service.operations.context import Context
from service.queries import Score, Scored


async def score(context: Context, query: Score) -> Scored:
    """Scores (higher is more anomalous), p-values and, with `explain`, heat maps."""
    context.require("score")
    context.check_images(query.images)
    method = _method(context, query.method)
    spec = context.spec(method.function)
    inputs = feed(spec, {Role.DATA: context.to_network(query.images)})
    outputs = await context.model.maps[method.function].submit(inputs, context.call)
    scores = outputs[method.output].reshape(-1).astype(np.float32)
    heatmaps = None
    if query.explain:
        if method.heatmap is None:
            raise InvalidInput(
                f"method {method.method!r} of {context.model.id} has no heat maps: "
                "leave explain out",
                pointer="/explain",
            )
        heatmaps = outputs[method.heatmap].reshape(-1, *context.image.shape)
    calibration = context.model.calibrations.get(method.method)
    if calibration is None:
        return Scored(scores, None, None, None, query.alpha, method.method, 0, heatmaps)
    p_values = conformal_p_values(scores, calibration=calibration)
    return Scored(
        scores=scores,
        p_values=p_values,
        anomalous=p_values <= query.alpha,
        threshold=threshold(calibration=calibration, alpha=query.alpha),
        alpha=query.alpha,
        method=method.method,
        n_calibration=len(calibration),
        heatmaps=heatmaps,
    )


def _method(context: Context, asked: str | None) -> ScoreMethod:
    methods = {m.method: m for m in context.manifest.scores}
    if asked is None:
        return context.manifest.scores[0]
    if asked not in methods:
        raise InvalidInput(
            f"method {asked!r} is not one of {', '.join(methods)}", pointer="/method"
        )
    return methods[asked]
