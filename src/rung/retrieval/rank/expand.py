"""Better queries for one question: rewritten, taken apart, or answered by a guess that is searched with.

Each way costs a call; what it writes is searched beside the question itself, and the lists are merged by reciprocal
rank (Cormack et al. 2009), so a bad one can push a good passage down but not out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from rung.core.errors import InputError
from rung.core.protocols import Model
from rung.core.types import Hit, Message, ResponseFormat, Sampling, Step
from rung.prompts.answer import ask
from rung.prompts.patterns.checking.refine import refine

Way = Literal["", "rewrite", "sub-questions", "hypothetical"]
WAYS: tuple[Way, ...] = get_args(Way)
_PARTS = (
    "Split the question into two or three shorter questions that together answer it, one a line. Keep every name and number. "
    "Do not answer them."
)
_GUESS = "Write one or two sentences, as an encyclopedia would, that answer the question. Guess where you do not know."


@dataclass(frozen=True, slots=True)
class Expanded:
    """``queries`` to search with, the question first; ``steps`` show how they came about."""

    queries: tuple[str, ...]
    steps: tuple[Step, ...] = ()


def way_of(name: str) -> Way:
    """The way of that name. Raises InputError naming those there are."""
    for way in WAYS:
        if way == name:
            return way
    raise InputError(f"there is no refinement {name!r}", remedy=f"one of: {', '.join(WAYS[1:])}")


async def expand(model: Model, question: str, way: Way, *, repeat: int = 0) -> Expanded:
    """The queries for ``question``.

    ``rewrite``: the question put better (White et al. 2023; see rung.prompts.patterns.checking.refine).
    ``sub-questions``: the parts of it. ``hypothetical``: a made-up answer, which lies nearer to the true one than the
    question does (HyDE; Gao et al. 2022, arXiv:2212.10496). A model that fails leaves the question alone.
    """
    if way == "":
        return Expanded((question,))
    if way == "rewrite":
        found = await refine(model, question, repeat=repeat)
        return Expanded(_distinct((question, found.question)), found.steps)
    if way == "sub-questions":
        form = ResponseFormat("regex", pattern=r"[^\s?\n][^?\n]{7,120}\?(\n[^\s?\n][^?\n]{7,120}\?){1,2}")
        order, sampling = _PARTS, Sampling(max_tokens=160)
    else:
        form, order, sampling = ResponseFormat(), _GUESS, Sampling(max_tokens=64)
    messages = (Message("system", order), Message("user", f"Question: {question}"))
    asked = await ask(model, messages, form, replace(sampling, seed=repeat), name="refine", repeat=repeat)
    if asked.failure is not None:
        return Expanded((question,), (replace(asked.step, note=f"not used: {asked.failure.message}"),))
    text = str(asked.output)
    parts = [line.strip() for line in text.split("\n")] if way == "sub-questions" else [text]
    parts = [part for part in parts if re.search(r"\w", part)]
    return Expanded(_distinct((question, *parts)), (replace(asked.step, note=f"{way}: searched beside the question"),))


def _distinct(queries: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(queries))


def merge(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The k best hits of several lists by reciprocal rank; the first list, the question's own, counts double. A hit
    keeps the parts of the list it is highest in."""
    if len(lists) == 1:
        return list(lists[0][:k])
    scores: dict[str, float] = {}
    best: dict[str, tuple[int, Hit]] = {}
    for number, hits in enumerate(lists):
        for place, hit in enumerate(hits):
            id = hit.passage.id
            scores[id] = scores.get(id, 0.0) + (2.0 if number == 0 else 1.0) / (60 + place + 1)
            if id not in best or place < best[id][0]:
                best[id] = (place, hit)
    order = sorted(scores, key=lambda id: (-scores[id], id))[:k]
    return [replace(best[id][1], score=scores[id]) for id in order]
