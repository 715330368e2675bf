"""What a caller asks for under one id: links that are tried in order until one answers.

The next link is tried when one fails, is too slow, has an open circuit or is at its limit; a prompt that is too long
goes on to links that read more, an empty budget to links that cost nothing. A caller's own mistake is told at once.
Once anything of an answer was given out no other link can take over: the stream then ends with an error event.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from rung.core.codec import digest
from rung.core.protocols import Model
from rung.core.types import Message, Usage
from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.compute import SHORT, compute
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint, Piece
from rung.serving.gateway.cache import AnswerCache
from rung.serving.gateway.member import RouteMember, to_blame
from rung.serving.gateway.route import Route
from rung.serving.gateway.timeouts import AnswerStream


@dataclass(frozen=True, slots=True)
class Kept:
    """The link ``cached``: an answer that was given before, of whatever age."""

    name: str = "cached"


@dataclass(frozen=True, slots=True)
class Apology:
    """The link ``refusal``: a text instead of an answer."""

    text: str
    name: str = "refusal"


Link = Route | Kept | Apology


@dataclass(frozen=True)
class Chain:
    """An endpoint with ``links``. ``age``: seconds that a kept answer is given instead of a new one; 0: none is
    kept."""

    id: str
    created: int
    links: Sequence[Link]
    cache: AnswerCache | None = None
    age: float = 0.0

    @functools.cached_property
    def members(self) -> tuple[RouteMember, ...]:
        return tuple(member for link in self.links if isinstance(link, Route) for member in link.members)

    @functools.cached_property
    def fingerprint(self) -> str:
        return digest([member.endpoint.fingerprint for member in self.members])

    @property
    def model(self) -> Model | None:
        return self.members[0].endpoint.model if len(self.members) == 1 else None

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return self.members[0].endpoint.heard(request)

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        call, cache, key = current(), self.cache, ""
        if cache is not None and self.age:
            key = cache.key(request, self.fingerprint, call.caller.tenant)
        if cache is not None and key:
            if (kept := await cache.kept(key, self.age)) is not None:
                call.cache, call.served_by = "hit", "cache"
                call.saved = sum((choice.usage for choice in kept), Usage())
                for choice in kept:
                    if live and choice.text:
                        yield Piece(choice.index, choice.text)
                    yield replace(choice, usage=Usage())
                return
            call.cache = "miss"
        made: list[ChatChoice] = []
        with cache.flight(key, made) if cache is not None and key else nullcontext():
            stream = await self._start(request, live)
            if isinstance(stream, ChatChoice):
                if live:
                    yield Piece(0, stream.text)
                yield stream
                return
            try:
                event = stream.first
                while event is not None:
                    yield event
                    if isinstance(event, ChatChoice) and not call.degraded:
                        made.append(event)
                    event = await stream.next()
            finally:
                await stream.close()

    async def _start(self, request: ChatRequest, live: bool) -> AnswerStream | ChatChoice:
        """The answer of the first link that begins one, or that of a link which asks nobody."""
        failure: Refused | None = None
        why = ""
        too_long = 0
        for link in self.links:
            if not isinstance(link, Route):
                if (choice := await self._last(link, request)) is None:
                    continue
                current().served_by, current().degraded = link.name, why or link.name
                return choice
            try:
                stream = await link.start(request, live=live, allowed=functools.partial(_allowed, request, too_long))
            except Refused as error:
                if not (to_blame(error) or error.code in ("budget_exceeded", "context_length_exceeded")):
                    raise
                if error.code == "context_length_exceeded":
                    too_long = max([too_long, *(member.context for member in link.members)])
                failure = failure or error
                why = why or f"{link.name}: {error.code or error.status}"
            else:
                current().degraded = why
                return stream
        raise failure or Refused(503, f"{self.id} has nothing to answer with", code="no_endpoint", retry_after=1)

    async def _last(self, link: Kept | Apology, request: ChatRequest) -> ChatChoice | None:
        if isinstance(link, Apology):
            return ChatChoice(0, link.text)
        if self.cache is None or not (
            key := self.cache.key(request, self.fingerprint, current().caller.tenant, any=True)
        ):
            return None
        found = await self.cache.find(key)
        return found[0] if found else None


async def _allowed(request: ChatRequest, too_long: int, member: RouteMember) -> Refused | None:
    """Why a member is not asked: its context, or the caller's money. What it may cost is set aside."""
    purse = current().purse
    if not member.context and purse is None:
        return None
    prompt = await _count(member, request)
    if not member.fits(prompt, request) or (too_long and member.context and member.context <= too_long):
        said = f"the prompt has about {prompt:,} tokens; {member.name} reads {member.context:,} with its answer"
        return Refused(400, said, code="context_length_exceeded", param="messages", again=False)
    return await purse.hold(member.estimate(prompt, request)) if purse is not None else None


async def _count(member: RouteMember, request: ChatRequest) -> int:
    if sum(len(message.content or "") for message in request.messages) > SHORT and member.endpoint.model is not None:
        return await compute(lambda: member.prompt(request))
    return member.prompt(request)


def leaves(endpoints: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """What answers in the end: the endpoints themselves, and those behind chains."""
    for endpoint in endpoints:
        if isinstance(endpoint, Chain):
            yield from leaves(member.endpoint for member in endpoint.members)
        else:
            yield endpoint
