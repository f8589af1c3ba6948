"""One request and its answer, as far as they are known: for headers, metrics and the log.

middleware creates it ──► the route fills it in ──► middleware writes headers, metrics, one log line
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope

from service.contract import Manifest
from service.metrics import PHASES
from service.queries import Call

UNKNOWN = "unknown"  # the metrics' model label when no such model is there: the set stays closed
_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
_SCOPE_KEY = "reverie.exchange"
_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(secrets.randbits(32))


@dataclass
class Exchange:
    """What is known of a request so far."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    call: Call = field(default_factory=Call)
    operation: str | None = None
    model: str = UNKNOWN  # its name, for metrics
    model_id: str | None = None
    digest: str | None = None
    seeds: tuple[int, ...] = ()
    rows: int = 0
    status: int | None = None
    outcome: str = "ok"
    error: str | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request came in."""
        return time.perf_counter() - self.started

    def concerns(self, manifest: Manifest, digest: str) -> None:
        """Note which model is asked."""
        self.model, self.model_id, self.digest = manifest.name, manifest.id, digest

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that go with every answer, as far as their values are known."""
        found = {"x-request-id": self.request_id}
        if self.model_id is not None and self.digest is not None:
            found["x-model"] = self.model_id
            found["x-model-digest"] = self.digest
        if self.seeds:
            found["x-seed"] = ", ".join(map(str, self.seeds))
        if self.operation is not None:
            found["server-timing"] = self._server_timing()
        return [(name.encode(), value.encode("latin-1")) for name, value in found.items()]

    def _server_timing(self) -> str:
        """Milliseconds by phase, in order; 0 for a phase that was not reached."""
        spent = self.call.phases_s
        return ", ".join([f"{phase};dur={1000 * spent.get(phase, 0.0):.3f}" for phase in PHASES])


def begin(scope: Scope) -> Exchange:
    """The exchange of a request that has just come in; its id is the client's if it is sane."""
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"]
    sane = len(sent) == 1 and _SANE_ID.fullmatch(sent[0]) is not None
    exchange = Exchange(request_id=sent[0] if sane else _new_id())
    scope[_SCOPE_KEY] = exchange
    return exchange


def _new_id() -> str:
    """32 hexadecimal digits: the process and a number, which cost less than fresh randomness."""
    return f"{_PROCESS}{next(_numbers):016x}"


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that the middleware began for this request."""
    found = scope[_SCOPE_KEY]
    assert isinstance(found, Exchange), "the middleware begins every exchange"
    return found
