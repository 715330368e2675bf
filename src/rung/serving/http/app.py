"""The HTTP application: OpenAI's chat completions and models endpoints over what is offered, and health."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rung.core.errors import RungError
from rung.core.protocols import Embedder, Model
from rung.core.types import Message, Sampling
from rung.core.types import Request as ModelRequest
from rung.serving.access.call import RequestCall
from rung.serving.access.door import Door
from rung.serving.access.keys import Keys
from rung.serving.apis.batches.batches import BatchRunner
from rung.serving.apis.inside import InsideClient
from rung.serving.apis.wire.messages import MessagesDialect, messages_error, read_messages
from rung.serving.apis.wire.refused import hide_paths
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.gateway.chain import leaves
from rung.serving.http.chat import ChatApp, Offer
from rung.serving.http.guard import RequestGuard
from rung.serving.http.limits import Limits, RequestQueue
from rung.serving.http.status import status_apps
from rung.serving.observe.drift import DriftWatch
from rung.serving.observe.metrics import Metrics
from rung.serving.observe.observers import Observers
from rung.serving.quality.ab import ABTest
from rung.serving.quality.people.moderation import Moderation
from rung.serving.quality.people.style import PersonalStyles
from rung.serving.quality.people.survey import AnswerSurvey
from rung.serving.quality.record import Recorder
from rung.store import Store

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from rung.retrieval.collection.shared import Collections
    from rung.serving.apis.mcp import McpApp
    from rung.serving.observe.spans import Spans

logger = logging.getLogger("rung.serving")


@dataclass
class State:
    """What a running server knows of itself. ``warm`` names what is still being opened, ``broken`` what could not
    be."""

    queue: RequestQueue
    offer: Offer
    draining: bool = False
    warm: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    threads: ThreadPoolExecutor | None = None


@dataclass(frozen=True)
class Served:
    """What a server gives. With ``keys`` (or a locked ``door``) everything but its health needs one; without, only
    calls that name the machine itself as host are answered, so that a web page cannot reach it through a name of its
    own (DNS rebinding).

    ``indexes`` are collections for the search page and ``/v1/search``; the caller closes them. ``ab_tests`` are tests
    between endpoints, each under an id of its own; ``recorder`` keeps requests and answers. ``metrics`` are shown at
    ``/metrics``, ``spans`` sent to a collector; ``content``: the JSON log has what was asked and answered.
    ``survey`` is a question that some answers carry; ``moderation`` judges what is asked and answered, ``styles`` are
    how each person is answered, ``drift`` watches what is asked. ``mcp``: everything is offered as tools at ``/mcp``,
    too; ``graphql``: at ``/graphql``, with what the store holds.
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
    spans: Spans | None = None
    content: bool = False
    survey: AnswerSurvey | None = None
    moderation: Moderation | None = None
    styles: PersonalStyles | None = None
    drift: DriftWatch | None = None
    mcp: bool = False
    graphql: bool = False
    subject: Callable[[str], str] = lambda user: ""
    embedders: Mapping[str, Embedder] = field(default_factory=dict)
    store: Store | None = None

    def offer(self) -> Offer:
        """Raises InputError when two endpoints have one id."""
        found = Offer(tests={test.id: test for test in self.ab_tests}, moderation=self.moderation)
        for endpoint in self.endpoints:
            found.add({endpoint.id: endpoint})
        return found


