"""Asking models as batch work: those that an order has pinned, and again when they were busy.

(name@version, query) ──digest as ordered?──► Engine.run(…, priority="batch") ──busy: wait──► result
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from service.augmentation.holds import Held
from service.augmentation.order import Order
from service.engine import Engine
from service.errors import DeadlineExceeded, NotReady, Overloaded, UnknownModel
from service.model import Model
from service.queries import Call, Query, Result

CALL_TIMEOUT_S = 3600.0  # batch work yields, so it may wait for long
BUSY_WAIT_S = 5.0  # the longest wait before a busy model is asked again
LOADING_WAIT_S = 0.1


class PinnedModels:
    """The models of an order, found in one of several engines under their name and digest."""

    def __init__(self, engines: Sequence[Engine], order: Order) -> None:
        self._engines = engines
        self._digests: Mapping[str, str | None] = {
            order.model: order.digest,
            **({order.accept.judge: order.accept.judge_digest} if order.accept.judge else {}),
        }
        self._checked: dict[str, Model] = {}

    async def __call__(self, reference: str, query: Query) -> Result:
        """The model's answer; as long as it is only busy or loading, it is waited for.

        Raises:
            Held: the model is not there any more, or is another one than was ordered.
            ServiceError: it cannot answer this query.
        """
        while True:
            engine, model = self._find(reference)
            if model is None:
                await asyncio.sleep(LOADING_WAIT_S)
                continue
            try:
                return await engine.run(model, query, Call.lasting(CALL_TIMEOUT_S, "batch"))
            except Overloaded as busy:
                await asyncio.sleep(min(busy.retry_after_s, BUSY_WAIT_S))
            except DeadlineExceeded:
                continue
            except NotReady as error:
                if engine.draining:
                    raise Held("model_unloaded", "the service is shutting down") from error
                await asyncio.sleep(LOADING_WAIT_S)  # a reload has swapped it: find the new one

    @property
    def available(self) -> bool:
        """Whether all of them are there, loaded, and the ones that were ordered."""
        try:
            return all(self._find(reference)[1] is not None for reference in self._digests)
        except Held:
            return False

    def made_on(self, reference: str) -> dict[str, str]:
        """The runtime and the device of a model, for the manifest."""
        model = self._checked.get(reference)
        return {} if model is None else {"runtime": model.runtime, "device": model.device}

    def _find(self, reference: str) -> tuple[Engine, Model | None]:
        """The model and its engine; no model while it is loading.

        Raises:
            Held: there is none of that name and version, or its digest is another.
        """
        for engine in self._engines:
            try:
                entry = engine.registry.entry(reference)
            except UnknownModel:
                continue
            if entry.model is None and entry.state == "loading":
                return engine, None
            if entry.model is not None:
                self._check(reference, entry.model)
                return engine, entry.model
        raise Held("model_missing", f"{reference} is not in the store, or failed to load")

    def _check(self, reference: str, model: Model) -> None:
        if self._checked.get(reference) is model:
            return
        if model.manifest.digest != self._digests[reference]:
            raise Held(
                "model_changed",
                f"{reference} is not the model that was ordered: its digest differs",
            )
        self._checked[reference] = model
