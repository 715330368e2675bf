"""Which tool to call next: by words, by a model's scores, by those minus what it would say to no request at all, or by
both.

A model has a liking for some names whatever is asked. Its scores under an empty request measure that liking, and the
difference is what the request brings (contextual calibration: Zhao et al., ICML 2021). Only names that are offered have
a score, so none can be chosen that there is not.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from rung.agents.calls.shortlist import lexical
from rung.core.types import Message, ScoreRequest, Scores, ToolSpec

Chooser = Literal["lexical", "score", "calibrated", "fused"]
CHOOSERS: tuple[Chooser, ...] = ("lexical", "score", "calibrated", "fused")
Weigh = Callable[[Sequence[ScoreRequest]], Awaitable[Sequence[Scores]]]
"""Asks a model for scores: ``model.score``, or that within limits."""

WEIGHT = 1.0
"""What a point of BM25 counts beside a natural logarithm of the model's odds."""

_SYSTEM = "You choose the tool that does what the user asks."


def question(request: str, tools: Sequence[ToolSpec], more: Sequence[str] = (), known: str = "") -> tuple[Message, ...]:
    """What is asked of a model that scores the names of ``tools``, and ``more`` lines of other things to do; ``known``
    was learned before."""
    lines = "\n".join([*(f"- {tool.name}: {tool.description}" for tool in tools), *more])
    known = f"{known}\n\n" if known else ""
    text = f"Tools:\n{lines}\n\n{known}Request: {request}\n\nWhich tool does it? Answer with its name."
    return Message("system", _SYSTEM), Message("user", text)


async def weights(
    chooser: Chooser,
    weigh: Weigh,
    request: str,
    tools: Sequence[ToolSpec],
    said: Callable[[str], tuple[Message, ...]],
    others: Sequence[tuple[str, str, float]] = (),
) -> list[float]:
    """A weight for each tool, then for each of ``others``: (name, what it is for, its lexical score); the largest is
    chosen.

    ``said`` is what a model is asked with a request, or with none; words are looked for in the request alone.
    """
    words = [*lexical(request, tools), *(score for _, _, score in others)]
    if chooser == "lexical" or len(words) == 1:
        return words
    names = (*(tool.name for tool in tools), *(name for name, _, _ in others))
    asked = [ScoreRequest(said(request), names)]
    if chooser != "score":
        asked.append(ScoreRequest(said(""), names))
    found = [scores.logprobs for scores in await weigh(asked)]
    return combine(chooser, words, found[0], found[-1])


def combine(chooser: Chooser, words: Sequence[float], given: Sequence[float], empty: Sequence[float]) -> list[float]:
    """The weights of a chooser from lexical scores and from log probabilities with the request and without one."""
    if chooser == "lexical":
        return list(words)
    if chooser == "score":
        return list(given)
    calibrated = [_minus(one, other) for one, other in zip(given, empty, strict=True)]
    if chooser == "calibrated":
        return calibrated
    return [one + WEIGHT * word for one, word in zip(calibrated, words, strict=True)]


def best(weights: Sequence[float]) -> int:
    """The index of the largest weight, of equal ones the first."""
    return max(range(len(weights)), key=lambda at: weights[at])


def _minus(one: float, other: float) -> float:
    if math.isinf(one):  # proven not to be the best
        return -math.inf
    return one - (other if math.isfinite(other) else -50.0)
