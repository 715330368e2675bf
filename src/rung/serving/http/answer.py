"""One answer over HTTP: the request is run and what comes is sent, whole or as events."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rung.core.errors import RungError
from rung.core.parts.meter import metered
from rung.core.types import Usage
from rung.serving.access.budget import Purse
from rung.serving.access.call import RequestCall
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.dialect import Dialect
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import defect, send_json
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint, Piece
from rung.serving.endpoints.refusal import refusal
from rung.serving.gateway.chain import Chain
from rung.serving.gateway.member import RouteMember
from rung.serving.quality.ab import Assignment
from rung.serving.quality.people.style import PersonalStyles

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from rung.serving.http.chat import ChatApp

logger = logging.getLogger("rung.serving")


AFTER = 0.05
"""Seconds after which it is watched whether the client is still there: most answers are given before."""


class ChatAnswer:
    """Runs the request and sends the answer, whole or as events. The status is that of the first thing that happens.

    A client that goes away cancels the work; the deadline ends it with 504, or with an error event once a stream has
    begun.
    """

    def __init__(
        self, app: ChatApp, endpoint: Endpoint, asked: ChatRequest, dialect: Dialect, turn: Assignment | None = None
    ) -> None:
        self.turn, self.recorder, self.survey, self.queue = turn, app.recorder, app.survey, app.queue
        self.moderation, self.styles, self.style = app.offer.moderation, app.styles, ""
        self.endpoint, self.asked, self.dialect = endpoint, asked, dialect
        self.id = dialect.id
        self.started = False
        self.begun_at = time.perf_counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.current_task()
        assert work is not None
        watching: list[asyncio.Task[None]] = []
        left = False

        async def watch() -> None:
            nonlocal left
            while (await receive())["type"] != "http.disconnect":
                pass
            left = True
            work.cancel()

        timer = asyncio.get_running_loop().call_later(AFTER, lambda: watching.append(asyncio.create_task(watch())))
        try:
            await self._work(scope, send)
        except asyncio.CancelledError:
            if not left or work.uncancel():
                raise
            scope["rung.status"] = 499  # as nginx logs a client that closed the connection
        finally:
            timer.cancel()
            for task in watching:
                task.cancel()

    async def _work(self, scope: Scope, send: Send) -> None:
        call: RequestCall = scope["rung.call"]
        with metered() as meter:
            try:
                await self._told(scope, send, lambda: meter.total)
            finally:
                if meter.total.calls:
                    scope.setdefault("rung.usage", meter.total)
                if call.purse is not None:
                    call.purse.settle(meter.total)

    async def _told(self, scope: Scope, send: Send, used: Callable[[], Usage]) -> None:
        """The answer, or what went wrong."""
        call: RequestCall = scope["rung.call"]
        try:
            async with asyncio.timeout(self.queue.limits.deadline):
                if call.purse is not None and (no := await call.purse.enter()) is not None:
                    raise no
                async with self.queue.turn():
                    if self.styles is not None and call.subject:
                        await self._choose_style(self.styles, call)
                    if call.purse is not None and not isinstance(self.endpoint, Chain):
                        await self._hold(call.purse)
                    await (self._stream if self.asked.stream else self._whole)(scope, send, used)
            return
        except Refused as error:
            refused = error
        except RungError as error:
            refused = refusal(error)
        except TimeoutError:
            refused = Refused(
                504,
                f"no complete answer within {self.queue.limits.deadline:g} s",
                code="deadline_exceeded",
                again=False,
            )
        except Exception:
            logger.exception("request %s failed", scope.get("rung.id"))
            refused = defect(scope)
        scope["rung.code"] = refused.code
        if self.turn is not None and refused.status >= 500 and refused.code != "overloaded":
            await self.turn.fail(self.id, noted=self.started)
        if not self.started:
            headers = {**refused.headers(), **{name.decode(): value.decode() for name, value in self._way(scope)}}
            await send_json(send, self.dialect.refusal(refused), refused.status, headers)
            return
        scope["rung.status"] = refused.status
        try:
            # A reader that stopped reading must not hold this task for ever.
            async with asyncio.timeout(5):
                await send({"type": "http.response.body", "body": self.dialect.broken(refused), "more_body": False})
        except TimeoutError:
            pass

    async def _hold(self, purse: Purse) -> None:
        """Set aside what an endpoint without a chain may use: a chain does it for each of its links."""
        member = RouteMember(self.endpoint.id, self.endpoint)
        if (no := await purse.hold(member.estimate(member.prompt(self.asked), self.asked))) is not None:
            raise no

    async def _choose_style(self, styles: PersonalStyles, call: RequestCall) -> None:
        """Ask in the style that is chosen for the person."""
        self.style = await styles.choose(call.subject, self.endpoint)
        if self.style:
            self.asked = styles.ask(self.asked, self.style)

    def _reply(self, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        if self.moderation is not None:
            return self.moderation.reply(self.endpoint, self.asked, live=live)
        return self.endpoint.reply(self.asked, live=live)

    async def _whole(self, scope: Scope, send: Send, used: Callable[[], Usage]) -> None:
        async with aclosing(self._reply(live=False)) as events:
            choices = [event async for event in events if isinstance(event, ChatChoice)]
        usage = self._usage(scope, choices, used())
        body = self.dialect.whole(choices, usage, _extension(choices, usage))
        await self._note(scope["rung.call"])
        self.started = True
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *self._way(scope),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._record(choices)

    async def _stream(self, scope: Scope, send: Send, used: Callable[[], Usage]) -> None:
        choices: list[ChatChoice] = []
        named: set[int] = set()
        async with aclosing(self._reply(live=True)) as events:
            async for event in events:
                out = b""
                if not self.started:
                    await self._note(scope["rung.call"])
                    self.started = True
                    scope["rung.first"] = time.perf_counter() - self.begun_at
                    headers = [
                        (b"content-type", b"text/event-stream; charset=utf-8"),
                        (b"cache-control", b"no-cache"),
                        *self._way(scope),
                    ]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                if event.index not in named:
                    named.add(event.index)
                    out = self.dialect.begin(event.index)
                if isinstance(event, Piece):
                    for text in event.parts or (event.text,):
                        out += self.dialect.piece(event.index, text)
                else:
                    choices.append(event)
                    out += self.dialect.end(event)
                await send({"type": "http.response.body", "body": out, "more_body": True})
        usage = self._usage(scope, choices, used())
        out = self.dialect.last(usage, _extension(choices, usage))
        await send({"type": "http.response.body", "body": out, "more_body": False})
        self._record(choices)

    def _record(self, choices: Sequence[ChatChoice]) -> None:
        if self.recorder is not None:
            self.recorder.note(self.id, self.endpoint, self.asked, choices)

    async def _note(self, call: RequestCall) -> None:
        """The arm of an A/B test and the style are in the store before the answer's id is known to anybody."""
        if self.turn is not None:
            await self.turn.note(self.id)
        if self.styles is not None and self.style:
            await self.styles.note(self.id, self.style, call.subject)

    def _way(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Headers that say which way the request went."""
        call: RequestCall = scope["rung.call"]
        asks = self.survey.headers(self.id) if self.survey is not None else ()
        styled = PersonalStyles.headers(self.style)
        return [*call.headers(), *(self.turn.headers if self.turn is not None else ()), *asks, *styled]

    def _usage(self, scope: Scope, choices: Sequence[ChatChoice], metered: Usage) -> Usage:
        """What the meter saw at the models (inner calls too), else what the answer itself says."""
        usage = metered if metered.calls else sum((choice.usage for choice in choices), Usage())
        if len(choices) > 1:  # the prompt of several choices is one, and counted once
            first = min(choices, key=lambda choice: choice.index).usage
            usage = replace(usage, prompt_tokens=first.prompt_tokens, cached_tokens=first.cached_tokens)
        scope["rung.usage"], scope["rung.choices"] = usage, choices
        return usage


def _extension(choices: Sequence[ChatChoice], usage: Usage) -> dict[str, Any] | None:
    found = next((choice.extension for choice in choices if choice.extension is not None), None)
    if found is None:
        return None
    cost = {"calls": usage.calls, "seconds": usage.seconds, "cpu_seconds": usage.cpu_seconds, "money": usage.money}
    return {**found, "usage": cost}
