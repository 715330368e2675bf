"""What goes around any model: retry, time limit, concurrency and rate limits, prices, meter and hard budget.

This is the only retry loop: the vendors' SDKs are opened with their own retries off. A local model gets the meter only.
All waiting uses the monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from rung.core.errors import AuthError, BudgetExceeded, InputError, ModelError, ModelTimeout, RateLimited, ServerError
from rung.core.parts import meter
from rung.core.protocols import Computing, Model, PromptCache, Resident
from rung.core.settings import Settings
from rung.core.types import Capabilities, Chunk, Message, Reply, Request, ScoreRequest, Scores, Usage
from rung.models import prices
from rung.models.providers.hosted import settle

T = TypeVar("T")

logger = logging.getLogger("rung.models")


@dataclass(frozen=True, slots=True)
class Policy:
    """How hosted calls are made. All times are seconds.

    A call is given up after ``timeout``; it is tried again at most ``retries`` times while ``deadline`` from its first
    try is not passed. The wait before try n is uniform in [0, min(cap, base * 2**n)] ("full jitter", AWS Architecture
    Blog, "Exponential Backoff and Jitter"), and never less than the provider's Retry-After. ``rate`` is calls a second,
    0: no limit.
    """

    timeout: float = 120.0
    retries: int = 5
    deadline: float = 600.0
    concurrency: int = 64
    rate: float = 0.0
    base: float = 0.5
    cap: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        timeout = float(settings["timeout"])
        return cls(
            timeout=timeout,
            retries=int(settings["retries"]),
            deadline=5 * timeout,
            concurrency=max(1, int(settings["concurrency"])),
            rate=float(settings["rate"]),
        )


def wrap(model: Model, settings: Settings, *, policy: Policy | None = None) -> MeteredModel:
    """Put everything around ``model`` that the settings say. Wrapping twice is an error of the caller."""
    if isinstance(model, MeteredModel):
        raise TypeError(f"{model.name} is wrapped already")
    local = model.capabilities.local
    price = prices.FREE if local else prices.find(model.name, str(settings["prices"]))
    return MeteredModel(model, price, None if local and policy is None else policy or Policy.of(settings))


class MeteredModel:
    """A model with everything around it. ``price`` is None when it is unpriced: its money then counts as 0."""

    def __init__(self, inner: Model, price: prices.Price | None, policy: Policy | None) -> None:
        self.inner = inner
        self.price = price
        self.policy = policy
        self._limiter: RateLimiter | None = None
        if price is None:
            logger.warning(
                "%s is unpriced: its money counts as 0. Give its price in a file: RUNG_PRICES=prices.yaml", inner.name
            )

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def priced(self) -> bool:
        return self.price is not None

    def __repr__(self) -> str:
        return f"<MeteredModel {self.inner.name}>"

    def count(self, messages: Sequence[Message]) -> int:
        return self.inner.count(messages)

    def forget(self) -> None:
        """Forget cached prompts where the model keeps any of its own."""
        if isinstance(self.inner, PromptCache):
            self.inner.forget()

    def rest(self) -> None:
        """Give memory back until it is next asked, where the model holds any here."""
        if isinstance(self.inner, Resident):
            self.inner.rest()

    @property
    def precision(self) -> str:
        return self.inner.precision if isinstance(self.inner, Computing) else ""

    async def close(self) -> None:
        await self.inner.close()

    async def generate(self, requests: Sequence[Request]) -> list[Reply]:
        """One Reply a request, in order, metered. Hosted requests run concurrently, each with its own retries.

        Raises the ModelError when all failed for one reason, BudgetExceeded when nothing could be sent any more.
        """
        if not requests:
            return []
        for request in requests:
            _sensible(request)
        if self.policy is None:
            meter.check()
            replies = await self.inner.generate(requests)
            return [self._metered(reply, 0.0) if reply.finish != "error" else reply for reply in replies]
        stop: list[ModelError | BudgetExceeded] = []
        if len(requests) == 1:
            return [await self._reply(requests[0], stop)]
        results = await asyncio.gather(*(self._reply(request, stop) for request in requests), return_exceptions=True)
        answered = any(isinstance(result, Reply) for result in results)
        if answered:  # what was paid for is not thrown away with what the budget refused
            results = [ModelError(str(r)) if isinstance(r, BudgetExceeded) else r for r in results]
        return settle(results, self.name)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        if not requests:
            return []
        meter.check()
        started = time.monotonic()
        scores = await (
            self.inner.score(requests) if self.policy is None else self._retried(lambda: self.inner.score(requests))
        )
        elapsed = (time.monotonic() - started) / len(scores)
        return [replace(item, usage=self._report(item.usage, elapsed)) for item in scores]

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """Pieces as they come; the last one carries the metered Reply.

        A hosted stream is tried again only while nothing of it was given out. One that breaks off, or that the caller
        leaves early, is metered by what was received: prompt and text are then counted by the model's own ``count``.
        """
        _sensible(request)
        meter.check()
        started = time.monotonic()
        given: list[str] = []
        done = False
        try:
            async with aclosing(self._pieces(request, given)) as pieces:
                async for chunk in pieces:
                    if not is_unicode(chunk.text):
                        chunk = replace(chunk, text=as_unicode(chunk.text))
                    if chunk.reply is not None:
                        done = True
                        chunk = replace(chunk, reply=self._metered(chunk.reply, time.monotonic() - started))
                    given.append(chunk.text)
                    yield chunk
        finally:
            if not done and any(given):
                self._report(
                    Usage(
                        prompt_tokens=self.inner.count(request.messages),
                        completion_tokens=self.inner.count((Message("assistant", "".join(given)),)),
                    ),
                    time.monotonic() - started,
                )

    async def _pieces(self, request: Request, given: Sequence[str]) -> AsyncGenerator[Chunk, None]:
        if self.policy is None:
            async with aclosing(closable(self.inner.stream(request))) as pieces:
                async for chunk in pieces:
                    yield chunk
            return
        deadline = 0.0
        for attempt in range(self.policy.retries + 1):
            try:
                async with self._turn(), aclosing(closable(self.inner.stream(request))) as pieces:
                    deadline = deadline or time.monotonic() + self.policy.deadline
                    while True:
                        try:  # the limit is on each wait for a piece: a long answer may take longer in all
                            async with asyncio.timeout(self.policy.timeout):
                                chunk = await anext(pieces)
                        except StopAsyncIteration:
                            return
                        except TimeoutError:
                            raise self._late() from None
                        yield chunk
            except ModelError as error:
                if any(given):
                    raise
                await self._back_off(error, attempt, deadline)

    async def _reply(self, request: Request, stop: list[ModelError | BudgetExceeded]) -> Reply:
        """One request with its retries. ``stop`` is shared by a batch: a wrong key or spent budget ends what has not
        begun."""

        async def once() -> Reply:
            if stop:
                raise stop[0]
            try:
                meter.check()
                started = time.monotonic()
                reply = (await self.inner.generate((request,)))[0]
            except (AuthError, BudgetExceeded) as error:
                stop.append(error)
                raise
            return self._metered(reply, time.monotonic() - started)

        return await self._retried(once)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        policy = cast(Policy, self.policy)
        deadline = 0.0  # begins with the first try, not in the queue before it
        attempt = 0
        while True:
            try:
                async with self._turn():
                    deadline = deadline or time.monotonic() + policy.deadline
                    try:
                        async with asyncio.timeout(min(policy.timeout, max(0.001, deadline - time.monotonic()))):
                            return await call()
                    except TimeoutError:
                        raise self._late() from None
            except ModelError as error:
                await self._back_off(error, attempt, deadline)
            attempt += 1

    async def _back_off(self, error: ModelError, attempt: int, deadline: float) -> None:
        """Sleep before the next try, or raise ``error`` when there is to be none."""
        policy = cast(Policy, self.policy)
        if not error.retryable or attempt >= policy.retries:
            raise error
        wait = random.uniform(0.0, min(policy.cap, policy.base * 2**attempt))
        asked = error.retry_after if isinstance(error, RateLimited | ServerError) else None
        if asked:
            wait += asked
        if time.monotonic() + wait >= deadline:
            raise error
        if asked and isinstance(error, RateLimited):
            self._turns().close_for(asked)  # the others need not learn it one by one
        logger.info(
            "%s: try %d of %d failed (%s); next in %.1f s",
            self.name,
            attempt + 1,
            policy.retries + 1,
            type(error).__name__,
            wait,
        )
        await asyncio.sleep(wait)

    def _turns(self) -> RateLimiter:
        loop = asyncio.get_running_loop()
        if self._limiter is None or self._limiter.loop is not loop:
            self._limiter = RateLimiter(cast(Policy, self.policy), loop)
        return self._limiter

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        limiter = self._turns()
        async with limiter.slots:
            await limiter.enter()
            yield

    def _late(self) -> ModelTimeout:
        limit = cast(Policy, self.policy).timeout
        return ModelTimeout(
            f"{self.name} gave no answer within {limit:g} s",
            remedy=f"try again, or allow more time: RUNG_TIMEOUT={limit * 3:g}",
        )

    def _metered(self, reply: Reply, elapsed: float) -> Reply:
        text = reply.text if is_unicode(reply.text) else as_unicode(reply.text)
        return replace(reply, text=text, usage=self._report(reply.usage, elapsed))

    def _report(self, usage: Usage, elapsed: float) -> Usage:
        """Fill in what the provider left open (a call, seconds, money), tell the meter, and return it."""
        money = self.price.money(usage) if self.price is not None else 0.0
        usage = replace(usage, calls=usage.calls or 1, seconds=usage.seconds or elapsed, money=usage.money or money)
        meter.report(usage)
        return usage


class RateLimiter:
    """Concurrency and rate limits of one model in one event loop: slots, a token bucket, and a pause after a 429."""

    def __init__(self, policy: Policy, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.slots = asyncio.Semaphore(policy.concurrency)
        self._rate = policy.rate
        self._burst = max(1.0, policy.rate)
        self._tokens = self._burst
        self._filled = time.monotonic()
        self._opens = 0.0

    def close_for(self, seconds: float) -> None:
        self._opens = max(self._opens, time.monotonic() + seconds)

    async def enter(self) -> None:
        while (now := time.monotonic()) < self._opens:  # noqa: ASYNC110 - a clock is waited for, not an event
            await asyncio.sleep(self._opens - now)
        if self._rate <= 0:
            return
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate) - 1
        self._filled = now
        if self._tokens < 0:  # the debt is this caller's own place in the queue
            await asyncio.sleep(-self._tokens / self._rate)


def _sensible(request: Request) -> None:
    """Raise InputError for sampling that means nothing, before any provider reads it in its own way."""
    if not request.messages:
        raise InputError("no messages", remedy="give at least one message with role user")
    request.sampling.check()


def is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may hold half a character, which no file and no store takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_unicode(text: str) -> str:
    """The text with its half characters joined or replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


async def closable(pieces: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
    """Any async iterator as a generator that closes it, so that leaving early frees the connection or slot."""
    try:
        async for chunk in pieces:
            yield chunk
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
