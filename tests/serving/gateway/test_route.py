from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest

from rung.core.protocols import Model
from rung.core.types import Message
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.gateway.member import Breaker, RouteMember
from rung.serving.gateway.route import RetryBudget, Route


@dataclass
class Slow:
    """Answers after ``seconds``, or fails."""

    id: str
    seconds: float = 0.0
    fails: bool = False
    asked: list[str] = field(default_factory=list)
    created: int = 0
    fingerprint: str = "f"
    model: Model | None = None

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        self.asked.append(request.messages[-1].content or "")
        await asyncio.sleep(self.seconds)
        if self.fails:
            raise Refused(502, "no", code="model_failed")
        yield ChatChoice(0, self.id)

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return tuple(message.message() for message in request.messages)


def request(text: str = "hi") -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": text}]})


async def allowed(member: RouteMember) -> None:
    return None


async def ask(route: Route, text: str = "hi") -> str:
    stream = await route.start(request(text), live=False, allowed=allowed)
    assert isinstance(stream.first, ChatChoice)
    assert await stream.next() is None
    return stream.first.text


def route(*endpoints: Any, **options: Any) -> Route:
    return Route([RouteMember(one.id, one) for one in endpoints], **options)


async def test_least_busy_sends_a_slow_one_little() -> None:
    waits = {}
    for balance in ("round-robin", "least-busy"):
        members = [Slow("slow", 0.05), Slow("b", 0.01), Slow("c", 0.01)]
        balanced = route(*members, balance=balance)
        gate = asyncio.Semaphore(6)

        async def one(balanced: Route = balanced, gate: asyncio.Semaphore = gate) -> None:
            async with gate:
                await ask(balanced)

        await asyncio.gather(*(one() for _ in range(60)))
        waits[balance] = len(members[0].asked)
    assert waits["round-robin"] == 20
    assert waits["least-busy"] <= 10


async def test_weights_prefixes_and_turns() -> None:
    a, b = Slow("a"), Slow("b")
    weighted = Route(
        [RouteMember("a", a, weight=3), RouteMember("b", b)],
        "weighted",
        rng=iter([x / 100 for x in range(100)]).__next__,
    )
    assert Counter([await ask(weighted) for _ in range(100)]) == {"a": 76, "b": 24}
    near = route(Slow("a"), Slow("b"), Slow("c"), balance="prefix")
    first = [await ask(near, f"document {n} " * 300 + "question 1") for n in range(12)]
    again = [await ask(near, f"document {n} " * 300 + "another question") for n in range(12)]
    assert first == again
    assert len(set(first)) == 3
    near.members[0].in_flight = 50
    assert "a" not in [await ask(near, f"document {n} " * 300) for n in range(12)]


async def test_a_failure_is_tried_on_another_member_and_a_circuit_opens() -> None:
    down, up = Slow("down", fails=True), Slow("up")
    balanced = route(down, up, balance="round-robin")
    assert {await ask(balanced) for _ in range(20)} == {"up"}
    assert len(down.asked) == 3  # then its circuit is open
    alone = route(Slow("x", fails=True))
    with pytest.raises(Refused):
        await ask(alone)
    assert len(alone.members[0].endpoint.asked) == 2  # type: ignore[attr-defined]


async def test_one_request_probes_a_circuit_that_was_open() -> None:
    now = [0.0]
    slow = Slow("a", 0.02)
    member = RouteMember("a", slow, breaker=Breaker(1, 10), clock=lambda: now[0])
    member.failures, member.opens_at = 1, 10.0
    balanced = Route([member])
    with pytest.raises(Refused) as caught:
        await ask(balanced)
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "no_endpoint", 10.0)
    now[0] = 11.0
    results = await asyncio.gather(*(ask(balanced) for _ in range(5)), return_exceptions=True)
    assert [type(r) for r in results].count(str) == 1
    assert await ask(balanced) == "a"


def test_retries_stay_within_a_share_of_the_requests() -> None:
    budget, tries = RetryBudget(), 0
    for _ in range(1000):
        budget.deposit()
        tries += budget.take()
    assert 200 <= tries <= 212
