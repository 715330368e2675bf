"""Lessons: what was refused once, what cost much, and what a reviewer said is known in the next episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.agents.loop.view import View, signature
from rung.core.types.trail import Event


@dataclass(frozen=True)
class LessonMemory:
    """Keeps every refusal (the call and what was said about it), every call whose reward was below ``below``, and a
    reviewer's rules where ``review``; ``most`` of them, the newest, are recalled. Equal lessons are kept once.
    ``given`` are known beforehand, and with ``frozen`` nothing is added to them: what was learned in practice is then
    part of the agent."""

    most: int = 20
    below: float = -2.0
    review: bool = True
    given: tuple[Mapping[str, Any], ...] = ()
    frozen: bool = False

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """A lesson for each bad call of the episode. ``evidence`` is the number of the event in which the call was
        decided."""
        if self.frozen:
            return []
        known = {lesson.get(name) for lesson in view.lessons for name in ("call", "text")}
        found: dict[str, dict[str, Any]] = {}
        for turn in view.turns:
            for call in turn.calls:
                name = signature(call.tool, call.arguments)
                if name in known or not (call.refused or call.reward < self.below):
                    continue
                why = call.text if call.refused else f"it cost {-call.reward:g}"
                rule = call.value.get("rule") if isinstance(call.value, Mapping) else None
                text = f"{name} was bad: {why}"
                place = {"percept": turn.percept} if turn.percept is not None and not call.refused else {}
                key = f"{name} {turn.percept}" if place else name
                learned = {"rule": rule} if rule else place
                found.setdefault(key, {"evidence": call.seq, "call": name, "text": text[:400], **learned})
        judged, last = verdict or {}, view.turns[-1].seq if view.turns else 0
        for harm in judged.get("harms", ()):
            found.setdefault(harm, {"evidence": last, "text": f"This did harm: {harm}"})
        for advice in judged.get("advice", ()) if self.review else ():
            found.setdefault(advice["text"], {"evidence": last, **advice})
        return [lesson for lesson in found.values() if lesson["text"] not in known]

    def recall(self, learned: Sequence[Event]) -> list[dict[str, Any]]:
        """The newest lessons, each once, with the episode and the event that it comes from."""
        if self.frozen:
            return [dict(lesson) for lesson in self.given]
        found: dict[str, dict[str, Any]] = {}
        for event in reversed(learned):
            if "text" in event.payload:
                source = f"{event.episode}#{event.payload.get('evidence', event.seq)}"
                found.setdefault(event.payload["text"], {**event.payload, "source": source})
            if len(found) >= self.most:
                break
        return [*(dict(lesson) for lesson in self.given), *list(found.values())[::-1]]
