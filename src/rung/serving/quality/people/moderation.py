"""Moderation of what is asked and answered, by a fitted policy (``rung moderate fit``).

A text that the policy blocks is held back, and the caller told which label it fell under and how to object; one that
it is unsure of passes unless that is refused too. Either is kept, and waits for a person (``rung moderate queue``);
what a person ruled holds from then on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.types import text_of
from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Endpoint, Piece
from rung.store import Store, StoredDecision

if TYPE_CHECKING:
    from rung.alignment.values.moderation import Moderator


@dataclass(frozen=True, slots=True)
class Moderation:
    """``requests``: what users and tools say in them is judged, one text at a time, before anything is asked.
    ``answers``: an answer is given out when the whole of it was judged, a streamed one too. ``strict``: what lies
    between the thresholds is held back until a person has ruled on it."""

    moderator: Moderator
    store: Store
    requests: bool = True
    answers: bool = True
    strict: bool = False

    @classmethod
    def open(
        cls, folder: Path, store: Store, *, requests: bool = True, answers: bool = True, strict: bool = False
    ) -> Moderation:
        """Raises InputError for a folder that holds no fitted policy."""
        from rung.alignment.values.moderation import Moderator

        return cls(Moderator.load(folder), store, requests, answers, strict)

    async def reply(
        self, endpoint: Endpoint, request: ChatRequest, *, live: bool
    ) -> AsyncGenerator[Piece | ChatChoice]:
        """What ``endpoint`` replies. Raises Refused (400, content_filter) for a request that is held back; an answer
        that is held back is a choice with the finish "filtered"."""
        if self.requests and (held := await self._held(_said(request))):
            raise Refused(400, _sorry("this request", held), code="content_filter", param="messages", again=False)
        async with aclosing(endpoint.reply(request, live=live and not self.answers)) as events:
            async for event in events:
                if self.answers and isinstance(event, ChatChoice):
                    said = [event.text, *(json.dumps(dict(call.arguments)) for call in event.tool_calls)]
                    if held := await self._held([text for text in said if text.strip()]):
                        event = ChatChoice(event.index, _sorry("the answer", held), "filtered", usage=event.usage)
                    if live and event.text:
                        yield Piece(event.index, event.text)
                yield event

    async def _held(self, texts: Sequence[str]) -> StoredDecision | None:
        return await asyncio.to_thread(self._decide, texts, current().subject) if texts else None

    def _decide(self, texts: Sequence[str], person: str) -> StoredDecision | None:
        """The first decision by which one of the texts is held back; None: all may pass."""
        for row in self.moderator.decide(texts, person):
            known = self.store.decisions.find(row.id)
            if known is None and row.verdict != "allowed":
                self.store.decisions.add(row)
            now = (known or row).now
            if now == "blocked" or (now == "review" and self.strict):
                return known or row
        return None


def _said(request: ChatRequest) -> list[str]:
    """The texts of a request that came from its user and from tools. (A long conversation is not judged more harshly:
    a text that has passed once passes again.)"""
    texts = [one.content or "" for one in request.messages if one.role in ("user", "tool")]
    texts += [text_of(request.input) if isinstance(request.input, dict) else request.input or ""]
    return [text for text in dict.fromkeys(texts) if text.strip()]


def _sorry(what: str, held: StoredDecision) -> str:
    return (
        f"{what} is held back by the moderation policy ({held.label}, decision {held.id}); "
        "to object: POST /v1/appeals with this id and a reason"
    )
