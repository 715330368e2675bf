"""A conversation is an episode: what the agent answers waits for the next message, which goes on in the same episode.

A client sends the whole conversation each time and knows of no episode. So after each answer the trail keeps which
episode a conversation that has gone so far is, by a hash of it. Where two clients have said the same so far, the second
one that goes on does so in a copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rung.agents.loop.episode import Episode, Start
from rung.core.codec import digest, spell
from rung.core.errors import InputError
from rung.core.types import Answer, Message
from rung.core.types.trail import Driver, Event, Fenced, Trail

if TYPE_CHECKING:
    from rung.agents.program.program import AgentProgram


async def converse(program: AgentProgram, messages: Sequence[Message], trail: Trail, owner: str = "") -> Answer:
    """The agent's answer to the last message. ``owner`` keeps the conversations of different people apart.

    Raises InputError where the last message is no user's.
    """
    from rung.agents.program.program import answer

    said = [message for message in messages if message.role in ("user", "assistant") and message.content]
    if not said or said[-1].role != "user":
        raise InputError("the last message is no user's", remedy="end with what the agent is asked", code="no-user")
    asked = said[-1].content
    id, start = await _place(program, said[:-1], asked, trail, owner)
    events: list[Event] = []
    before = trail.read(id)
    view = await Episode(program.agent(), id, trail, events.append).run(start)
    found = answer(view, id, [*before, *events])
    if view.waiting and view.replied:
        found = replace(found, output=view.waiting, raw=view.waiting, failure=None)
    if found.failure is None and view.ended is None:
        so_far = [*said, Message("assistant", spell(found.output))]
        await trail.perform(_key(program, so_far, owner), json.dumps([id, len(trail.read(id))]))
    return found


async def _place(
    program: AgentProgram, history: Sequence[Message], asked: str, trail: Trail, owner: str
) -> tuple[str, Start]:
    """The episode in which the conversation goes on, the message put into it, and its beginning."""
    known = dict(trail.effects(key)).get(key) if history and (key := _key(program, history, owner)) else None
    if known is None:  # a new one, or one that was begun elsewhere: then it is told what was said
        lines = [f"{message.role}: {message.content}" for message in history]
        request = "\n".join([*lines, f"user: {asked}"]) if lines else asked
        return digest([program.identity, request, time.time_ns()])[:20], Start(request, converses=True)
    id, count = json.loads(known)
    events = trail.read(id)
    start = Start(events[0].payload["request"], converses=True)
    if len(events) == count:
        try:
            await trail.append([_message(id, count, asked)])
        except Fenced:  # somebody else was quicker to go on from here
            events = trail.read(id)
        else:
            return id, start
    copy = digest([id, count, asked, time.time_ns()])[:20]
    kept = [event._replace(episode=copy) for event in events[:count]]
    driver = Driver(program.identity, events[0].payload["request"], id)
    await trail.append([*kept, _message(copy, count, asked)], driver)
    return copy, start


def _message(id: str, seq: int, text: str) -> Event:
    return Event(id, seq, "steered", {"do": "say", "by": "person", "text": text}, time.time())


def _key(program: AgentProgram, messages: Sequence[Message], owner: str) -> str:
    return f"conversation/{digest([program.identity, owner, [[one.role, one.content] for one in messages]])}"
