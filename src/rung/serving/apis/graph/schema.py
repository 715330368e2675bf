"""The GraphQL schema: runs, episodes and recorded requests of the store, and answers, whole or as they come."""

# Not under "from __future__ import annotations": Strawberry reads the types of fields and arguments while it builds the
# schema.

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import AddValidationRules, MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.types import Info
from strawberry.types.nodes import SelectedField

from rung.serving.access.call import RequestCall
from rung.serving.access.roles import may
from rung.serving.apis.graph import views
from rung.serving.apis.graph.cost import LIMIT, CostRule
from rung.serving.apis.wire.reply import to_bytes
from rung.serving.endpoints.endpoint import Piece
from rung.store import Store

logger = logging.getLogger("rung.serving")

DEPTH, TOKENS, ALIASES = 6, 1000, 15


@dataclass(frozen=True)
class GraphContext:
    """What a resolver needs: the store, who asks, and how this server is asked, whole or as a stream (body, call)."""

    store: Store | None
    call: RequestCall
    ask: Callable[[bytes, RequestCall], Awaitable[tuple[int, dict[str, Any]]]]
    stream: Callable[[bytes, RequestCall], AsyncGenerator[Piece | dict[str, Any]]]

    def kept(self) -> Store:
        """The store. Raises GraphQLError where the server has none, or to whom it may not be shown."""
        if not may(self.call.caller.role, "traces"):
            raise _refused(f"the role {self.call.caller.role} may not read traces", "role")
        if self.store is None:
            raise _refused("this server has no store", "no_store")
        return self.store

    def body(self, model: str, message: str, system: str, max_tokens: int | None) -> bytes:
        """A chat request. Raises GraphQLError for a caller who may only read."""
        if not may(self.call.caller.role, "ask"):
            raise _refused(f"the role {self.call.caller.role} may not ask", "role")
        messages = [{"role": "system", "content": system}] if system else []
        body = {"model": model, "messages": [*messages, {"role": "user", "content": message}], "user": None}
        return to_bytes(body if max_tokens is None else {**body, "max_tokens": max_tokens})


Context = Info[GraphContext, None]


def _refused(message: str, code: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})


def _wanted(info: Context) -> dict[str, Any]:
    """The fields asked of what is being resolved."""
    found: dict[str, Any] = {}

    def add(selections: list[Any]) -> None:
        for one in selections:
            if isinstance(one, SelectedField):
                found[one.name] = one
            else:
                add(one.selections)

    for field in info.selected_fields:
        add(field.selections)
    return found


def _most(limit: int) -> int:
    if not 1 <= limit <= LIMIT:
        raise _refused(f"limit is {limit}, expected 1 to {LIMIT}", "limit")
    return limit


@strawberry.type(name="Metric")
class MetricNode:
    name: str
    value: float
    low: float
    high: float


@strawberry.type(name="Rung")
class RungNode:
    name: str
    position: int
    payload: strawberry.Private[str]

    @strawberry.field
    def status(self) -> str:
        return str(json.loads(self.payload).get("status", ""))

    @strawberry.field
    def metrics(self) -> list[MetricNode]:
        """Metrics with their intervals."""
        found: Mapping[str, Mapping[str, float]] = json.loads(self.payload).get("metrics", {})
        return [
            MetricNode(
                name=name,
                value=float(one.get("value", 0)),
                low=float(one.get("low", 0)),
                high=float(one.get("high", 0)),
            )
            for name, one in found.items()
        ]


@strawberry.type(name="Run")
class RunNode:
    id: str
    task: str
    status: str
    started: float
    changed: float

    @strawberry.field
    async def rungs(self, info: Context, limit: int = 10) -> list[RungNode]:
        """What was measured, in order."""
        columns = {"name", "payload"} if {"status", "metrics"} & set(_wanted(info)) else {"name"}
        rows = await asyncio.to_thread(views.read_rungs, info.context.kept(), self.id, columns, _most(limit))
        return [RungNode(name=row["name"], position=row["position"], payload=row.get("payload", "{}")) for row in rows]


@strawberry.type(name="Event")
class EventNode:
    seq: int
    kind: str
    at: float
    payload: str


@strawberry.type(name="Episode")
class EpisodeNode:
    id: str
    title: str
    parent: str
    started: float

    @strawberry.field
    async def events(self, info: Context, limit: int = LIMIT) -> list[EventNode]:
        """What it perceived, decided, did and learned; payloads are JSON."""
        wanted = set(_wanted(info))
        rows = await asyncio.to_thread(views.read_events, info.context.kept(), self.id, wanted, _most(limit))
        return [
            EventNode(seq=row["seq"], kind=row.get("kind", ""), at=row.get("at", 0.0), payload=row.get("payload", ""))
            for row in rows
        ]


