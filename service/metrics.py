"""Every Prometheus instrument of the service, in one table.

Closed label sets only: models that are loaded, operations and phases that exist. Durations are
histograms in seconds, since histograms add up across replicas and summaries do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25,
    0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120,
)  # fmt: skip
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

OUTCOMES = ("ok", "invalid", "overloaded", "deadline", "cancelled", "error")
PHASES = ("decode", "queue", "compute", "encode")
ORDER_STATES = ("queued", "running", "on_hold", "done", "failed", "cancelled")


@dataclass(frozen=True)
class OperationMetrics:
    """The instruments of one operation on one model, their labels looked up once."""

    finished: dict[str, Counter]  # by outcome
    duration: Histogram
    phases: dict[str, Histogram]
    rows: Counter


class Metrics:
    """The instruments, in a registry of their own, so that two apps in one process do not clash."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self._operations: dict[tuple[str, str], OperationMetrics] = {}
        ProcessCollector(registry=r)
        self.requests = Counter(
            "reverie_requests",
            "Requests finished, by outcome.",
            ["model", "operation", "outcome"],
            registry=r,
        )
        self.request_duration = Histogram(
            "reverie_request_duration_seconds",
            "From the first byte read to the last byte handed over.",
            ["model", "operation"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.phase_duration = Histogram(
            "reverie_phase_duration_seconds",
            "The request's time by phase: decode, queue, compute, encode.",
            ["model", "operation", "phase"],
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.queue_rows = Gauge(
            "reverie_queue_rows", "Rows that wait for a model.", ["model"], registry=r
        )
        self.inflight_rows = Gauge(
            "reverie_inflight_rows",
            "Rows inside a call, or in a chain's slot.",
            ["model"],
            registry=r,
        )
        self.batch_rows = Histogram(
            "reverie_batch_rows",
            "Rows that went into one call of a function.",
            ["model", "function"],
            buckets=ROW_BUCKETS,
            registry=r,
        )
        self.rows = Counter("reverie_rows", "Rows answered.", ["model", "operation"], registry=r)
        self.gibbs_sweeps = Counter(
            "reverie_gibbs_sweeps", "Row-sweeps run by Markov chains.", ["model"], registry=r
        )
        self.model_ready = Gauge(
            "reverie_model_ready", "1 when the model answers, else 0.", ["model"], registry=r
        )
        self.model_info = Gauge(
            "reverie_model_info",
            "Always 1; the labels say what is loaded.",
            ["model", "version", "digest", "family", "runtime", "device"],
            registry=r,
        )
        self.chain_split_rhat = Gauge(
            "reverie_chain_split_rhat",
            "Split R-hat of the free energy in the last sampled batch of chains.",
            ["model"],
            registry=r,
        )
        self.chain_ess = Gauge(
            "reverie_chain_ess",
            "Effective sample size of the free energy in the last sampled batch of chains.",
            ["model"],
            registry=r,
        )
        self.chain_pool_rows = Gauge(
            "reverie_chain_pool_rows",
            "Warm chains that the model keeps; 0 until their burn-in is over.",
            ["model"],
            registry=r,
        )
        self.score_p_value = Histogram(
            "reverie_score_p_value",
            "Conformal p-values handed out: flat on normal data.",
            ["model"],
            buckets=DECILES,
            registry=r,
        )
        self.augmentations = Gauge(
            "reverie_augmentations", "Augmentation orders, by state.", ["state"], registry=r
        )
        self.augmentation_rows = Counter(
            "reverie_augmentation_rows",
            "Rows delivered into the files of orders.",
            ["model"],
            registry=r,
        )

    def of(self, model: str, operation: str) -> OperationMetrics:
        """The instruments of one operation on one model; series begin when they are counted."""
        found = self._operations.get((model, operation))
        if found is None:
            labels = (model, operation)
            found = self._operations[labels] = OperationMetrics(
                finished=_ByLabel(lambda outcome: self.requests.labels(*labels, outcome)),
                duration=self.request_duration.labels(*labels),
                phases=_ByLabel(lambda phase: self.phase_duration.labels(*labels, phase)),
                rows=self.rows.labels(*labels),
            )
        return found


class _ByLabel(dict[str, Any]):
    """Instruments by the value of their last label, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    def __missing__(self, value: str) -> Any:  # noqa: ANN401  a counter or a histogram
        self[value] = made = self._make(value)
        return made
