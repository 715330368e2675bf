"""The HTTP application: OpenAI's chat completions and models endpoints over what is offered, and health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rung.core import __version__
from rung.core.errors import RungError, StoreError
from rung.core.protocols import Embedder, Model
from rung.core.types import Message, Sampling
from rung.core.types import Request as ModelRequest
from rung.retrieval.collection.shared import Collections
from rung.serving.access.call import RequestCall
from rung.serving.access.door import Door
from rung.serving.access.keys import Keys
from rung.serving.apis.batches import BatchRunner, add_batches
from rung.serving.apis.embeddings import EMBEDDINGS_SCHEMA, EmbeddingsApp
from rung.serving.apis.files import add_files
from rung.serving.apis.pages.search import add_search
from rung.serving.apis.wire.chat import ChatRequest, Feedback, read_feedback
from rung.serving.apis.wire.messages import MessagesDialect, MessagesRequest, messages_error, read_messages
from rung.serving.apis.wire.refused import Refused, hide_paths
from rung.serving.apis.wire.reply import ModelList, ModelWire
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.gateway.chain import Chain
from rung.serving.http.chat import ChatApp, Offer, ask_inside, read_body, unknown
from rung.serving.http.guard import RequestGuard, on_defect, on_http, on_refused
from rung.serving.http.limits import Limits, RequestQueue
from rung.serving.observe.metrics import Metrics
from rung.serving.quality.ab import ABTest
from rung.serving.quality.record import Recorder
from rung.store import Store

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger("rung.serving")

QuickApp = ChatApp | EmbeddingsApp


@dataclass
class State:
    """What a running server knows of itself. ``warm`` names what is still being opened, ``broken`` what could not be."""

    queue: RequestQueue
    offer: Offer
    draining: bool = False
    warm: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """What a server gives. With ``keys`` (or a locked ``door``) everything but its health needs one; without, only calls that
    name the machine itself as host are answered, so that a web page cannot reach it through a name of its own (DNS rebinding).

    ``indexes`` are collections for the search page and ``/v1/search``; the caller closes them. ``ab_tests`` are tests between
    endpoints, each under an id of its own; ``recorder`` keeps requests and answers. ``metrics`` are shown at ``/metrics``.
    ``subject`` makes of a request's ``user`` what is kept of it. With a ``store`` there are files and batches.
    """

    endpoints: Sequence[Endpoint]
    keys: Keys = Keys()
    limits: Limits = Limits()
    indexes: Collections | None = None
    ab_tests: Sequence[ABTest] = ()
    recorder: Recorder | None = None
    door: Door | None = None
    metrics: Metrics | None = None
    subject: Callable[[str], str] = lambda user: ""
    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    store: Store | None = None

    def offer(self) -> Offer:
        """Raises InputError when two endpoints have one id."""
        found = Offer(tests={test.id: test for test in self.ab_tests})
        for endpoint in self.endpoints:
            found.add({endpoint.id: endpoint})
        return found


def make_app(
    served: Served, *, warm_up: bool = True, log: bool = True, clock: Callable[[], float] = time.time
) -> FastAPI:
    """The application over what is served. ``warm_up`` opens local models with one token, and indexes with one search, at
    start; ``/ready`` says when they are. ``log`` writes the access log. Raises InputError when two endpoints have one id."""
    state = State(RequestQueue(served.limits), served.offer())
    door = served.door or Door(served.keys)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_warm_up(served.endpoints, served.indexes, state))] if warm_up else []
        tasks += [asyncio.create_task(served.recorder.tidy())] if served.recorder is not None else []
        tasks += [asyncio.create_task(door.budgets.keep())] if door.budgets is not None else []
        tasks += [asyncio.create_task(runner.run())] if runner is not None else []
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
    chat = ChatApp(state.offer, state.queue, served.recorder, clock, served.subject)
    messages = replace(chat, path="/v1/messages", read=read_messages, dialect=MessagesDialect, refusal=messages_error)
    quick: dict[str, QuickApp] = {one.path: one for one in (chat, messages)}
    if served.embedders:
        quick["/v1/embeddings"] = EmbeddingsApp(served.embedders, state.queue)
    _add_chat(app, quick)
    if served.ab_tests or served.recorder is not None:
        _add_feedback(app, served)
    runner = _add_batches(app, served, door, quick, state.queue)
    _add_models(app, state.offer, served.embedders)
    _add_health(app, state, served.metrics)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_defect)
    app.add_middleware(RequestGuard, door=door, log=log, quick=quick, metrics=served.metrics)
    return app


class _Through(Response):
    """An application's answer as a response."""

    def __init__(self, app: QuickApp) -> None:
        super().__init__()
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _add_chat(app: FastAPI, quick: Mapping[str, QuickApp]) -> None:
    """The addresses that are answered without the framework, for its schema."""

    @app.post("/v1/chat/completions", response_model=None, openapi_extra=_CHAT_SCHEMA)
    async def ask() -> Response:
        """Ask a program or model; ``stream`` sends the answer as server-sent events."""
        return _Through(quick["/v1/chat/completions"])

    @app.post("/v1/messages", response_model=None, openapi_extra=_MESSAGES_SCHEMA)
    async def send() -> Response:
        """The same, by Anthropic's protocol."""
        return _Through(quick["/v1/messages"])

    if "/v1/embeddings" not in quick:
        return

    @app.post("/v1/embeddings", response_model=None, openapi_extra=EMBEDDINGS_SCHEMA)
    async def embed() -> Response:
        """Vectors of texts."""
        return _Through(quick["/v1/embeddings"])


