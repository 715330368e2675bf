"""One answer over HTTP: the request is run and what comes is sent, whole or as events."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse, Response

from rung.core.errors import RungError
from rung.core.parts.meter import metered
from rung.core.types import Usage
from rung.serving.quality.ab import Assignment
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint, Piece
from rung.serving.endpoints.refusal import refusal
from rung.serving.http.guard import defect
from rung.serving.http.limits import RequestQueue
from rung.serving.quality.record import Recorder
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.reply import (
    ChatChunk,
    ChatCompletion,
    ChoiceWire,
    ChunkChoiceWire,
    DeltaWire,
    MessageWire,
    UsageWire,
    calls_wire,
    finish_wire,
)

if TYPE_CHECKING:
    from starlette.types import Message as Event
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger("rung.serving")


class ChatResponse(Response):
    """Runs the request and sends the answer, whole or as events. The status is that of the first thing that happens.

    A client that goes away cancels the work; the deadline ends it with 504, or with an error event once a stream has begun.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        asked: ChatRequest,
        queue: RequestQueue,
        created: int,
        turn: Assignment | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        self.turn, self.recorder = turn, recorder
        self.endpoint, self.asked, self.queue, self.created = endpoint, asked, queue, created
        self.id = "chatcmpl-" + secrets.token_hex(12)
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._work(scope, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                scope["rung.status"] = 499  # as nginx logs a client that closed the connection
        finally:
            for task in (work, gone):
                task.cancel()
            results = await asyncio.gather(work, gone, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _work(self, scope: Scope, send: Send) -> None:
        try:
            async with asyncio.timeout(self.queue.limits.deadline):
                async with self.queue.turn():
                    with metered() as meter:
                        await (self._stream if self.asked.stream else self._whole)(scope, send, lambda: meter.total)
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
            await JSONResponse(refused.body(), refused.status, refused.headers())(scope, _never, send)
            return
        scope["rung.status"] = refused.status
        try:
            # A reader that stopped reading must not hold this task for ever.
            async with asyncio.timeout(5):
                await send(_event(_json(refused.body()), more=False))
        except TimeoutError:
            pass

    async def _whole(self, scope: Scope, send: Send, used: Callable[[], Usage]) -> None:
        async with aclosing(self.endpoint.reply(self.asked, live=False)) as events:
            choices = [event async for event in events if isinstance(event, ChatChoice)]
        usage = self._usage(scope, choices, used())
        completion = ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.endpoint.id,
            choices=[
                ChoiceWire(
                    index=choice.index,
                    message=MessageWire(
                        content=choice.text if choice.text or not choice.tool_calls else None,
                        tool_calls=calls_wire(choice.tool_calls) or None,
                    ),
                    logprobs=_logprobs(choice),
                    finish_reason=finish_wire(choice.finish),
                )
                for choice in choices
            ],
            usage=UsageWire.of(usage),
            system_fingerprint="rung-" + self.endpoint.fingerprint[:16],
            rung=_extension(choices, usage),
        )
        body = completion.model_dump_json().encode()
        await self._note()
        self.started = True
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *self._arm()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._record(choices)

    async def _stream(self, scope: Scope, send: Send, used: Callable[[], Usage]) -> None:
        choices: list[ChatChoice] = []
        named: set[int] = set()
        async with aclosing(self.endpoint.reply(self.asked, live=True)) as events:
            async for event in events:
                if not self.started:
                    await self._note()
                    self.started = True
                    headers = [
                        (b"content-type", b"text/event-stream; charset=utf-8"),
                        (b"cache-control", b"no-cache"),
                        *self._arm(),
                    ]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                if event.index not in named:
                    named.add(event.index)
                    await send(self._chunk(event.index, DeltaWire(role="assistant", content="")))
                if isinstance(event, Piece):
                    await send(self._chunk(event.index, DeltaWire(content=event.text)))
                    continue
                choices.append(event)
                if event.tool_calls:
                    calls = calls_wire(event.tool_calls, streamed=True)
                    await send(self._chunk(event.index, DeltaWire(tool_calls=calls)))
                await send(self._chunk(event.index, DeltaWire(), event))
        usage = self._usage(scope, choices, used())
        extension = _extension(choices, usage)
        if self._counted or extension is not None:
            wire = UsageWire.of(usage) if self._counted else None
            await send(_event(self._chunk_json([], usage=wire, rung=extension)))
        await send(_event("[DONE]", more=False))
        self._record(choices)

    def _record(self, choices: Sequence[ChatChoice]) -> None:
        if self.recorder is not None:
            self.recorder.note(self.id, self.endpoint, self.asked, choices)

    async def _note(self) -> None:
        """An answer of an A/B test is in the store before its id is known to anybody."""
        if self.turn is not None:
            await self.turn.note(self.id)

    def _arm(self) -> list[tuple[bytes, bytes]]:
        return self.turn.headers if self.turn is not None else []

    def _chunk(self, index: int, delta: DeltaWire, end: ChatChoice | None = None) -> Event:
        choice = ChunkChoiceWire(
            index=index,
            delta=delta,
            logprobs=_logprobs(end) if end is not None else None,
            finish_reason=finish_wire(end.finish) if end is not None else None,
        )
        return _event(self._chunk_json([choice]))

    def _chunk_json(
        self, choices: list[ChunkChoiceWire], usage: UsageWire | None = None, rung: dict[str, Any] | None = None
    ) -> str:
        text = ChatChunk(
            id=self.id,
            created=self.created,
            model=self.endpoint.id,
            choices=choices,
            system_fingerprint="rung-" + self.endpoint.fingerprint[:16],
            usage=usage,
            rung=rung,
        ).model_dump_json()
        # OpenAI's streams that end in a usage have a null in the other chunks.
        return f'{text[:-1]},"usage":null}}' if self._counted and usage is None else text

    @property
    def _counted(self) -> bool:
        options = self.asked.stream_options
        return options is not None and bool(options.include_usage)

    def _usage(self, scope: Scope, choices: Sequence[ChatChoice], metered: Usage) -> Usage:
        """What the meter saw at the models (inner calls too), else what the answer itself says."""
        usage = metered if metered.calls else sum((choice.usage for choice in choices), Usage())
        if len(choices) > 1:  # the prompt of several choices is one, and counted once
            first = min(choices, key=lambda choice: choice.index).usage
            usage = replace(usage, prompt_tokens=first.prompt_tokens, cached_tokens=first.cached_tokens)
        scope["rung.usage"] = usage
        return usage


def _extension(choices: Sequence[ChatChoice], usage: Usage) -> dict[str, Any] | None:
    found = next((choice.extension for choice in choices if choice.extension is not None), None)
    if found is None:
        return None
    cost = {"calls": usage.calls, "seconds": usage.seconds, "cpu_seconds": usage.cpu_seconds, "money": usage.money}
    return {**found, "usage": cost}


def _logprobs(choice: ChatChoice) -> dict[str, Any] | None:
    if choice.logprobs is None:
        return None
    # Part of a character is no text: such a token's bytes are not told.
    texts = choice.tokens if len(choice.tokens) == len(choice.logprobs) else ("",) * len(choice.logprobs)
    content: list[dict[str, Any]] = [
        {
            "token": text,
            "logprob": value,
            "bytes": None if not text or "\ufffd" in text else list(text.encode("utf-8", "replace")),
            "top_logprobs": [],
        }
        for text, value in zip(texts, choice.logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}


def _event(data: str, *, more: bool = True) -> Event:
    return {"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": more}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _never() -> Event:
    raise RuntimeError("the body was read")
