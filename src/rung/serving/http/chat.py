"""POST /v1/chat/completions, straight from the server's events: the address that nearly every request goes to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.serving.access.call import RequestCall, new_id
from rung.serving.apis.wire.chat import ChatRequest, read_chat
from rung.serving.apis.wire.dialect import Dialect, OpenaiDialect
from rung.serving.apis.wire.refused import Refused
from rung.serving.apis.wire.send import send_json
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.http.answer import ChatAnswer
from rung.serving.http.limits import Limits, RequestQueue
from rung.serving.quality.ab import ABTest, Assignment
from rung.serving.quality.people.moderation import Moderation
from rung.serving.quality.people.style import PersonalStyles
from rung.serving.quality.people.survey import AnswerSurvey
from rung.serving.quality.record import Recorder

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

MakeDialect = Callable[[str, int, Endpoint, ChatRequest], Dialect]


@dataclass
class Offer:
    """What can be asked, by id, and how it is moderated; replaced as a whole when a gateway's file is read again."""

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    tests: Mapping[str, ABTest] = field(default_factory=dict)
    moderation: Moderation | None = None

    @property
    def created(self) -> dict[str, int]:
        offered: list[Endpoint | ABTest] = [*self.endpoints.values(), *self.tests.values()]
        return {one.id: one.created for one in offered}

    def find(self, asked: ChatRequest, scope: Scope) -> tuple[Endpoint, Assignment | None]:
        """What is meant by a request's model. Raises Refused (403, 404)."""
        call: RequestCall = scope["rung.call"]
        test, endpoint = self.tests.get(asked.model), self.endpoints.get(asked.model)
        if test is None and endpoint is None:
            mine = [id for id in self.created if call.caller.may_ask(id)]
            raise unknown(asked.model, mine)
        if not call.caller.may_ask(asked.model):
            said = f"this key may not ask {asked.model}"
            raise Refused(403, said, code="model_not_allowed", param="model", again=False)
        if test is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            turn = test.choose(asked, headers, call.caller.key)
            scope["rung.model"] = f"{turn.split.id}/{turn.arm}"
            return turn.endpoint, turn
        assert endpoint is not None
        scope["rung.model"] = endpoint.id
        return endpoint, None

    def add(self, endpoints: Mapping[str, Endpoint]) -> None:
        """Offer more. Raises InputError for an id that is taken."""
        for id in endpoints:
            if id in self.endpoints or id in self.tests:
                raise InputError(
                    f"two things to serve are called {id}", remedy="give one another name: rung serve NAME=DIR"
                )
        self.endpoints = {**self.endpoints, **endpoints}


def unknown(id: str, offered: list[str]) -> Refused:
    known = ", ".join(offered)
    return Refused(
        404, f"the model {id[:100]!r} does not exist; there is: {known}", param="model", code="model_not_found"
    )


@dataclass(frozen=True)
class ChatApp:
    """The application behind one address. ``subject`` makes of a request's ``user`` what is kept of it."""

    offer: Offer
    queue: RequestQueue
    recorder: Recorder | None = None
    clock: Callable[[], float] = time.time
    subject: Callable[[str], str] = lambda user: ""
    path: str = "/v1/chat/completions"
    read: Callable[[bytes], ChatRequest] = read_chat
    dialect: MakeDialect = OpenaiDialect
    refusal: Callable[[Refused], dict[str, Any]] = Refused.body
    survey: AnswerSurvey | None = None
    styles: PersonalStyles | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["rung.path"] = self.path
        try:
            asked = self.read(await read_body(receive, self.queue.limits))
            if any(name == b"x-rung" and value == b"1" for name, value in scope["headers"]):
                asked = asked.model_copy(update={"rung": True})
            scope["rung.asked"] = asked
            answer = self.answer(asked, scope)
            scope["rung.answer"] = answer.id
        except Refused as refused:
            scope["rung.code"] = refused.code
            await send_json(send, self.refusal(refused), refused.status, refused.headers())
            return
        await answer(scope, receive, send)

    def answer(self, asked: ChatRequest, scope: Scope) -> ChatAnswer:
        """The answer to a request, not yet begun. Raises Refused."""
        endpoint, turn = self.offer.find(asked, scope)
        if asked.user:
            scope["rung.call"].subject = self.subject(asked.user)
        made = self.dialect(new_id("chatcmpl-"), int(self.clock()), endpoint, asked)
        return ChatAnswer(self, endpoint, asked, made, turn)


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """The body; nothing of it is kept once it is longer than the limit (whatever Content-Length says).

    A body that is too long is read on for a while, because most clients look for an answer only after they have sent it
    all.
    """
    limit, seconds = limits.body, min(limits.deadline, 60.0)
    event: Any = await receive() if limits.body else None
    if event["type"] == "http.request" and not event.get("more_body") and len(event.get("body", b"")) <= limit:
        return bytes(event.get("body", b""))  # nearly always
    size = 0
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                if event["type"] == "http.disconnect":
                    raise Refused(499, "the client left before it had sent its body", code="client_left")
                part = event.get("body", b"")
                size += len(part)
                if size <= limit:
                    parts.append(part)
                else:
                    parts.clear()
                if size > _PATIENCE * limit or not event.get("more_body"):
                    break
                event = await receive()
    except TimeoutError:
        raise Refused(408, f"the body did not come within {seconds:g} s", code="body_timeout") from None
    if size > limit:
        raise Refused(413, f"the body is larger than {limit:,} bytes", code="request_too_large", again=False)
    return b"".join(parts)


_PATIENCE = 8
