"""The HTTP application: OpenAI's chat completions and models endpoints over what is offered, and health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rung.core import __version__
from rung.core.errors import InputError, RungError, StoreError
from rung.core.protocols import Model
from rung.core.types import Message, Sampling
from rung.core.types import Request as ModelRequest
from rung.retrieval.collection.shared import Collections
from rung.serving.quality.ab import ABTest
from rung.serving.http.answer import ChatResponse
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.http.guard import GuardMiddleware, on_defect, on_http, on_refused
from rung.serving.access.keys import Keys
from rung.serving.http.limits import Limits, RequestQueue
from rung.serving.quality.record import Recorder
from rung.serving.apis.pages.search import add_search
from rung.serving.apis.wire.chat import ChatRequest, Feedback, read_chat, read_feedback
from rung.serving.apis.wire.refused import Refused, hide_paths
from rung.serving.apis.wire.reply import ModelList, ModelWire

if TYPE_CHECKING:
    from starlette.types import Scope

logger = logging.getLogger("rung.serving")
access = logging.getLogger("rung.access")


@dataclass
class State:
    """What a running server knows of itself. ``warm`` names what is still being opened, ``broken`` what could not be."""

    queue: RequestQueue
    draining: bool = False
    warm: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """What a server gives. With ``keys`` everything but its health needs one; without, only calls that name the machine itself
    as host are answered, so that a web page cannot reach it through a name of its own (DNS rebinding).

    ``indexes`` are collections for the search page and ``/v1/search``; the caller closes them. ``ab_tests`` are tests between
    endpoints, each under an id of its own; ``recorder`` keeps requests and answers.
    """

    endpoints: Sequence[Endpoint]
    keys: Keys = Keys()
    limits: Limits = Limits()
    indexes: Collections | None = None
    ab_tests: Sequence[ABTest] = ()
    recorder: Recorder | None = None

    def by_id(self) -> dict[str, Endpoint]:
        """Raises InputError when two endpoints have one id."""
        found: dict[str, Endpoint] = {}
        for endpoint in self.endpoints:
            if endpoint.id in found:
                raise InputError(
                    f"two things to serve are called {endpoint.id}",
                    remedy="give one another name: rung serve NAME=DIR",
                )
            found[endpoint.id] = endpoint
        return found


def make_app(
    served: Served, *, warm_up: bool = True, log: bool = True, clock: Callable[[], float] = time.time
) -> FastAPI:
    """The application over what is served. ``warm_up`` opens local models with one token, and indexes with one search, at
    start; ``/ready`` says when they are. ``log`` writes the access log. Raises InputError when two endpoints have one id."""
    endpoints = served.by_id()
    state = State(RequestQueue(served.limits))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_warm_up(endpoints.values(), served.indexes, state))] if warm_up else []
        tasks += [asyncio.create_task(served.recorder.tidy())] if served.recorder is not None else []
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
    threads = add_search(app, served.indexes, state.queue, served.limits) if served.indexes is not None else None
    created = {one.id: one.created for one in served.endpoints} | {one.id: one.created for one in served.ab_tests}
    _add_chat(app, served, endpoints, created, clock)
    if served.ab_tests or served.recorder is not None:
        _add_feedback(app, served)
    _add_models(app, created)
    _add_health(app, state)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_defect)
    app.add_middleware(GuardMiddleware, keys=served.keys, log=log)
    return app


def _add_chat(
    app: FastAPI,
    served: Served,
    endpoints: Mapping[str, Endpoint],
    created: Mapping[str, int],
    clock: Callable[[], float],
) -> None:
    queue: RequestQueue = app.state.rung.queue
    tests = {test.id: test for test in served.ab_tests}

    @app.post("/v1/chat/completions", response_model=None, openapi_extra=_CHAT_SCHEMA)
    async def chat(request: Request) -> Response:
        """Ask a program or model; ``stream`` sends the answer as server-sent events."""
        asked = read_chat(await _read_body(request, served.limits))
        if request.headers.get("x-rung") == "1":
            asked = asked.model_copy(update={"rung": True})
        if asked.model in tests:
            turn = tests[asked.model].choose(asked, request.headers, _key(request.scope) if served.keys else "")
            request.scope["rung.model"] = f"{turn.split.id}/{turn.arm}"
            return ChatResponse(turn.endpoint, asked, queue, int(clock()), turn, served.recorder)
        endpoint = endpoints.get(asked.model)
        if endpoint is None:
            raise _unknown(asked.model, created)
        request.scope["rung.model"] = endpoint.id
        return ChatResponse(endpoint, asked, queue, int(clock()), None, served.recorder)


def _add_feedback(app: FastAPI, served: Served) -> None:
    @app.post("/v1/feedback", response_model=None, openapi_extra=_FEEDBACK_SCHEMA)
    async def feedback(request: Request) -> dict[str, Any]:
        """Say how good an answer of an A/B test (once) or a recorded one was, or what would have been right."""
        said = read_feedback(await _read_body(request, served.limits))
        try:
            return await _hear(said, request.scope, served.ab_tests, served.recorder)
        except StoreError as error:
            logger.error("feedback could not be kept: %s", error.message)
            raise Refused(503, "the store is in trouble", code="store", retry_after=5) from None


def _add_models(app: FastAPI, created: Mapping[str, int]) -> None:
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


def _add_health(app: FastAPI, state: State) -> None:
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


async def _read_body(request: Request, limits: Limits) -> bytes:
    """The body; nothing of it is kept once it is longer than the limit (whatever Content-Length says).

    A body that is too long is read on for a while, because most clients look for an answer only after they have sent it all.
    """
    limit, seconds = limits.body, min(limits.deadline, 60.0)
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
    except ClientDisconnect:
        raise Refused(499, "the client left before it had sent its body", code="client_left") from None
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
