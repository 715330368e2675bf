"""Decisions of an episode as training rows: what a model is shown at that point, and what was decided there, whoever
decided it.

An episode of an agent without a model, a scripted one for instance, makes rows as well: they teach a model to decide as
it did.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jsonschema import Draft202012Validator

from rung.agents.calls.call import FINISH, Staging, asked, besides, choices, fillable, forced, free
from rung.agents.calls.chooser import question
from rung.agents.calls.seen import narrow
from rung.agents.loop.log import Agent, EpisodeLog
from rung.agents.loop.move import AgentPolicy, Call, Decision
from rung.agents.loop.view import View
from rung.agents.policies.llm import INSTRUCTION, Llm
from rung.agents.policies.staged import LAST, known, offered, sources
from rung.agents.policies.transcript import joined, opening, shown, staged_opening, staged_turn, turn_messages
from rung.agents.trace.replay import move_of
from rung.core.codec import encode, spell
from rung.core.types import Message, ToolCall
from rung.core.types.trail import Event, MemoryTrail

Way = Literal["staged", "turns", "native"]
"""How the model that learns will call: a row for each choice of a tool and one for the arguments of its call where they
leave a choice; one conversation an episode, whose every call is learnt; or a whole conversation with tool calls for
each decision."""

WAYS: Mapping[str, Way] = {"staged": "staged", "turns": "turns", "native": "native"}
_USUAL: Mapping[Way, Staging] = {"turns": Staging(prompt="turns")}


@dataclass(frozen=True)
class Student:
    """Who learns: what it is told, and how it calls. ``remembers``: it will know the lessons that the episode's agent
    knew; what another kind of agent had learnt is what this one is to learn."""

    instruction: str = INSTRUCTION
    staging: Staging = Staging()
    way: Way = "staged"
    remembers: bool = False

    @classmethod
    def of(cls, policy: AgentPolicy, way: Way | None = None) -> Student:
        """A language model as it is; for any other policy's episodes the usual one."""
        if not isinstance(policy, Llm):
            return cls(staging=_USUAL.get(way or "staged", Staging()), way=way or "staged")
        own: Way = ("turns" if policy.staging.prompt == "turns" else "staged") if policy.staged else "native"
        prompt: Literal["question", "turns"] = "turns" if (way or own) == "turns" else "question"
        return cls(policy.instruction, replace(policy.staging, prompt=prompt), way or own, True)


def solved(events: Sequence[Event]) -> bool:
    """Whether the episode ended as its environment wanted; where it had none, whether the agent ended it itself."""
    last = events[-1].payload if events and events[-1].kind == "ended" else None
    if last is None or last.get("stopped") not in ("", "world"):
        return False
    verdict = last.get("verdict")
    return bool(verdict["solved"] and not verdict.get("harms")) if verdict is not None else last["output"] is not None


def rows(agent: Agent, events: Sequence[Event], student: Student | None = None) -> list[dict[str, Any]]:
    """The rows of an episode, each {messages, episode, event}; ``native`` ones name the ``tools`` too. Calls that were
    refused, decisions that were taken back, and calls that the student could not spell by what had been seen teach
    nothing."""
    student = student or Student.of(agent.policy)
    agent, _ = agent.enter(events[0].payload["scenario"], events[0].payload["seed"])
    log = EpisodeLog(agent, events[0].episode, MemoryTrail())
    refused = {event.payload["call"] for event in events if event.kind == "observed" and event.payload.get("refused")}
    called = {event.seq: event for event in events if event.kind == "called"}
    out: list[dict[str, Any]] = []
    learn: set[int] = set()
    output: Any = None
    for event in events:
        if event.kind == "said" and not event.payload.get("withdrawn"):
            move = move_of(event, tuple(events))
            following = [seq for seq in called if seq > event.seq][: len(move.calls)]
            good = not any(seq in refused for seq in (*following, event.seq))
            if student.way == "turns":
                learn |= {
                    seq
                    for seq, call in zip(following, move.calls, strict=False)
                    if good and _schema(log.view, call, student) is not None
                }
                output = move.output if move.finished and not log.view.done else output
            elif good:
                for messages, more in _shown(agent, log.view, move, student):
                    said = [encode(message) for message in messages]
                    out.append({"messages": said, **more, "episode": event.episode, "event": event.seq})
        log.view.add(event)
    if student.way != "turns" or not (learn or output is not None):
        return out
    said = [_turn(message) for message in _conversation(_shown_to(agent, log.view, student), student, learn, output)]
    return [{"messages": said, "episode": events[0].episode, "event": events[-1].seq}]


