"""What a server refuses: its errors in one shape, and parameters that it refuses by name.

The latter are left out or renamed, asked again, and remembered for the model.

Servers that speak one vendor's API differ in what they take (a JSON schema, a seed, a temperature other than 1). They
say so with status 400 or 422 and the parameter's name; a value out of its range, or a prompt that is too long, is no
such refusal.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Set
from email.utils import parsedate_to_datetime
from typing import Any

from rung.core.errors import (
    AuthError,
    ContextOverflow,
    ModelError,
    ModelTimeout,
    RateLimited,
    RungError,
    ServerError,
)
from rung.models.providers.access import Access

logger = logging.getLogger("rung.models")

STATUSES = (400, 422)

_REFUSES = re.compile(
    r"unsupported|unavailable|unknown|unrecogni[sz]ed|unexpected|deprecat|disabled|removed|no such|no longer|only the default"
    r"|(not|n't|never)\s+(\w+\s+){0,2}(support|allow|permit|avail|recogni|implement|accept|enabled|exist|valid|compatible|take|used?\b)"
    r"|extra (input|field|propert|param)|cannot (find|be used|be set|be specified)|must be (1\b|one of|omitted|unset|empty|null)"
    r"|(may|can|must) only|only \S+ (is|are)\b|invalid (\w+ )?(parameter|argument|field|key|type|value|name)|should be ['\"`]"
    r"|supported values|\binstead\b",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"too (large|long|small|high|low|many)|at (most|least)|between \S+ and|(less|greater|more|fewer) than|exceed"
    r"|maximum|minimum|out of range|must contain|invalid.{0,20}schema",
    re.IGNORECASE,
)


class Refusals:
    """What a model has refused. ``spellings`` are the patterns by which an error names what is sent, beside its own
    name."""

    def __init__(self, model: str, spellings: Mapping[str, str] | None = None) -> None:
        self.model = model
        self.known: Set[str] = frozenset()
        self._spellings = {name: re.compile(text, re.IGNORECASE) for name, text in (spellings or {}).items()}

    def find(self, status: int | None, said: str, param: str, sent: Set[str]) -> str | None:
        """The one of ``sent`` that an error refuses by name; None where it is another error."""
        if status not in STATUSES or _VALUE.search(said) or not _REFUSES.search(said):
            return None
        for text in (param, said):
            places = [(match.start(), name) for name in sent if (match := self._pattern(name).search(text))]
            if places:
                return min(places)[1]
        return None

    def learn(self, names: Set[str]) -> None:
        """Remember what was left out, once asking without it was not refused."""
        if new := sorted(names - self.known):
            self.known |= names
            logger.warning("%s does not take %s: it is asked without from now on", self.model, ", ".join(new))

    def _pattern(self, name: str) -> re.Pattern[str]:
        return self._spellings.get(name) or re.compile(
            rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", re.IGNORECASE
        )


_OVERFLOW = re.compile(
    r"context.{0,20}(length|window|size|limit)|maximum context|too many (input )?tokens|prompt is too long"
    r"|input is too long|exceeds? the (maximum|available).{0,40}(tokens?|context)|input token count.{0,80}exceeds",
    re.IGNORECASE,
)


class ProviderErrors:
    """The errors of one model's provider in the one shape: a ModelError with the provider's own words and what to
    type."""

    def __init__(self, name: str, access: Access, timeout: float) -> None:
        self.name, self.access, self.timeout = name, access, timeout

    def problem(
        self,
        status: int | None,
        said: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> ModelError:
        """The one shape of an HTTP error: its class from the status, the vendor's own words, and what to type."""
        said = redact(said)
        text = f"{self.name} answered {status}: {said}" if status else f"{self.name}: {said}"
        if headers is not None and retry_after is None:
            retry_after = retry_after_seconds(headers)
        if status in (401, 403):
            return AuthError(text, remedy=self.access.remedy, status=status)
        if status is not None and 300 <= status < 400:
            where = (headers or {}).get("location", "")
            return ModelError(
                f"{text} (a redirect{f' to {where}' if where else ''}, which is not followed: it would take the key along)",
                remedy="name the address that the server redirects to",
                status=status,
            )
        if status == 429:
            return RateLimited(
                text, remedy="wait, or lower it: RUNG_CONCURRENCY=4 RUNG_RATE=1", retry_after=retry_after
            )
        if status in (408, 504):
            return ModelTimeout(text, remedy="try again, or allow more time: RUNG_TIMEOUT=300", status=status)
        if status == 413 or (status in (400, 422, 500) and _OVERFLOW.search(said)):
            return ContextOverflow(
                text, remedy="shorten the prompt, or set overflow: truncate in the task file", status=status
            )
        if status == 409 or (status is not None and status >= 500):
            return ServerError(
                text, remedy="try again later, or use another model: -m", status=status, retry_after=retry_after
            )
        if status == 404:
            return ModelError(text, remedy="check the model's name and the address", status=status)
        return ModelError(text, remedy="correct what the provider names", status=status)

    def shaped(self, error: Exception, sdk: Any) -> Exception:
        """Any exception of a vendor's SDK or of its HTTP client in the one shape; what is neither comes back unchanged.

        ``sdk`` is OpenAI's or Anthropic's module (both name their errors alike), None for Google's.
        """
        if isinstance(error, RungError):
            return error
        if sdk is not None:
            if isinstance(error, sdk.APITimeoutError):
                return self.late()
            if isinstance(error, sdk.APIConnectionError):
                return self.unreachable(str(error.__cause__ or error))
            if isinstance(error, sdk.APIStatusError) and error.status_code >= 300:
                return self.problem(error.status_code, _words(error), headers=error.response.headers)
            if isinstance(error, sdk.APIError):  # an error event inside a stream that had begun with 200
                kind = str(getattr(error, "type", "") or getattr(error, "code", "") or "")
                return RateLimited(str(error), status=None) if "rate_limit" in kind else self.broken(str(error))
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return self.late()
        family = type(error).__module__.partition(".")[0]
        if family in ("httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "anyio", "ssl") or isinstance(
            error, OSError
        ):
            said = f"{type(error).__name__} {error}"
            return self.unreachable(said) if "Connect" in said else self.broken(said)
        if isinstance(error, ValueError | TypeError | AttributeError | LookupError):  # what came is no such answer
            return self.unreadable(str(error))
        return error

    def unreachable(self, said: str) -> ServerError:
        where = self.access.url or f"the {self.access.vendor.name} API"
        return ServerError(
            f"{self.name}: no connection to {where}: {redact(said)}",
            remedy="check the network, the address and that the server runs",
        )

    def late(self) -> ModelTimeout:
        return ModelTimeout(
            f"{self.name} gave no answer within {self.timeout:g} s",
            remedy="try again, or allow more time: RUNG_TIMEOUT=300",
        )

    def refuse_error(self, answer: Any) -> None:
        """Raise what a server says went wrong in an answer that came with status 200."""
        if isinstance(answer, str):
            raise self.unreadable(f"it is no JSON: {answer}")
        error = getattr(answer, "error", None)
        if error:
            told = error if isinstance(error, dict) else {"message": str(error)}
            code = told.get("code")
            raise self.problem(code if isinstance(code, int) else None, str(told.get("message") or told))

    def unreadable(self, said: str) -> ServerError:
        """What came with status 200 is no answer of this API."""
        return ServerError(
            f"{self.name}: the answer cannot be read: {redact(said)}",
            remedy=f"check the address: does it speak the API of {self.access.vendor.name}?",
        )

    def broken(self, said: str) -> ServerError:
        """A stream that ended before its end."""
        return ServerError(f"{self.name}: the stream broke off: {redact(said)}", remedy="try again")


def _words(error: Any) -> str:
    """What the provider says in an error's body, else what the SDK says."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else inner
    return said if isinstance(said, str) and said else str(error.message)


def redact(said: str) -> str:
    """One line without keys: values of the environment that look secret, and anything shaped as a bearer token."""
    for variable, value in os.environ.items():
        if len(value) >= 8 and re.search(r"KEY|TOKEN|SECRET|PASSWORD", variable):
            said = said.replace(value, "[key]")
    said = re.sub(r"(?i)\b(sk-|bearer\s+|AIza|key=)[\w.*-]{6,}", r"\1[key]", said)
    return re.sub(r"\s+", " ", said).strip()[:500]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``retry-after-ms`` or ``Retry-After`` (RFC 9110: seconds or a date); None where neither is there."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        raw = headers.get("retry-after")
        if raw is None:
            return None
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", raw):
            return float(raw)
        return max(0.0, parsedate_to_datetime(raw).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
