"""Episodic memory: past episodes that went well, found again by what they were about."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.agents.loop.view import Pending, View
from rung.agents.memory.memory import recalled
from rung.core.codec import digest, encode
from rung.core.types.memory import MemoryItem

_ID = re.compile(r"\d")


@dataclass(frozen=True)
class EpisodicMemory:
    """Keeps an episode that was solved (or, without an environment, ended by itself): its request, what was read, its
    calls, and of each argument where it was read. ``most`` of them are recalled, those most like the request; ``given``
    and ``frozen`` as in ``LessonMemory``: cases that are part of the agent. ``learns``: its own episodes are kept; else
    it recalls those that others have kept."""

    name: str = "episodic"
    most: int = 200
    given: tuple[Mapping[str, Any], ...] = ()
    frozen: bool = False
    learns: bool = True

    @property
    def owner(self) -> str:
        return self.name

    def items(self, view: View, verdict: Mapping[str, Any] | None, episode: str) -> list[MemoryItem]:
        well = verdict["solved"] if verdict is not None else bool(view.ended is None and not view.stopped)
        calls = [call for turn in view.turns for call in turn.calls if not call.refused]
        if self.frozen or not self.learns or not well or not calls:
            return []
        data = case_of(view, calls)
        at = view.last.at if view.last is not None else 0.0
        id = digest([self.owner, view.user, data])[:16]
        return [MemoryItem(id, self.owner, view.user, "episode", view.request, source=f"{episode}#0", at=at, data=data)]

    def retrieve(self, items: Sequence[MemoryItem], request: str) -> list[dict[str, Any]]:
        if self.frozen:
            return [dict(case) for case in self.given]
        kept = [item for item in items if item.kind == "episode"]
        chosen = recalled(request, [item.text for item in kept], self.most)
        return [{**lesson(kept[at].text, kept[at].data), "source": kept[at].source} for at in chosen]

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Nothing besides the episode itself."""
        return []

    def recall(self, learned: Sequence[Any]) -> list[dict[str, Any]]:
        return []


def lesson(request: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """A case as a model reads it, and as it is."""
    calls = "; ".join(f"{call['tool']} {json.dumps(call['arguments'], ensure_ascii=False)}" for call in case["calls"])
    return {"text": f"Once, for a request like {request!r}, this was right: {calls}"[:600], "case": case}


def case_of(view: View, calls: Sequence[Pending]) -> dict[str, Any]:
    """An episode as a case: its calls, what each gave without what names one thing alone (``read``), and where each
    argument was
    read: {argument: [call, key of the JSON]}, call -1 for a word of the request; of a text {parts: [[words, call, key,
    spelling]]}."""
    made = []
    for at, call in enumerate(calls):
        origins = {}
        for name, value in call.arguments.items():
            if (origin := _origin(value, view.request, calls[:at])) is not None:
                origins[name] = origin
        made.append(
            {
                "tool": call.tool,
                "arguments": encode(dict(call.arguments)),
                "from": origins,
                "read": plain_words(call.text or ""),
            }
        )
    return {"request": plain_words(view.request), "calls": made}


def plain_words(text: str) -> str:
    """The words of a text without those that have digits or @ in them: numbers and names of single things."""
    words = [word for word in re.findall(r"[\w@.-]+", text) if not _ID.search(word) and "@" not in word]
    return " ".join(words)[:400]


def _origin(value: Any, request: str, calls: Sequence[Pending]) -> Any:
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
        return None
    read = [(at, key, found) for at in reversed(range(len(calls))) for key, found in fields(calls[at].text or "")]
    for at, key, found in read:
        if found == value:
            return [at, key]
    words = words_of(request)
    if value in words:
        return [-1, words.index(str(value))]
    if not isinstance(value, str) or " " not in value:
        return None
    parts, left = [], value
    for at, key, found in sorted(read, key=lambda one: -len(str(one[2]))):
        for form, spelled in enumerate(spellings(found)):
            if len(spelled) > 3 and spelled in left:
                parts.append([spelled, at, key, form])
                left = left.replace(spelled, "")
    return {"parts": parts} if parts else None


def spellings(value: Any) -> list[str]:
    """How a value may be written in a text: as it is, and an amount with two decimals."""
    plain = value if isinstance(value, str) else json.dumps(value)
    return [plain, f"{value:.2f}" if isinstance(value, int | float) and not isinstance(value, bool) else plain]


def words_of(text: str) -> list[str]:
    """The words of a text with what clings to them taken off."""
    return [word.strip(".,;:!?()") for word in text.split()]


def fields(text: str) -> list[tuple[str, Any]]:
    """The named single values of a JSON text, each with its key."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return []
    out: list[tuple[str, Any]] = []
    waiting: list[tuple[str, Any]] = [("", read)]
    while waiting:
        name, node = waiting.pop(0)
        if isinstance(node, Mapping):
            waiting += node.items()
        elif isinstance(node, list):
            waiting += [(name, inner) for inner in node]
        elif node is not None:
            out.append((name, node))
    return out
