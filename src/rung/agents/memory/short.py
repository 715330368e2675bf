"""Short-term memory: what of a long episode stands in the next prompt, within a budget of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rung.agents.memory.facts import facts_in
from rung.agents.memory.memory import ranked
from rung.core.errors import InputError

Keeping = Literal["recent", "relevant", "summary"]
LAST = 2
"""Turns at the end that always stay."""
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_LONG = 200
_SHARE = 3
"""A summary takes at most one part in so many of the budget."""


@dataclass(frozen=True, slots=True)
class Window:
    """``tokens`` that a prompt may have (0: as many as the model takes), and what stays of a longer episode: "recent"
    the last turns, "relevant" the last ones and those that share most words with what is asked now, "summary" the last
    turns and, of the others,
    sentences: first what people said of themselves, then those that share most words with what is asked."""

    tokens: int = 0
    keep: Keeping = "recent"

    def __post_init__(self) -> None:
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or self.tokens < 0:
            raise InputError(
                f"window: tokens is {self.tokens!r}, expected 0 or more", remedy="write window: {tokens: 600}"
            )
        if self.keep not in ("recent", "relevant", "summary"):
            raise InputError(f"window: keep is {self.keep!r}", remedy="one of recent, relevant, summary")


WHOLE = Window()
"""As much as the model takes."""


def shorten(
    texts: Sequence[str], most: int, keep: Keeping, query: str, count: Callable[[str], int]
) -> tuple[list[int], list[str]]:
    """The places of the turns that stay, in order, and sentences of the others. ``texts``: a turn each, the last ones
    stay whatever they are; ``count`` gives tokens of a text, ``most`` is how many all may have together."""
    sizes = [count(text) for text in texts]
    if sum(sizes) <= most:
        return list(range(len(texts))), []
    left = most - (most // _SHARE if keep == "summary" else 0)
    kept: set[int] = set()
    tail = list(reversed(range(len(texts))))
    order = tail[:LAST] + (
        [at for at in ranked(query, texts) if at not in tail[:LAST]] if keep == "relevant" else tail[LAST:]
    )
    for at in order:
        if sizes[at] <= left or at == tail[0]:
            kept.add(at)
            left -= sizes[at]
        elif keep != "relevant":
            break  # what stays is one piece, so that the cached beginning of a prompt lives on
    if keep != "summary":
        return sorted(kept), []
    return sorted(kept), _summary(
        [text for at, text in enumerate(texts) if at not in kept], most // _SHARE + max(0, left), query, count
    )


def _summary(texts: Sequence[str], most: int, query: str, count: Callable[[str], int]) -> list[str]:
    sentences = [" ".join(found.split())[:_LONG] for text in texts for found in _SENTENCE.findall(text)]
    sentences = list(dict.fromkeys(sentence for sentence in sentences if len(sentence) > 3))
    own = [at for at, sentence in enumerate(sentences) if next(facts_in(sentence), None) is not None]
    chosen: list[int] = []
    for at in dict.fromkeys([*own, *ranked(query, sentences)]):
        size = count(sentences[at]) + 2
        if size <= most:
            chosen.append(at)
            most -= size
        if most < 8:
            break
    return [sentences[at] for at in sorted(chosen)]
