"""What is seldom asked of a server, by FastAPI: its schema, feedback, files, batches, pages. It is imported and built
at the first such request: a gateway that only forwards needs neither its time nor its memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from rung.core import __version__
from rung.core.errors import StoreError
from rung.serving.apis.appeals import add_appeals
from rung.serving.apis.batches.addresses import add_batches
from rung.serving.apis.batches.batches import BatchRunner
from rung.serving.apis.batches.files import add_files
from rung.serving.apis.embeddings import EMBEDDINGS_SCHEMA
from rung.serving.apis.wire.chat import ChatRequest, Feedback, read_feedback
from rung.serving.apis.wire.messages import MessagesRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import defect
from rung.serving.http.app import Served, State
from rung.serving.http.chat import Offer, read_body, unknown
from rung.serving.http.status import model_wire, offered

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("rung.serving")


def make_framework(
    served: Served, state: State, quick: Mapping[tuple[str, str], ASGIApp], runner: BatchRunner | None
) -> FastAPI:
    """The application of all addresses. Those of ``quick`` are on it for its schema."""
    # The interactive pages of FastAPI load scripts from elsewhere: only the schema itself is served.
    app = FastAPI(title="rung", version=__version__, docs_url=None, redoc_url=None)
    if served.indexes is not None:
        from rung.serving.apis.pages.search import add_search

        state.threads = add_search(app, served.indexes, state.queue, served.limits)
    _add_chat(app, quick)
    if served.ab_tests or served.recorder is not None:
        _add_feedback(app, served)
    if served.store is not None and runner is not None:
        add_files(app, served.store)
        add_batches(app, runner, served.limits)
    if (decided := served.moderation.store if served.moderation is not None else served.store) is not None:
        add_appeals(app, decided, served.limits)
    _add_status(app, quick, served, state.offer)
    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(StoreError, on_store)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_defect)
    return app


async def on_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.scope["rung.code"] = error.code
    return JSONResponse(error.body(), error.status, error.headers())


async def on_store(request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    logger.error("%s %s: %s", request.method, request.url.path, error.message)
    return await on_refused(request, Refused(503, "the store is in trouble", code="store", retry_after=5))


async def on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is nothing at this address", 405: "this address does not take this method"}
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    refused = Refused(error.status_code, said.get(error.status_code, str(error.detail)), code=code)
    return JSONResponse(refused.body(), error.status_code, error.headers)


async def on_defect(request: Request, error: Exception) -> Response:
    refused = defect(request.scope)
    return JSONResponse(refused.body(), refused.status, refused.headers())


class _Through(Response):
    """An application's answer as a response."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _add_chat(app: FastAPI, quick: Mapping[tuple[str, str], ASGIApp]) -> None:
    """The addresses that are answered without the framework, for its schema."""

    @app.post("/v1/chat/completions", response_model=None, openapi_extra=_CHAT_SCHEMA)
    async def ask() -> Response:
        """Ask a program or model; ``stream`` sends the answer as server-sent events."""
        return _Through(quick["POST", "/v1/chat/completions"])

    @app.post("/v1/messages", response_model=None, openapi_extra=_MESSAGES_SCHEMA)
    async def send() -> Response:
        """The same, by Anthropic's protocol."""
        return _Through(quick["POST", "/v1/messages"])

    if ("POST", "/v1/embeddings") not in quick:
        return

    @app.post("/v1/embeddings", response_model=None, openapi_extra=EMBEDDINGS_SCHEMA)
    async def embed() -> Response:
        """Vectors of texts."""
        return _Through(quick["POST", "/v1/embeddings"])


def _add_feedback(app: FastAPI, served: Served) -> None:
    @app.post("/v1/feedback", response_model=None, openapi_extra=_FEEDBACK_SCHEMA)
    async def feedback(request: Request) -> dict[str, Any]:
        """Say how good an answer of an A/B test (once) or a recorded one was, or what would have been right."""
        return await _hear(read_feedback(await read_body(request.receive, served.limits)), request.scope, served)


def _add_status(app: FastAPI, quick: Mapping[tuple[str, str], ASGIApp], served: Served, offer: Offer) -> None:
    @app.get("/v1/models", response_model=None)
    async def models() -> Response:
        """Everything that is offered to this caller."""
        return _Through(quick["GET", "/v1/models"])

    @app.get("/v1/models/{id:path}", response_model=None)
    async def model(request: Request, id: str) -> dict[str, Any]:
        """One thing that is offered."""
        found = offered(offer, served.embedders, request.scope)
        if id not in found:
            raise unknown(id, list(found))
        return model_wire(id, found[id])

    @app.get("/health", response_model=None)
    async def health() -> Response:
        """Alive: the process answers."""
        return _Through(quick["GET", "/health"])

    @app.get("/ready", response_model=None)
    async def ready() -> Response:
        """Ready for traffic: models are open and the server is not shutting down."""
        return _Through(quick["GET", "/ready"])

    if served.metrics is None:
        return

    @app.get("/metrics", response_model=None)
    async def measured() -> Response:
        """What Prometheus scrapes."""
        return _Through(quick["GET", "/metrics"])


async def _hear(said: Feedback, scope: Scope, served: Served) -> dict[str, Any]:
    """Keep feedback where its answer is known: in the A/B test that gave it, and where it is recorded."""
    ab_tests, recorder = served.ab_tests, served.recorder
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
        kept = await recorder.hear(said, served.subject(said.user) if said.user else "")
        if kept is not None:
            scope.setdefault("rung.model", kept.model)
            out = {
                "id": said.id,
                "model": kept.model,
                **out,
                "score": kept.score,
                "corrected": kept.correction is not None,
            }
    learns = said.correction is not None or said.kind is not None
    if not out or (learns and "corrected" not in out):
        known = "recorded" if learns or not ab_tests else "given"
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
