"""Errors of models and failures of programs as what a caller gets."""

from __future__ import annotations

from typing import Any

from rung.core.errors import InputError, ModelError, RateLimited, RungError, Unsupported
from rung.core.types import Failure
from rung.serving.apis.wire.refused import Refused

_FAILURES: dict[str, tuple[int, str, bool]] = {
    "overflow": (400, "context_length_exceeded", False),
    "parse": (422, "answer_unparsable", False),
    "model": (502, "model_failed", True),
    "budget": (429, "budget_exceeded", False),
    "program": (500, "program_failed", False),
    "metric": (500, "program_failed", False),
    "waiting": (409, "waiting_for_a_person", False),
}


def failed(failure: Failure, extension: dict[str, Any] | None) -> Refused:
    """A failed answer as an error object: no text is given out that was not the program's answer."""
    status, code, again = _FAILURES[failure.where]
    refused = Refused(status, failure.message, code=code, again=again)
    refused.extension = extension
    return refused


_REFUSALS: dict[str, tuple[int, str, bool]] = {
    "context-overflow": _FAILURES["overflow"],
    "unsupported": (400, "unsupported", False),
    "input": (400, "unsupported", False),
    "rate-limited": (429, "rate_limited", True),
    "budget": _FAILURES["budget"],
    "form": (400, "unsupported", False),
    "refused": (502, "model_failed", False),
    "timeout": (504, "model_timeout", True),
    "server": _FAILURES["model"],
    "model": (502, "model_failed", False),
}
_PARENTS: tuple[tuple[type[RungError], str], ...] = (
    (InputError, "input"),
    (Unsupported, "unsupported"),
    (ModelError, "model"),
)


def refusal(error: RungError) -> Refused:
    """An error raised on purpose as an error object: its sentence, never its remedy (which is for whoever runs the
    server)."""
    code = error.code
    if code not in _REFUSALS:
        code = next((parent for kind, parent in _PARENTS if isinstance(error, kind)), "")
    wait = (error.retry_after or 1) if isinstance(error, RateLimited) else None
    return refuse(code, error.message, wait)


def refuse(code: str, message: str, wait: float | None = None) -> Refused:
    status, shown, again = _REFUSALS.get(code, _FAILURES["program"])
    said = "the model behind this server refused its key" if code == "refused" else message
    return Refused(status, said, code=shown, again=again, retry_after=wait)
