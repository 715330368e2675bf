"""Events as the steps of an answer and as lines to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rung.core.codec import canonical
from rung.core.types import Step, Usage
from rung.core.types.trail import LABELS, Event

VERDICT = "verdict"
"""The name of the step in which the harness says how the episode ended: its reply is the environment's verdict as
JSON."""


def steps(events: Iterable[Event]) -> tuple[Step, ...]:
    """The steps of an answer: what an agent perceived, thought, did and learned, and the verdict last."""
    out: list[Step] = []
    for event in events:
        said = event.payload
        if event.kind == "said":
            out.append(
                Step(
                    "reason",
                    reply=said.get("reply") or said.get("thought", ""),
                    note=said.get("thought", ""),
                    usage=_usage(event),
                )
            )
        elif event.kind == "ended":
            out.append(Step(VERDICT, reply=canonical(said.get("verdict")), note=said.get("stopped", "")))
        elif event.kind in LABELS or event.kind in ("warned", "steered"):
            out.append(Step(LABELS.get(event.kind, event.kind), reply=line(event)))
    return tuple(out)


def _usage(event: Event) -> Usage:
    return Usage(**event.payload.get("usage", {}))


def line(event: Event) -> str:
    """What an event says, in words."""
    said = event.payload
    if event.kind == "called":
        return f"{said['tool']} {_arguments(said['arguments'])}"
    if event.kind == "said":
        parts = [said.get("thought", "")]
        if "plan" in said:
            parts.append(f"plan: {json.dumps(said['plan'], ensure_ascii=False)}")
        if "output" in said:
            parts.append(f"output: {said['output'] if isinstance(said['output'], str) else json.dumps(said['output'])}")
        if said.get("withdrawn"):
            parts.append("(taken back: somebody steered)")
        return " | ".join(part for part in parts if part)
    if event.kind == "begun":
        where = f" [{said['scenario']}]" if said.get("scenario") else ""
        taught = "".join(f"\n  learned in {lesson['source']}: {lesson['text']}" for lesson in said.get("lessons", ()))
        return f"{said['request']}{where}{taught}"
    if event.kind == "learned":
        return f"from event {said['evidence']}: {said.get('text') or said.get('note', '')}"
    if event.kind == "decided":
        why = f": {said['why']}" if said.get("why") else ""
        return f"{said['do']} event {said['call']}, by {said.get('by', '')}{why}"
    if event.kind == "steered":
        return f"{said['do']} {said.get('text', '')}".strip()
    if event.kind == "resumed":
        return f"the clock was set by {said['clock']:+,.0f} s" if "clock" in said else ""
    if event.kind == "ended":
        verdict = said.get("verdict")
        solved = "" if verdict is None else f" | {judged(verdict)}"
        stopped = f" | stopped: {said['stopped']}" if said.get("stopped") else ""
        return f"{'' if said.get('output') is None else said['output']}{stopped}{solved}".strip(" |")
    text = str(said.get("text", ""))
    return f"refused: {text}" if said.get("refused") else text


def row(event: Event, used: Usage) -> str:
    """An event with its number and label as a line; ``used`` is shown behind one that cost something."""
    cost = f" [{used.tokens:,} tokens{f', ${used.money:.4f}' if used.money else ''}]" if _usage(event).tokens else ""
    return f"{event.seq:>4} {LABELS.get(event.kind, event.kind):<9} {line(event)}{cost}"


def judged(verdict: Any) -> str:
    """An environment's verdict in words."""
    return "solved" if verdict["solved"] else "not solved: " + "; ".join(verdict.get("missing", ()))


def _arguments(arguments: Any) -> str:
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())


def total(events: Sequence[Event]) -> Usage:
    """What the decisions of an episode have cost."""
    used = Usage()
    for event in events:
        if event.kind == "said":
            used = used + _usage(event)
    return used
