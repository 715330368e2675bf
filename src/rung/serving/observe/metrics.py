"""Metrics in Prometheus' format: one registry a process; of several workers one answers for all (prometheus_client's
folder)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rung.core.system.extras import require
from rung.core.types import Usage
from rung.serving.access.call import RequestCall

if TYPE_CHECKING:
    from starlette.types import Scope

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Counts requests. Labels are names that the server's owner gave (models, endpoints, tenants), never a caller's
    words."""

    def __init__(self) -> None:
        client: Any = require("prometheus_client", "serving", "/metrics")
        self.registry = client.CollectorRegistry()
        self.shared = bool(os.environ.get(FOLDER))
        self._known: dict[tuple[Any, ...], Any] = {}
        named: dict[str, Any] = {"registry": self.registry}
        count, seconds = client.Counter, client.Histogram
        self._requests = count("rung_requests", "Requests answered.", ("model", "status", "code"), **named)
        self._seconds = seconds(
            "rung_request_seconds", "Seconds until a request was answered.", ("model",), buckets=SECONDS, **named
        )
        self._first = seconds(
            "rung_first_piece_seconds", "Seconds to a stream's first piece.", ("model",), buckets=SECONDS, **named
        )
        self._tokens = count("rung_tokens", "Tokens read and written.", ("model", "tenant", "kind"), **named)
        self._money = count("rung_money_dollars", "US dollars spent.", ("model", "tenant"), **named)
        self._served = count(
            "rung_served_by", "Answers by the endpoint that gave them.", ("model", "endpoint"), **named
        )
        self._degraded = count("rung_degraded", "Answers that were not the first choice's.", ("model",), **named)
        self._cache = count("rung_cache", "Look-ups of kept answers.", ("model", "found"), **named)
        mode = {"multiprocess_mode": "livesum"} if self.shared else {}
        self._running = client.Gauge("rung_running", "Requests at work.", **named, **mode)
        self._waiting = client.Gauge("rung_waiting", "Requests in line.", **named, **mode)

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that is over. Addresses other than models' count under the model "-"."""
        model = str(scope.get("rung.model") or "-")
        self._count(self._requests, model, str(status), str(scope.get("rung.code") or ""))
        self._at(self._seconds, model).observe(seconds)
        call: RequestCall | None = scope.get("rung.call")
        if model == "-" or call is None:
            return
        if (first := scope.get("rung.first")) is not None:
            self._at(self._first, model).observe(first)
        usage: Usage | None = scope.get("rung.usage")
        if usage is not None:
            tenant = call.caller.tenant
            self._count(self._tokens, model, tenant, "prompt", by=usage.prompt_tokens)
            self._count(self._tokens, model, tenant, "completion", by=usage.completion_tokens)
            if usage.money:
                self._count(self._money, model, tenant, by=usage.money)
        if call.served_by:
            self._count(self._served, model, call.served_by)
        if call.degraded:
            self._count(self._degraded, model)
        if call.cache:
            self._count(self._cache, model, call.cache)

    def _count(self, metric: Any, *labels: str, by: float = 1) -> None:
        self._at(metric, *labels).inc(by)

    def _at(self, metric: Any, *labels: str) -> Any:
        """The one with these labels (the library's own look-up costs ten times as much as to count)."""
        key = (metric, *labels)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = metric.labels(*labels)
        return found

    def load(self, running: int, waiting: int) -> None:
        self._running.set(running)
        self._waiting.set(waiting)

    def text(self) -> bytes:
        """All metrics; of several workers those of all."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if not self.shared:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