def _turn(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **({} if message.learn else {"weight": 0})}


def _shown_to(agent: Agent, view: View, student: Student) -> View:
    """The view without what another policy thought and knew: the model that learns will not have had that before it."""
    turns = view.turns
    if not isinstance(agent.policy, Llm):
        turns = [replace(turn, thought="", reply="") for turn in turns]
    return replace(
        view, turns=turns, lessons=view.lessons if student.remembers and isinstance(agent.policy, Llm) else ()
    )


def _conversation(view: View, student: Student, learn: Container[int], output: Any) -> tuple[Message, ...]:
    """The whole episode as the student would have had it, up to the last turn that is learnt."""
    others = besides(view.tools, student.staging, 0.0)
    said = [*staged_opening(view, student.instruction, others)]
    for turn in view.turns:
        said += staged_turn(turn, view.tools, learn)
    if output is not None:
        said.append(Message("assistant", f"{free(FINISH, view.tools)}\n{spell(output)}"))
    last = max(at for at, message in enumerate(said) if message.role == "assistant" and message.learn)
    return joined(said[: last + 1])


def _schema(view: View, call: Call, student: Student) -> dict[str, Any] | None:
    """The schema under which the student spells a call's arguments; None where it could not by what had been seen."""
    tool, seen = next((tool for tool in view.tools if tool.name == call.tool), None), sources(view, student.instruction)
    if tool is None or narrow(tool.schema, seen) is None:
        return None
    schema = fillable(tool, seen, student.staging)
    return schema if Draft202012Validator(schema).is_valid(encode(call.arguments)) else None


def _shown(
    agent: Agent, view: View, move: Decision, student: Student
) -> Iterator[tuple[list[Message], dict[str, Any]]]:
    view = _shown_to(agent, view, student)
    if student.way == "native":
        said = _whole(view, student.instruction)
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
    yield from _staged(view, move, student)


def _staged(view: View, move: Decision, student: Student) -> Iterator[tuple[list[Message], dict[str, Any]]]:
    staging = student.staging
    seen, context = sources(view, student.instruction), "\n".join(shown(turn) for turn in view.turns[-LAST:])
    tools, others = choices(view.request, offered(view, seen), staging, context=context, finish=0.0)
    named = {tool.name: tool for tool in view.tools}
    names = [call.tool for call in move.calls] or ([free(FINISH, tools)] if move.finished else [])
    if tools and names and names[0] in {*(tool.name for tool in tools), *(name for name, _, _ in others)}:
        said = question(
            f"{view.request}\n{context}".strip(),
            tools,
            [f"- {name}: {about}" for name, about, _ in others],
            known(view),
        )
        yield [*said, Message("assistant", names[0])], {}
    for call in move.calls:
        schema = _schema(view, call, student)
        if schema is None or forced(schema) is not None:
            continue
        ordered = {name: encode(call.arguments[name]) for name in schema["properties"] if name in call.arguments}
        text = json.dumps(ordered, ensure_ascii=False)
        yield [*asked(view.request, named[call.tool], schema, context, known(view)), Message("assistant", text)], {}


def _whole(view: View, instruction: str) -> list[Message]:
    """The request, the turns, and what was said since the last decision."""
    said = [text for text in view.said if text != view.request]
    last = [Message("user", "\n".join(said))] if said else []
    return [*opening(view, instruction), *(message for turn in view.turns for message in turn_messages(turn)), *last]
