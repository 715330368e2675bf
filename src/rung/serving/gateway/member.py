"""An endpoint as a gateway sees it: how busy it is, how it has been doing, what it costs and how much it can read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rung.core.types import Usage
from rung.models.prices import Price
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.model import MAX_TOKENS

WEIGHT = 0.2
"""Of the newest answer in the mean of an endpoint's seconds."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """When an endpoint is left alone: after ``failures`` in a row, for ``seconds``; then one request tries it."""

    failures: int = 3
    seconds: float = 10.0


@dataclass(slots=True)
class RouteMember:
    """``name`` as the gateway's file has it. ``context`` is in tokens, 0 where it is not known; ``price`` None: it
    costs nothing.

    ``seconds`` is a moving mean of its answers, ``opens_at`` (monotonic) when it may be asked again after it failed,
    ``rests_until`` how long it asked to be left alone: until then only if there is no other.
    """

    name: str
    endpoint: Endpoint
    weight: float = 1.0
    context: int = 0
    price: Price | None = None
    breaker: Breaker = Breaker()
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    seconds: float = 0.0
    failures: int = 0
    opens_at: float = 0.0
    rests_until: float = 0.0
    probing: bool = False
    completions: deque[int] = field(default_factory=lambda: deque(maxlen=200))
    _usual: int = 0
    _noted: int = 0

    @property
    def open(self) -> bool:
        """Whether it must not be asked now."""
        return self.failures >= self.breaker.failures and (self.clock() < self.opens_at or self.probing)

    @property
    def free(self) -> bool:
        return self.price is None or (self.price.prompt == 0 and self.price.completion == 0)

    def begin(self) -> None:
        self.in_flight += 1
        if self.failures >= self.breaker.failures:
            self.probing = True

    def end(self, seconds: float | None, error: Refused | None, completion: int = 0) -> None:
        """An answer came after ``seconds``, or ``error``, or neither (the caller left)."""
        self.in_flight -= 1
        self.probing = False
        if error is not None and to_blame(error):
            self.failures += 1
            if error.retry_after is not None and error.status == 429:
                self.rests_until = self.clock() + error.retry_after
            if self.failures >= self.breaker.failures:
                self.opens_at = self.clock() + self.breaker.seconds
        elif seconds is not None:
            self.failures = 0
            self.seconds = seconds if not self.seconds else (1 - WEIGHT) * self.seconds + WEIGHT * seconds
            if completion:
                self._note(completion)

    def _note(self, completion: int) -> None:
        """Remember how long an answer was; every 20 answers, what 95 of 100 stayed within."""
        self.completions.append(completion)
        self._noted += 1
        if self._noted % 20 == 0:
            self._usual = sorted(self.completions)[int(0.95 * len(self.completions))]

    def prompt(self, request: ChatRequest) -> int:
        """Tokens of the prompt: by the model's own count, else as one token for three bytes, which is more than most
        have."""
        model = self.endpoint.model
        messages = self.endpoint.heard(request)
        if model is not None:
            return model.count(messages)
        return sum(len(message.content.encode("utf-8", "replace")) // 3 + 4 for message in messages)

    def fits(self, prompt: int, request: ChatRequest) -> bool:
        wanted = request.max_completion_tokens or request.max_tokens or 1
        return not self.context or prompt + min(wanted, self.context // 2) <= self.context

    def estimate(self, prompt: int, request: ChatRequest) -> Usage:
        """What an answer will use at most: the limit that was set, or what 95 of 100 answers stayed within so far."""
        limit = request.max_completion_tokens or request.max_tokens or MAX_TOKENS
        if self._usual:
            limit = min(limit, self._usual)
        usage = Usage(prompt_tokens=prompt, completion_tokens=limit * (request.n or 1))
        return usage if self.price is None else Usage(1, prompt, usage.completion_tokens, money=self.price.money(usage))


def to_blame(error: Refused) -> bool:
    """Whether an error is the endpoint's and not the caller's: another one may answer."""
    if error.code in ("budget_exceeded", "context_length_exceeded"):
        return False
    return error.status >= 500 or error.status in (408, 429)
