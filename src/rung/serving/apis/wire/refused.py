"""An error as OpenAI's clients read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KINDS = {
    "rate_limited": "rate_limit_error",
    "budget_exceeded": "insufficient_quota",
    "answer_unparsable": "answer_error",
}


class Refused(Exception):
    """A request that gets an error instead of an answer: HTTP ``status`` and the fields of OpenAI's error object.

    ``retry_after`` is in seconds; ``again`` False tells OpenAI's clients that asking again is of no use. ``extension``
    is what else is told of the answer that failed.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        again: bool = True,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after, self.again = retry_after, again
        self.extension: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """The error's ``type``."""
        return _KINDS.get(self.code or "", "server_error" if self.status >= 500 else "invalid_request_error")

    def body(self) -> dict[str, Any]:
        error = {"message": hide_paths(self.message), "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error} if self.extension is None else {"error": error, "rung": dict(self.extension)}

    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after)))
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in (408, 413):  # what is still being sent is not read any more
            headers["connection"] = "close"
        if not self.again:
            headers["x-should-retry"] = "false"
        return headers


_PATH = re.compile(r"(?<![\w/.])/([^\s/'\"`:,;]+)/(?:[^\s/'\"`:,;]+/)*([^\s/'\"`:,;]*)")


def hide_paths(text: str) -> str:
    """``text`` with paths of this machine cut to their last part: callers need not know where things lie here."""
    return _PATH.sub(lambda match: match[2] if Path("/", match[1]).is_dir() else match[0], text)
