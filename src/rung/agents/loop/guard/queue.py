"""What waits for a person: calls that must be approved, and questions; and a person's word on them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rung.agents.loop.view import View
from rung.core.errors import InputError, StoreError
from rung.core.types.trail import Event, Fenced, Trail

Word = Literal["approve", "deny", "edit"]


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """What event ``seq`` of an episode asks. ``digest`` names an approval: it is bound to this very call; without one
    it is a question in words. ``expires``: Unix seconds, infinite where it waits for ever."""

    episode: str
    seq: int
    text: str
    request: str
    asked: float
    expires: float = math.inf
    digest: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] | None = None

    @property
    def overdue(self) -> bool:
        return time.time() >= self.expires


def folded(events: Iterable[Event]) -> View:
    """What an episode's events add up to."""
    view = View()
    for event in events:
        view.add(event)
    return view


def questions(trail: Trail, episodes: Iterable[str]) -> list[OpenQuestion]:
    """What the episodes wait for, oldest first."""
    out: list[OpenQuestion] = []
    for episode in episodes:
        events = trail.read(episode)
        view = folded(events)
        if view.ended is not None or not view.waiting:
            continue
        asked = {event.seq: event for event in events if event.kind == "asked"}
        if not view.held:
            last = asked[max(asked)]
            out.append(OpenQuestion(episode, last.seq, view.waiting, view.request, last.at, view.expires))
        for seq, held in view.held.items():
            if held.word is None:
                event = asked[seq]
                expires = event.payload.get("expires", math.inf)
                out.append(
                    OpenQuestion(
                        episode,
                        seq,
                        event.payload["text"],
                        view.request,
                        event.at,
                        expires,
                        held.digest,
                        held.tool,
                        held.arguments,
                    )
                )
    return sorted(out, key=lambda one: (one.asked, one.episode, one.seq))


def pick_question(found: Iterable[OpenQuestion], name: str) -> OpenQuestion:
    """The question whose digest begins so. Raises InputError where there is none, or several."""
    fits = [one for one in found if one.digest and name and one.digest.startswith(name.lower())]
    if len(fits) == 1:
        return fits[0]
    what = "no approval waits under" if not fits else f"{len(fits)} approvals begin with"
    raise InputError(f"{what} {name!r}", remedy="list what waits: rung agent waiting", code="no-approval")


async def decide(trail: Trail, question: OpenQuestion, word: Mapping[str, Any]) -> None:
    """Write a person's word down: {do, by, why, arguments}. Raises InputError where the call is no longer what was
    shown, was decided about, is overdue, or the episode has ended."""
    for _ in range(1000):
        events = trail.read(question.episode)
        held = folded(events).held.get(question.seq)
        ended = events[-1].kind == "ended"
        if ended or held is None or held.digest != question.digest or held.word is not None:
            by = f" by {held.word.get('by')}" if held is not None and held.word else ""
            why = "the episode has ended" if ended else f"it was decided{by}" if by else "it is no longer asked"
            raise InputError(
                f"nothing to decide about {question.tool}: {why}",
                remedy="list what waits: rung agent waiting",
                code="no-approval",
            )
        if question.overdue:
            raise InputError(
                f"{question.tool} was to be decided in time, and is overdue",
                remedy="type: rung agent lapse",
                code="overdue",
            )
        payload = {"call": question.seq, "digest": question.digest, **word}
        try:
            await trail.append([Event(question.episode, events[-1].seq + 1, "decided", payload, time.time())])
        except Fenced:  # it went on meanwhile
            continue
        return
    raise StoreError(f"episode {question.episode} goes on too fast", remedy="type the same command again")
