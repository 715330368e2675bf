"""Decisions of an episode as training rows: what a model is shown at that point, and what was decided there, whoever
decided it.

An episode of an agent without a model, a scripted one for instance, makes rows as well: they teach a model to decide as
it did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from rung.agents.calls.call import FINISH, Staging, asked, choices, closed, forced, free
from rung.agents.calls.chooser import question
from rung.agents.calls.seen import narrow
from rung.agents.loop.log import Agent, EpisodeLog
from rung.agents.loop.move import Decision
from rung.agents.loop.view import EpisodeTurn, View
from rung.agents.policies.llm import INSTRUCTION, Llm
from rung.agents.policies.staged import LAST, offered, sources
from rung.agents.policies.transcript import opening, shown, turn_messages
from rung.agents.trace.replay import move_of
from rung.core.codec import encode, spell
from rung.core.types import Message, ToolCall
from rung.core.types.trail import Event, MemoryTrail

Way = Literal["staged", "native"]
"""How the model that learns will call: a row for each choice of a tool and one for the arguments of its call where they
leave a choice, or a whole conversation with tool calls."""


def solved(events: Sequence[Event]) -> bool:
    """Whether the episode ended as its environment wanted; where it had none, whether the agent ended it itself."""
    last = events[-1].payload if events and events[-1].kind == "ended" else None
    if last is None or last.get("stopped") not in ("", "world"):
        return False
    verdict = last.get("verdict")
    return bool(verdict["solved"] and not verdict.get("harms")) if verdict is not None else last["output"] is not None


def rows(agent: Agent, events: Sequence[Event], way: Way = "staged") -> list[dict[str, Any]]:
    """The rows of an episode, each {messages, episode, event}; ``native`` ones name the ``tools`` too. Calls that were
    refused, and decisions that were taken back, teach nothing."""
    log = EpisodeLog(agent, events[0].episode, MemoryTrail())
    refused = {event.payload["call"] for event in events if event.kind == "observed" and event.payload.get("refused")}
    called = {event.seq: event for event in events if event.kind == "called"}
    out = []
    for event in events:
        if event.kind == "said" and not event.payload.get("withdrawn"):
            move = move_of(event, tuple(events))
            following = [seq for seq in called if seq > event.seq][: len(move.calls)]
            good = not any(seq in refused for seq in (*following, event.seq))
            if good:
                for messages, more in _shown(agent, log.view, move, way):
                    said = [encode(message) for message in messages]
                    out.append({"messages": said, **more, "episode": event.episode, "event": event.seq})
        log.view.add(event)
    return out


def _shown(agent: Agent, view: View, move: Decision, way: Way) -> Iterator[tuple[list[Message], dict[str, Any]]]:
    policy = agent.policy
    # What another policy thought is not what the model that learns will have thought before.
    turns = view.turns if isinstance(policy, Llm) else [replace(turn, thought="", reply="") for turn in view.turns]
    if way == "native":
        said = _whole(view, policy.instruction if isinstance(policy, Llm) else INSTRUCTION, turns)
        calls = tuple(ToolCall(f"call_{at}", call.tool, call.arguments) for at, call in enumerate(move.calls))
        if calls or (move.finished and move.output is not None):
            answer = Message("assistant", "" if calls else spell(move.output), calls)
            tools = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": encode(t.schema)},
                }
                for t in view.tools
            ]
            yield [*said, answer], {"tools": tools}
        return
    yield from _staged(agent, view, move, turns)


def _staged(
    agent: Agent, view: View, move: Decision, turns: Sequence[EpisodeTurn]
) -> Iterator[tuple[list[Message], dict[str, Any]]]:
    policy = agent.policy
    staging = policy.staging if isinstance(policy, Llm) else Staging()
    seen, context = sources(view), "\n".join(shown(turn) for turn in turns[-LAST:])
    tools, others = choices(view.request, offered(view, seen), staging, context=context, finish=0.0)
    known = {tool.name: tool for tool in view.tools}
    names = [call.tool for call in move.calls] or ([free(FINISH, tools)] if move.finished else [])
    if tools and names and names[0] in {*(tool.name for tool in tools), *(name for name, _, _ in others)}:
        said = question(
            f"{view.request}\n{context}".strip(), tools, [f"- {name}: {about}" for name, about, _ in others]
        )
        yield [*said, Message("assistant", names[0])], {}
    for call in move.calls:
        tool = known.get(call.tool)
        if tool is None:
            continue
        narrowed = narrow(tool.schema, seen)
        schema = closed(narrowed if narrowed is not None else tool.schema, staging.arguments)
        if forced(schema) is not None:
            continue
        ordered = {name: encode(call.arguments[name]) for name in schema["properties"] if name in call.arguments}
        text = json.dumps(ordered, ensure_ascii=False)
        yield [*asked(view.request, tool, schema, context), Message("assistant", text)], {}


def _whole(view: View, instruction: str, turns: Sequence[EpisodeTurn]) -> list[Message]:
    """The request, the turns, and what was said since the last decision."""
    said = [text for text in view.said if text != view.request]
    last = [Message("user", "\n".join(said))] if said else []
    return [*opening(view, instruction), *(message for turn in turns for message in turn_messages(turn)), *last]
