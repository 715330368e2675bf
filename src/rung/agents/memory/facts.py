"""Long-term memory of people: what they say of themselves, in their own words, each with the place where they said
it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.agents.loop.view import View
from rung.agents.memory.memory import recalled
from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.types.memory import MemoryItem

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\S)[^.!?\n]+)*[.!?]?")
_ABOUT = re.compile(
    r"\b(?:remember (?:that|this)|please note|from now on|call me|"
    r"(?P<slot>my (?:\w+ ){1,3}?)(?:is|are|was born)\b|"
    r"i(?:'m| am) (?:a |an |the |not |allergic|called|from|vegan|vegetarian|\d+ years)|"
    r"i (?:live|work|study|prefer|like|love|hate|need|own|have (?:a|an|two|three)|never|always|speak|was born|moved) )",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\?\s*$|^\s*(?:what|who|where|when|why|how|which|is|are|do|does|can|could|would|should)\b", re.IGNORECASE
)


def facts_in(text: str) -> Iterator[tuple[str, int, int, str]]:
    """The sentences in which somebody says something of themselves: the words, where they begin and end, and what of
    (``slot``: "my name" is one thing that somebody has one of). Questions are none."""
    for found in _SENTENCE.finditer(text):
        sentence = found.group().strip()
        about = _ABOUT.search(sentence)
        if about is None or _QUESTION.search(sentence) or len(sentence) < 8:
            continue
        begin = found.start() + found.group().index(sentence)
        slot = " ".join((about["slot"] or "").lower().split())
        yield sentence, begin, begin + len(sentence), slot


@dataclass(frozen=True)
class FactMemory:
    """Keeps the sentences in which people say something of themselves, from the request and from what they said later;
    a sentence that is there is not kept again, and of "my name is ..." the newest holds. ``most`` facts are recalled:
    those that share words with the request, then the newest. ``name``: agents with one name share what they know of a
    user."""

    name: str = "facts"
    most: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.most, bool) or self.most < 0:
            raise InputError(f"memory facts: most is {self.most!r}, expected 0 or more", remedy="write most: 8")

    @property
    def owner(self) -> str:
        return self.name

    def items(self, view: View, verdict: Mapping[str, Any] | None, episode: str) -> list[MemoryItem]:
        out = []
        for text, seq in ((view.request, 0), *view.told):
            for fact, begin, end, slot in facts_in(text):
                id = digest([self.owner, view.user, " ".join(fact.casefold().split())])[:16]
                source = f"{episode}#{seq}"
                at = view.last.at if view.last is not None else 0.0
                out.append(MemoryItem(id, self.owner, view.user, "fact", fact, fact, source, begin, end, slot, at))
        return out

    def retrieve(self, items: Sequence[MemoryItem], request: str) -> list[dict[str, Any]]:
        facts = [item for item in items if item.kind == "fact"]
        chosen = recalled(request, [item.text for item in facts], self.most)
        return [{"text": f"The user said: {facts[at].text}", "source": facts[at].source} for at in chosen]

    def keep(self, view: View, verdict: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Nothing for the agent: what is kept is the user's."""
        return []

    def recall(self, learned: Sequence[Any]) -> list[dict[str, Any]]:
        return []
