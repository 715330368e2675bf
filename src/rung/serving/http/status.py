"""What a server says of itself: alive, ready, measured, and what it offers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rung.core import __version__
from rung.serving.apis.pages.page import read_page
from rung.serving.apis.wire.send import send_bytes, send_json
from rung.serving.http.chat import Offer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from rung.serving.http.app import Served, State

BEGAN = int(time.time())


def status_apps(served: Served, state: State) -> dict[tuple[str, str], ASGIApp]:
    """The applications by method and path."""

    async def health(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, {"status": "ok", "version": __version__})

    async def ready(scope: Scope, receive: Receive, send: Send) -> None:
        status = "draining" if state.draining else "failed" if state.broken else "opening" if state.warm else "ready"
        body: dict[str, Any] = {"status": status, "running": state.queue.running, "waiting": state.queue.waiting}
        if state.warm:
            body["opening"] = sorted(state.warm)
        if state.broken:
            body["failed"] = dict(state.broken)
        await send_json(send, body, 200 if status == "ready" else 503)

    async def models(scope: Scope, receive: Receive, send: Send) -> None:
        found = offered(state.offer, served.embedders, scope)
        await send_json(send, {"object": "list", "data": [model_wire(id, when) for id, when in found.items()]})

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        assert served.metrics is not None
        served.metrics.load(state.queue.running, state.queue.waiting)
        await send_bytes(send, served.metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")

    async def chat(scope: Scope, receive: Receive, send: Send) -> None:
        body, headers = read_page("chat.html")
        await send_bytes(send, body, b"text/html; charset=utf-8", 200, headers)

    found = {"/chat": chat, "/health": health, "/ready": ready, "/v1/models": models}
    if served.metrics is not None:
        found["/metrics"] = measured

    def named(path: str, app: ASGIApp) -> ASGIApp:
        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            scope["rung.path"] = path
            await app(scope, receive, send)

        return call

    return {("GET", path): named(path, app) for path, app in found.items()}


def offered(offer: Offer, embedders: Mapping[str, Any], scope: Scope) -> dict[str, int]:
    """What this caller may ask, and since when there is it."""
    caller = scope["rung.call"].caller
    every = {**offer.created, **dict.fromkeys(embedders, BEGAN)}
    return {id: when for id, when in every.items() if caller.may_ask(id)}


def model_wire(id: str, created: int) -> dict[str, Any]:
    """A model as OpenAI lists it."""
    return {"id": id, "object": "model", "created": created, "owned_by": "rung"}
