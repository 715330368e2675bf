"""The HTTP application: OpenAI's chat completions and models endpoints over what is offered, and health."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rung.core import __version__
from rung.core.errors import InputError, RungError, StoreError
from rung.core.meter import metered
from rung.core.protocols import Model
from rung.core.types import Message, Sampling, Usage
from rung.core.types import Request as ModelRequest
from rung.retrieval.collection.shared import Collections
from rung.serving.ab import ABTest, Assignment
from rung.serving.endpoint import Choice, Endpoint, Piece, refusal
from rung.serving.keys import Keys
from rung.serving.limits import Limits, RequestQueue
from rung.serving.record import Recorder
from rung.serving.search import add_search
from rung.serving.wire import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChoiceWire,
    ChunkChoiceWire,
    DeltaWire,
    Feedback,
    MessageWire,
    ModelList,
    ModelWire,
    Refused,
    UsageWire,
    calls_wire,
    finish_wire,
    hide_paths,
    read_chat,
    read_feedback,
)

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as Event

logger = logging.getLogger("rung.serving")
access = logging.getLogger("rung.access")

OPEN = frozenset({"/health", "/search"})
"""What needs no key: whether the process answers, and the search page, which holds nothing until it is given a key."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass
class State:
    """What a running server knows of itself. ``warm`` names what is still being opened, ``broken`` what could not be."""

    queue: RequestQueue
    draining: bool = False
    warm: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)