def _add_feedback(app: FastAPI, served: Served) -> None:
    @app.post("/v1/feedback", response_model=None, openapi_extra=_FEEDBACK_SCHEMA)
    async def feedback(request: Request) -> dict[str, Any]:
        """Say how good an answer of an A/B test (once) or a recorded one was, or what would have been right."""
        said = read_feedback(await read_body(request.receive, served.limits))
        try:
            return await _hear(said, request.scope, served.ab_tests, served.recorder)
        except StoreError as error:
            logger.error("feedback could not be kept: %s", error.message)
            raise Refused(503, "the store is in trouble", code="store", retry_after=5) from None


def _add_batches(
    app: FastAPI, served: Served, door: Door, quick: Mapping[str, QuickApp], queue: RequestQueue
) -> BatchRunner | None:
    """Files and batches, where there is a store."""
    if served.store is None:
        return None
    add_files(app, served.store)

    async def inside(path: str, body: bytes, call: RequestCall) -> tuple[int, dict[str, Any]]:
        return await ask_inside(quick[path], path, body, call)

    runner = BatchRunner(served.store, inside, queue, list(quick), door.call_for)
    add_batches(app, runner, served.limits)
    return runner


def _add_models(app: FastAPI, offer: Offer, embedders: Mapping[str, Embedder]) -> None:
    began = int(time.time())

    def mine(request: Request) -> dict[str, int]:
        """What this caller may ask, and since when there is it."""
        caller = request.scope["rung.call"].caller
        every = {**offer.created, **dict.fromkeys(embedders, began)}
        return {id: when for id, when in every.items() if caller.may_ask(id)}

    @app.get("/v1/models")
    async def models(request: Request) -> ModelList:
        """Everything that is offered to this caller."""
        return ModelList(data=[ModelWire(id=id, created=when) for id, when in mine(request).items()])

    @app.get("/v1/models/{id:path}")
    async def model(request: Request, id: str) -> ModelWire:
        """One thing that is offered."""
        if id not in (found := mine(request)):
            raise unknown(id, list(found))
        return ModelWire(id=id, created=found[id])


def _add_health(app: FastAPI, state: State, metrics: Metrics | None) -> None:
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

    if metrics is None:
        return

    @app.get("/metrics", response_model=None)
    async def measured() -> Response:
        """What Prometheus scrapes."""
        metrics.load(state.queue.running, state.queue.waiting)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


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


_CHAT_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatRequest.model_json_schema(ref_template="#/$defs/{model}")}},
    }
}

_MESSAGES_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": MessagesRequest.model_json_schema(ref_template="#/$defs/{model}")}},
    }
}

_FEEDBACK_SCHEMA = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Feedback.model_json_schema()}}}
}


async def _warm_up(endpoints: Iterable[Endpoint], indexes: Collections | None, state: State) -> None:
    """One token from each local model and one search of each index, so that the first caller does not wait for files to load.
    Hosted models cost money."""
    models: dict[str, Model] = {}
    for endpoint in _leaves(endpoints):
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


def _leaves(endpoints: Iterable[Endpoint]) -> Iterable[Endpoint]:
    for endpoint in endpoints:
        if isinstance(endpoint, Chain):
            yield from _leaves(member.endpoint for member in endpoint.members)
        else:
            yield endpoint