@strawberry.type(name="Served")
class ServedNode:
    id: str
    model: str
    payload: str
    created: float
    score: float | None
    correction: str | None


@strawberry.type(name="Answer")
class AnswerNode:
    """A whole answer. ``finish`` as in OpenAI's protocol."""

    id: str
    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


@strawberry.type
class AnswerPiece:
    """A part of an answer; the last one is empty and ``done``."""

    text: str
    done: bool


@strawberry.type(name="Query")
class QueryNode:
    @strawberry.field
    async def runs(self, info: Context, limit: int = 10) -> list[RunNode]:
        """Climbs and evaluations, newest first."""
        rows = await asyncio.to_thread(views.read_runs, info.context.kept(), set(_wanted(info)), _most(limit))
        return [_run(row) for row in rows]

    @strawberry.field
    async def run(self, info: Context, id: str) -> RunNode | None:
        """One run."""
        rows = await asyncio.to_thread(views.read_runs, info.context.kept(), set(_wanted(info)), 1, id)
        return _run(rows[0]) if rows else None

    @strawberry.field
    async def episodes(self, info: Context, limit: int = 10) -> list[EpisodeNode]:
        """What agents did, newest first."""
        rows = await asyncio.to_thread(views.read_episodes, info.context.kept(), set(_wanted(info)), _most(limit))
        return [_episode(row) for row in rows]

    @strawberry.field
    async def episode(self, info: Context, id: str) -> EpisodeNode | None:
        """One episode."""
        rows = await asyncio.to_thread(views.read_episodes, info.context.kept(), set(_wanted(info)), 1, id)
        return _episode(rows[0]) if rows else None

    @strawberry.field
    async def served(self, info: Context, limit: int = 10, model: str = "") -> list[ServedNode]:
        """Recorded requests, newest first."""
        wanted = set(_wanted(info))
        rows = await asyncio.to_thread(views.read_served, info.context.kept(), wanted, _most(limit), model)
        names = ("model", "payload", "created", "score", "correction")
        empty: dict[str, Any] = {"model": "", "payload": "", "created": 0.0, "score": None, "correction": None}
        return [ServedNode(id=row["id"], **{name: row.get(name, empty[name]) for name in names}) for row in rows]


def _run(row: Mapping[str, Any]) -> RunNode:
    said = {name: row.get(name, "") for name in ("task", "status")}
    return RunNode(id=row["id"], **said, started=row.get("started", 0.0), changed=row.get("changed", 0.0))


def _episode(row: Mapping[str, Any]) -> EpisodeNode:
    said = {name: row.get(name, "") for name in ("title", "parent")}
    return EpisodeNode(id=row["id"], **said, started=row.get("started", 0.0))


@strawberry.type(name="Mutation")
class MutationNode:
    @strawberry.mutation
    async def generate(
        self, info: Context, model: str, message: str, system: str = "", max_tokens: int | None = None
    ) -> AnswerNode:
        """Ask a program or model."""
        body = info.context.body(model, message, system, max_tokens)
        status, answer = await info.context.ask(body, info.context.call)
        if status != 200:
            raise _refused(str(answer["error"]["message"]), str(answer["error"].get("code") or status))
        choice, usage = answer["choices"][0], answer["usage"]
        return AnswerNode(
            id=answer["id"],
            text=choice["message"]["content"] or "",
            finish=choice["finish_reason"],
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
        )


@strawberry.type(name="Subscription")
class SubscriptionNode:
    @strawberry.subscription
    async def generate(
        self, info: Context, model: str, message: str, system: str = "", max_tokens: int | None = None
    ) -> AsyncGenerator[AnswerPiece, None]:
        """Ask, and get the answer as it comes. Whoever stops listening ends the work."""
        body = info.context.body(model, message, system, max_tokens)
        events = info.context.stream(body[:-1] + b',"stream":true}', info.context.call)
        try:
            async for event in events:
                if isinstance(event, dict):
                    raise _refused(str(event["error"]["message"]), str(event["error"].get("code") or ""))
                yield AnswerPiece(text=event.text, done=False)
            yield AnswerPiece(text="", done=True)
        finally:
            await events.aclose()


class LimitedSchema(strawberry.Schema):
    """A schema whose log has our own faults alone, not what callers write wrongly."""

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        for error in errors:
            if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
                logger.error("GraphQL: %s failed", error.path, exc_info=error.original_error)


def make_schema() -> strawberry.Schema:
    """The schema with its limits: depth, tokens, aliases (Strawberry's), and cost (ours)."""
    return LimitedSchema(
        QueryNode,
        MutationNode,
        SubscriptionNode,
        extensions=[
            lambda: QueryDepthLimiter(DEPTH),
            lambda: MaxTokensLimiter(TOKENS),
            lambda: MaxAliasesLimiter(ALIASES),
            lambda: AddValidationRules([CostRule]),
        ],
    )
