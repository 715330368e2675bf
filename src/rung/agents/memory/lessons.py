"""Lessons: what was refused once, and what cost much, is known in the next episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.agents.loop.view import View, signature
from rung.core.types.trail import Event


@dataclass(frozen=True)
class LessonMemory:
    """Keeps every refusal (the call and what was said about it) and every call whose reward was below ``below``; ``most`` of them,
    the newest, are recalled. Equal lessons are kept once."""

    most: int = 20
    below: float = -2.0

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """A lesson for each bad call of the episode. ``evidence`` is the number of the event in which the call was decided."""
        known = {lesson.get("call") for lesson in view.lessons}
        found: dict[str, dict[str, Any]] = {}
        for turn in view.turns:
            for call in turn.calls:
                name = signature(call.tool, call.arguments)
                if name in known or not (call.refused or call.reward < self.below):
                    continue
                why = call.text if call.refused else f"it cost {-call.reward:g}"
                text = f"{name} was bad: {why}"
                place = {"percept": turn.percept} if turn.percept is not None and not call.refused else {}
                key = f"{name} {turn.percept}" if place else name
                found.setdefault(key, {"evidence": call.seq, "call": name, "text": text[:400], **place})
        for harm in (verdict or {}).get("harms", ()):
            found.setdefault(
                harm, {"evidence": view.turns[-1].seq if view.turns else 0, "text": f"This did harm: {harm}"}
            )
        return list(found.values())

    def recall(self, learned: Sequence[Event]) -> list[dict[str, Any]]:
        """The newest lessons, each once, with the episode and the event that it comes from."""
        found: dict[str, dict[str, Any]] = {}
        for event in reversed(learned):
            if "text" in event.payload:
                source = f"{event.episode}#{event.payload.get('evidence', event.seq)}"
                found.setdefault(event.payload["text"], {**event.payload, "source": source})
            if len(found) >= self.most:
                break
        return list(found.values())[::-1]