class ServerApp:
    """The application: addresses that are asked often are answered here, all others by ``framework``, which is made
    when the first of them is asked."""

    def __init__(self, served: Served, *, warm_up: bool, log: bool, clock: Callable[[], float]) -> None:
        self.served, self._warms_up = served, warm_up
        self.rung = State(RequestQueue(served.limits), served.offer())
        self._door = served.door or Door(served.keys)
        chat = ChatApp(
            self.rung.offer, self.rung.queue, served.recorder, clock, served.subject, survey=served.survey, styles=served.styles
        )  # fmt: skip
        messages = replace(
            chat, path="/v1/messages", read=read_messages, dialect=MessagesDialect, refusal=messages_error
        )
        self._quick: dict[tuple[str, str], ASGIApp] = status_apps(served, self.rung)
        self._quick |= {("POST", one.path): one for one in (chat, messages)}
        if served.embedders:
            from rung.serving.apis.embeddings import EmbeddingsApp

            self._quick["POST", "/v1/embeddings"] = EmbeddingsApp(served.embedders, self.rung.queue)
        observers = Observers(log, served.content, served.metrics, served.spans)
        inside = {
            path: InsideClient(app, path, observers) for (method, path), app in self._quick.items() if method == "POST"
        }
        self._mcp = self._tools(inside[chat.path]) if served.mcp else None
        if served.graphql:
            from rung.serving.apis.graph.graph import GraphApp

            self._quick["POST", GraphApp.path] = GraphApp(served.store, inside[chat.path], served.limits)
        self._runner = self._batches(inside)
        self._framework: FastAPI | None = None
        self._making = asyncio.Lock()
        self._guard = RequestGuard(self._slow, self._door, self._quick, observers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._guard(scope, receive, send)
            return
        await receive()
        async with self.lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The time in which it serves: what works beside requests begins and ends with it."""
        served = self.served
        tasks = [asyncio.create_task(_warm_up(served.endpoints, served.indexes, self.rung))] if self._warms_up else []
        tasks += [asyncio.create_task(served.recorder.tidy())] if served.recorder is not None else []
        tasks += [asyncio.create_task(self._door.budgets.keep())] if self._door.budgets is not None else []
        tasks += [asyncio.create_task(served.spans.keep())] if served.spans is not None else []
        tasks += [asyncio.create_task(served.drift.keep())] if served.drift is not None else []
        tasks += [asyncio.create_task(self._runner.run())] if self._runner is not None else []
        try:
            yield
        finally:
            self.rung.draining = True
            if self.rung.threads is not None:
                self.rung.threads.shutdown(wait=False, cancel_futures=True)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._mcp is not None:
                await self._mcp.close()

    async def framework(self) -> FastAPI:
        """FastAPI's application. It is imported in a thread, so that answers under way go on."""
        async with self._making:
            if self._framework is None:
                module = await asyncio.to_thread(import_module, "rung.serving.http.framework")
                self._framework = module.make_framework(self.served, self.rung, self._quick, self._runner)
            return self._framework

    async def _slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._framework or await self.framework()
        await app(scope, receive, send)

    def _tools(self, chat: InsideClient) -> McpApp:
        """What is served, as tools."""
        from rung.serving.apis.mcp import McpApp

        made = McpApp(self.rung.offer, chat.ask)
        self._quick |= {(method, made.path): made for method in ("GET", "POST", "DELETE")}
        return made

    def _batches(self, inside: Mapping[str, InsideClient]) -> BatchRunner | None:
        """What works off batches, where there is a store."""
        if self.served.store is None:
            return None

        async def ask(path: str, body: bytes, call: RequestCall) -> tuple[int, dict[str, Any]]:
            return await inside[path].ask(body, call)

        return BatchRunner(self.served.store, ask, self.rung.queue, list(inside), self._door.call_for)


def make_app(
    served: Served, *, warm_up: bool = True, log: bool = True, clock: Callable[[], float] = time.time
) -> ServerApp:
    """The application over what is served. ``warm_up`` opens local models with one token, and indexes with one search,
    at start; ``/ready`` says when they are. ``log`` writes the access log. Raises InputError when two endpoints have
    one id."""
    return ServerApp(served, warm_up=warm_up, log=log, clock=clock)


async def _warm_up(endpoints: Iterable[Endpoint], indexes: Collections | None, state: State) -> None:
    """One token from each local model and one search of each index, so that the first caller does not wait for files to
    load. Hosted models cost money."""
    models: dict[str, Model] = {}
    for endpoint in leaves(endpoints):
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
