"""What another server says, as ours: its errors, its choices, its usage."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rung.core.types import Finish, ToolCall, Usage
from rung.models.providers.hosted import text_of
from rung.models.providers.refusal import retry_after_seconds
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice

_FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
}


def finish_of(reason: Any) -> Finish:
    return _FINISH.get(str(reason), "stop")


def broken(what: str, code: str = "model_failed") -> Refused:
    """The other server did not keep to the protocol, or is not there."""
    return Refused(502, f"the model's server {what}", code=code)


def refusal_of(status: int, body: bytes, retry_after: str | None) -> Refused:
    """An error response: the caller's own mistake stays one (400), what is between us and that server becomes ours
    (502). ``status`` 200: the error stands in place of an answer, and its code may be a status."""
    error: Any = None
    with suppress(ValueError, RecursionError, AttributeError):
        error = json.loads(body).get("error")
    message = str(error.get("message") or "") if isinstance(error, dict) else str(error or "")
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    told = f": {message[:500]}" if message else ""
    wait = retry_after_seconds({"retry-after": retry_after}) if retry_after else None
    wait = None if wait is None else min(3600.0, wait)
    said = f"answered with status {status}"
    if status == 200:
        said = "answered 200 with an error" if error else "answered 200 with something that is no completion"
        status = int(code) if re.fullmatch("[45]\\d\\d", code) else 502
    if status == 429:
        return Refused(429, f"the model's server has too much to do{told}", code="rate_limited", retry_after=wait or 1)
    if code == "context_length_exceeded" or status == 413:
        said = message[:500] or "the prompt is too long for this model"
        return Refused(400, said, code="context_length_exceeded", param="messages", again=False)
    if status in (400, 422) and message:
        param = error.get("param") if isinstance(error, dict) else None
        return Refused(
            400, message[:500], code=code or "invalid_value", param=param if isinstance(param, str) else None
        )
    if status in (401, 403):
        return Refused(502, "the model's server refused our key", code="model_failed", again=False)
    if status in (408, 504):
        return Refused(504, f"the model's server gave no answer in time{told}", code="model_timeout")
    return Refused(502, f"the model's server {said}{told}", code="model_failed", retry_after=wait)


def usage_of(told: Any) -> Usage | None:
    """The usage that is told; None where it is missing or cannot be (negative, not numbers)."""
    try:
        prompt, completion = int(told["prompt_tokens"]), int(told["completion_tokens"])
        cached = int((told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if min(prompt, completion, cached) < 0 or cached > prompt:
        return None
    return Usage(1, prompt, completion, cached)


def arguments_of(told: Any) -> dict[str, Any]:
    """The arguments of a call, as JSON or, where a server does not write them so, as they are. Raises Refused (502)."""
    try:
        arguments = json.loads(told or "{}") if isinstance(told, str | None) else told
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise broken("called a tool with arguments that are not a JSON object")
    return arguments


def read_choice(choice: Any) -> ChatChoice:
    """A choice of a whole completion. Raises Refused (502) for what is none."""
    try:
        message = choice["message"]
        text = text_of(message.get("content"))
        calls = tuple(
            ToolCall(str(call["id"]), str(call["function"]["name"]), arguments_of(call["function"].get("arguments")))
            for call in message.get("tool_calls") or ()
        )
        logprobs = (choice.get("logprobs") or {}).get("content")
        return ChatChoice(
            int(choice.get("index") or 0),
            text,
            finish_of(choice.get("finish_reason")),
            calls,
            tuple(float(one["logprob"]) for one in logprobs) if logprobs else None,
            tuple(str(one["token"]) for one in logprobs) if logprobs else (),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise broken("answered with something that is no completion") from None
