"""What is told of each request when it is over: a line of the access log, metrics, spans."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.core.types import Usage
from rung.serving.access.call import RequestCall
from rung.serving.observe.metrics import Metrics

if TYPE_CHECKING:
    from starlette.types import Scope

    from rung.serving.observe.spans import Spans

access = logging.getLogger("rung.access")


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told: the access log (with ``content``: what was asked and answered, too, in its JSON form), metrics,
    spans."""

    log: bool = True
    content: bool = False
    metrics: Metrics | None = None
    spans: Spans | None = None

    def begin(self, scope: Scope, call: RequestCall, within: RequestCall | None = None) -> None:
        """A request of ``call`` begins, inside of another one's where ``within`` is given: then its span stands in that
        one's."""
        scope["rung.call"] = call
        if self.spans is not None:
            scope["rung.trace"] = call.trace = self.spans.trace(scope["headers"], within.trace if within else None)

    def tell(self, scope: Scope, status: int, seconds: float) -> None:
        """A request is over."""
        if self.metrics is not None:
            self.metrics.request(scope, status, seconds)
        if self.spans is not None:
            self.spans.request(scope, path_of(scope), status, seconds)
        if self.log and access.isEnabledFor(logging.INFO):
            self._write(scope, status, seconds)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        usage: Usage | None = scope.get("rung.usage")
        call: RequestCall | None = scope.get("rung.call")
        facts: dict[str, Any] = {}
        if call is not None:
            caller = call.caller
            facts = {"tenant": caller.tenant, "key": caller.key, "model": scope.get("rung.model"), "by": call.served_by,
                     "degraded": call.degraded, "cache": call.cache}  # fmt: skip
        if usage is not None:
            facts["tokens"] = f"{usage.prompt_tokens}+{usage.completion_tokens}"
        facts["code"] = scope.get("rung.code")
        facts = {name: value for name, value in facts.items() if value}
        id, method, where = scope["rung.id"], scope["method"], path_of(scope)
        told = "".join([f" {name}={value}" for name, value in facts.items()])
        said = f"{id} {method} {where} {status} {seconds * 1e3:.1f}ms{told}"
        # Made here, because the logger would look up the file and line of this call each time.
        record = logging.LogRecord(access.name, logging.INFO, __file__, 0, said, (), None)
        if self.content and (asked := scope.get("rung.asked")) is not None:
            facts["messages"] = [{"role": turn.role, "content": turn.content} for turn in asked.messages]
            facts["answers"] = [choice.text for choice in scope.get("rung.choices", ())]
        record.facts = {
            "id": id,
            "method": method,
            "path": where,
            "status": status,
            "seconds": round(seconds, 6),
            **facts,
        }
        access.handle(record)


def path_of(scope: Scope) -> str:
    """The address as it was declared (never what a caller made of it)."""
    return str(scope.get("rung.path") or getattr(scope.get("route"), "path", "-"))