def make_app(
    endpoints: Sequence[Endpoint],
    *,
    keys: Keys | None = None,
    limits: Limits | None = None,
    indexes: Collections | None = None,
    ab_tests: Sequence[ABTest] = (),
    recorder: Recorder | None = None,
    warm_up: bool = True,
    log: bool = True,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The application over ``endpoints``. With ``keys`` every /v1 call needs one; without, only calls that name the machine
    itself as host are answered, so that a web page cannot reach it through a name of its own (DNS rebinding).

    ``indexes`` are collections for the search page and ``/v1/search``; the caller closes them. ``ab_tests`` are A/B tests between
    endpoints, each under an id of its own; ``recorder`` keeps requests and answers. What callers think of an answer comes back at
    ``/v1/feedback``. ``warm_up`` opens local models with one token, and indexes with one search, at start; ``/ready`` says when they are. ``log`` writes the access log.
    Raises InputError when two endpoints have one id.
    """
    limits = limits or Limits()
    shelf: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        if endpoint.id in shelf:
            raise InputError(
                f"two things to serve are called {endpoint.id}", remedy="give one another name: rung serve NAME=DIR"
            )
        shelf[endpoint.id] = endpoint
    tests = {split.id: split for split in ab_tests}
    created = {endpoint.id: endpoint.created for endpoint in endpoints} | {
        split.id: split.created for split in ab_tests
    }
    state = State(RequestQueue(limits))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_warm_up(shelf.values(), indexes, state))] if warm_up else []
        tasks += [asyncio.create_task(recorder.tidy())] if recorder is not None else []
        yield
        state.draining = True
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The interactive pages of FastAPI load scripts from elsewhere: only the schema itself is served.
    app = FastAPI(title="rung", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.rung = state
    threads = add_search(app, indexes, state.queue, limits) if indexes is not None else None

    @app.post("/v1/chat/completions", response_model=None, openapi_extra=_CHAT_SCHEMA)
    async def chat(request: Request) -> Response:
        """Ask a program or model; ``stream`` sends the answer as server-sent events."""
        asked = read_chat(await _read_body(request, limits.body, min(limits.deadline, 60.0)))
        if request.headers.get("x-rung") == "1":
            asked = asked.model_copy(update={"rung": True})
        if asked.model in tests:
            turn = tests[asked.model].choose(asked, request.headers, _key(request.scope) if keys else "")
            request.scope["rung.model"] = f"{turn.split.id}/{turn.arm}"
            return Reply(turn.endpoint, asked, state, limits, int(clock()), turn, recorder)
        endpoint = shelf.get(asked.model)
        if endpoint is None:
            raise _unknown(asked.model, created)
        request.scope["rung.model"] = endpoint.id
        return Reply(endpoint, asked, state, limits, int(clock()), None, recorder)

    if tests or recorder is not None:

        @app.post("/v1/feedback", response_model=None, openapi_extra=_FEEDBACK_SCHEMA)
        async def feedback(request: Request) -> dict[str, Any]:
            """Say how good an answer of an A/B test (once) or a recorded one was, or what would have been right."""
            said = read_feedback(await _read_body(request, limits.body, min(limits.deadline, 60.0)))
            try:
                return await _hear(said, request.scope, ab_tests, recorder)
            except StoreError as error:
                logger.error("feedback could not be kept: %s", error.message)
                raise Refused(
                    503, "the store is in trouble", kind="server_error", code="store", retry_after=5
                ) from None

    @app.get("/v1/models")
    async def models() -> ModelList:
        """Everything that is offered."""
        return ModelList(data=[ModelWire(id=id, created=when) for id, when in created.items()])

    @app.get("/v1/models/{id:path}")
    async def model(id: str) -> ModelWire:
        """One thing that is offered."""
        if id not in created:
            raise _unknown(id, created)
        return ModelWire(id=id, created=created[id])

    @app.get("/health", response_model=None)
    async def health() -> dict[str, Any]:
        """Alive: the process answers."""
        return {"status": "ok", "version": __version__}

    @app.get("/ready", response_model=None)
    async def ready() -> Response:
        """Ready for traffic: models are open and the server is not shutting down."""
        status = "draining" if state.draining else "failed" if state.broken else "opening" if state.warm else "ready"
        body: dict[str, Any] = {"status": status, "running": state.queue.running, "waiting": state.queue.waiting}
        if state.warm:
            body["opening"] = sorted(state.warm)
        if state.broken:
            body["failed"] = dict(state.broken)
        return JSONResponse(body, 200 if status == "ready" else 503)

    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_defect)
    app.add_middleware(Guard, keys=keys or Keys(), log=log)
    return app


async def _hear(said: Feedback, scope: Scope, ab_tests: Sequence[ABTest], recorder: Recorder | None) -> dict[str, Any]:
    """Keep feedback where its answer is known: in the A/B test that gave it, and where it is recorded."""
    out: dict[str, Any] = {}
    for split in ab_tests if said.score is not None else ():
        assert said.score is not None
        found = await split.hear(said.id, said.score)
        if found is None:
            continue
        if found.score != said.score:
            raise Refused(409, f"{said.id} was scored {found.score:g} before", code="scored", again=False)
        scope["rung.model"] = f"{split.id}/{found.arm}"
        out = {"id": said.id, "model": split.id, "arm": found.arm, "score": found.score}
        break
    if recorder is not None:
        kept = await recorder.hear(said.id, said.score, said.correction)
        if kept is not None:
            scope.setdefault("rung.model", kept.model)
            out = {
                "id": said.id,
                "model": kept.model,
                **out,
                "score": kept.score,
                "corrected": kept.correction is not None,
            }
    if not out or (said.correction is not None and "corrected" not in out):
        known = "recorded" if said.correction is not None or not ab_tests else "given"
        raise Refused(404, f"no answer {said.id[:100]!r} was {known} here", param="id", code="not_found", again=False)
    return out


def _unknown(id: str, offered: Mapping[str, int]) -> Refused:
    known = ", ".join(offered)
    return Refused(
        404, f"the model {id[:100]!r} does not exist; there is: {known}", param="model", code="model_not_found"
    )


_CHAT_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatRequest.model_json_schema(ref_template="#/$defs/{model}")}},
    }
}

_FEEDBACK_SCHEMA = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Feedback.model_json_schema()}}}
}


def _key(scope: Scope) -> str:
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return str(given.decode("latin-1").partition(" ")[2].strip())


async def _read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body; nothing of it is kept once it is longer than ``limit`` bytes (whatever Content-Length says).

    A body that is too long is read on for a while, because most clients look for an answer only after they have sent it all.
    """
    size = 0
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                else:
                    parts.clear()
                if size > _PATIENCE * limit:
                    break
    except TimeoutError:
        raise Refused(408, f"the body did not come within {seconds:g} s", code="body_timeout") from None
    if size > limit:
        raise Refused(413, f"the body is larger than {limit:,} bytes", code="request_too_large", again=False)
    return b"".join(parts)


_PATIENCE = 8


async def _warm_up(endpoints: Iterable[Endpoint], indexes: Collections | None, state: State) -> None:
    """One token from each local model and one search of each index, so that the first caller does not wait for files to load.
    Hosted models cost money."""
    models: dict[str, Model] = {}
    for endpoint in endpoints:
        if endpoint.model is not None and endpoint.model.capabilities.local:
            models[hide_paths(endpoint.model.name)] = endpoint.model
    state.warm.update(models)
    names = indexes.names if indexes is not None else ()
    state.warm.update(f"index {name}" for name in names)
    for name in names:
        assert indexes is not None
        try:
            await asyncio.to_thread(indexes.try_out, name)
        except Exception as error:
            logger.exception("cannot search %s", name)
            state.broken[f"index {name}"] = error.code if isinstance(error, RungError) else type(error).__name__
        state.warm.discard(f"index {name}")
    for name, model in models.items():
        try:
            await model.generate([ModelRequest((Message("user", "Hi"),), Sampling(max_tokens=1))])
        except Exception as error:
            logger.exception("cannot open %s", name)
            state.broken[name] = error.code if isinstance(error, RungError) else type(error).__name__
        state.warm.discard(name)


# ---------------------------------------------------------------- one answer


class Reply(Response):
    """Runs the request and sends the answer, whole or as events. The status is that of the first thing that happens.

    A client that goes away cancels the work; the deadline ends it with 504, or with an error event once a stream has begun.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        asked: ChatRequest,
        state: State,
        limits: Limits,
        created: int,
        turn: Assignment | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__()
        self.turn, self.recorder = turn, recorder
        self.endpoint, self.asked, self.queue, self.limits, self.created = endpoint, asked, state.queue, limits, created
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
            async with asyncio.timeout(self.limits.deadline):
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
                f"no complete answer within {self.limits.deadline:g} s",
                kind="server_error",
                code="deadline_exceeded",
                again=False,
            )
        except Exception:
            logger.exception("request %s failed", scope.get("rung.id"))
            refused = _defect(scope)
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
            choices = [event async for event in events if isinstance(event, Choice)]
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
        choices: list[Choice] = []
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
        options = self.asked.stream_options
        if (options is not None and options.include_usage) or extension is not None:
            wire = UsageWire.of(usage) if options is not None and options.include_usage else None
            await send(_event(self._chunk_json([], usage=wire, rung=extension)))
        await send(_event("[DONE]", more=False))
        self._record(choices)

    def _record(self, choices: Sequence[Choice]) -> None:
        if self.recorder is not None:
            self.recorder.note(self.id, self.endpoint, self.asked, choices)

    async def _note(self) -> None:
        """An answer of an A/B test is in the store before its id is known to anybody."""
        if self.turn is not None:
            await self.turn.note(self.id)

    def _arm(self) -> list[tuple[bytes, bytes]]:
        return self.turn.headers if self.turn is not None else []

    def _chunk(self, index: int, delta: DeltaWire, end: Choice | None = None) -> Event:
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
        return ChatChunk(
            id=self.id,
            created=self.created,
            model=self.endpoint.id,
            choices=choices,
            system_fingerprint="rung-" + self.endpoint.fingerprint[:16],
            usage=usage,
            rung=rung,
        ).model_dump_json()

    def _usage(self, scope: Scope, choices: Sequence[Choice], metered: Usage) -> Usage:
        """What the meter saw at the models (inner calls too), else what the answer itself says."""
        usage = metered if metered.calls else sum((choice.usage for choice in choices), Usage())
        if len(choices) > 1:  # the prompt of several choices is one, and counted once
            first = min(choices, key=lambda choice: choice.index).usage
            usage = replace(usage, prompt_tokens=first.prompt_tokens, cached_tokens=first.cached_tokens)
        scope["rung.usage"] = usage
        return usage


def _extension(choices: Sequence[Choice], usage: Usage) -> dict[str, Any] | None:
    found = next((choice.extension for choice in choices if choice.extension is not None), None)
    if found is None:
        return None
    cost = {"calls": usage.calls, "seconds": usage.seconds, "cpu_seconds": usage.cpu_seconds, "money": usage.money}
    return {**found, "usage": cost}


def _logprobs(choice: Choice) -> dict[str, Any] | None:
    if choice.logprobs is None:
        return None
    # The texts of single tokens are not part of a Reply.
    content: list[dict[str, Any]] = [
        {"token": "", "logprob": value, "bytes": None, "top_logprobs": []} for value in choice.logprobs
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


# ---------------------------------------------------------------- around every request


async def _on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.scope["rung.code"] = error.code
    return JSONResponse(error.body(), error.status, error.headers())


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this address", 405: "this address does not take this method"}
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    refused = Refused(error.status_code, said.get(error.status_code, str(error.detail)), code=code)
    return JSONResponse(refused.body(), error.status_code, error.headers)


async def _on_defect(request: Request, error: Exception) -> Response:
    refused = _defect(request.scope)
    return JSONResponse(refused.body(), refused.status, refused.headers())


def _defect(scope: Scope) -> Refused:
    said = f"the server failed on this request ({scope.get('rung.id', '')}); its log says why"
    return Refused(500, said, kind="server_error", code="internal_error", again=False)


class Guard:
    """Request id, host and key checks, and one line of access log a request: no contents, no keys, no query."""

    def __init__(self, app: ASGIApp, keys: Keys, log: bool) -> None:
        self.app, self.keys, self.log = app, keys, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["rung.id"] = id = "req-" + secrets.token_hex(8)
        status = 0

        async def sent(event: Event) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                event["headers"] = [*event["headers"], (b"x-request-id", id.encode())]
            await send(event)

        refused = self._check(scope)
        try:
            if refused is not None:
                scope["rung.code"] = refused.code
                await JSONResponse(refused.body(), refused.status, refused.headers())(scope, receive, sent)
            else:
                await self.app(scope, receive, sent)
        finally:
            if self.log and access.isEnabledFor(logging.INFO):
                self._write(scope, scope.get("rung.status", status), time.perf_counter() - started)

    def _check(self, scope: Scope) -> Refused | None:
        headers = {name: value for name, value in scope["headers"] if name in (b"host", b"origin", b"authorization")}
        if not self.keys:
            host = _hostname("//" + headers.get(b"host", b"").decode("latin-1"))
            origin = headers.get(b"origin")
            if host not in LOOPBACK or (origin is not None and _hostname(origin.decode("latin-1")) not in LOOPBACK):
                said = "this server has no API keys and answers only callers on its own machine, by the name localhost"
                return Refused(403, said, code="foreign_host", again=False)
            return None
        if scope["path"] in OPEN:
            return None
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self.keys.admit(key.strip()):
            return None
        said = "wrong API key" if key else "no API key; send it as: Authorization: Bearer KEY"
        return Refused(401, said, code="invalid_api_key", again=False)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get("route")
        usage: Usage | None = scope.get("rung.usage")
        tokens = f" tokens={usage.prompt_tokens}+{usage.completion_tokens}" if usage is not None else ""
        model = f" model={scope['rung.model']}" if "rung.model" in scope else ""
        code = f" code={scope['rung.code']}" if scope.get("rung.code") else ""
        path = getattr(route, "path", "-")
        access.info(
            "%s %s %s %d %.1fms%s%s%s",
            scope["rung.id"],
            scope["method"],
            path,
            status,
            seconds * 1e3,
            model,
            tokens,
            code,
        )


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
