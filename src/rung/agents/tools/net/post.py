"""Letters: what an agent with a mailbox sends, to one or to all that have subscribed, and how it waits for some."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.core.errors import RungError
from rung.core.types.mail import Late
from rung.core.types.trail import ToolCaller, caller

POLL = 0.05
"""Seconds between two looks into a box."""


@dataclass(frozen=True)
class PostTool(FunctionTool):
    """Finds whose letters they are by the call that it answers."""

    asks: str = "a box"


def post() -> tuple[PostTool, ...]:
    """``send``, ``broadcast``, ``subscribe`` and ``receive``."""
    made = (
        tool(send, effect="keyed"),
        tool(broadcast, effect="keyed"),
        tool(subscribe, effect="keyed"),
        tool(receive, volatile=True),
    )
    return tuple(PostTool(**vars(one)) for one in made)


def _who() -> ToolCaller:
    if (found := caller()) is None or not found.name:
        raise RungError("letters are sent from within an episode of an agent with a mailbox", code="no-mailbox")
    return found


def send(to: str, text: str, key: str) -> str:
    """Send a letter to one agent, by the name of its mailbox."""
    who = _who()
    who.trail.mail.send(to, who.name, key, text)
    return f"sent to {to}"


def broadcast(topic: str, text: str, key: str) -> str:
    """Send a letter to everybody who has subscribed to a topic."""
    who = _who()
    count = who.trail.mail.publish(topic, who.name, key, text)
    return f"sent to the {count} who have subscribed to {topic}"


def subscribe(topic: str, late: Late = "none") -> str:
    """From now on get what is broadcast on a topic; late says what of before: none, last or all."""
    who = _who()
    count = who.trail.mail.subscribe(topic, who.name, late)
    return f"subscribed to {topic}; {count} earlier letters come"


async def receive(seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0) -> str:
    """Wait until a letter comes; it is shown then."""
    who = _who()
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := who.trail.mail.unread(who.name)):
        if asyncio.get_running_loop().time() >= deadline:
            return f"no letter has come within {seconds:g} seconds"
        await asyncio.sleep(POLL)
    return f"{len(found)} letter{'s' * (len(found) > 1)} came"
