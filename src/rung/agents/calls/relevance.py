"""Is any of the tools right for a request? Told by words, by a logistic regression over four of their counts.

A small model asked for a name gives one, whether a tool is right or not. What words say is learnt from requests with a
right tool and requests without one, and a request is held against the tool that fits it best.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rung.agents.calls.shortlist import spelled, text_of
from rung.core.types import ToolSpec

WEIGHTS = (1.08, 4.2, 0.29, -2.73, -3.65)
"""Learnt on every second item of BFCL's parts simple, multiple and irrelevance, each side weighing as much:
``rung bench agents --calls bfcl:FOLDER`` learns them again and measures these on the other items."""


def counts(request: str, tools: Sequence[ToolSpec]) -> tuple[float, float, float, float]:
    """The shares of the request's words that a tool has and of its name's words that the request has, the largest of
    any tool; the number of the request's words; 1 where no number stands in the request and the tool that fits best
    requires one."""
    from rung.retrieval.keyword.analysis import Analysis

    analysis = Analysis()
    words = set(analysis.terms(spelled(request)))
    shares = []
    for tool in tools:
        name = set(analysis.terms(spelled(tool.name)))
        held = len(words & set(analysis.terms(text_of(tool)))) / max(1, len(words))
        shares.append((held, len(name & words) / max(1, len(name))))
    if not shares:
        return 0.0, 0.0, float(len(words)), 0.0
    schema = tools[max(range(len(shares)), key=lambda at: sum(shares[at]))].schema
    kinds = [(schema.get("properties") or {}).get(name, {}).get("type") for name in schema.get("required", ())]
    unmet = any(kind in ("integer", "number") for kind in kinds) and not re.search(r"\d", request)
    return max(held for held, _ in shares), max(named for _, named in shares), float(len(words)), float(unmet)


def relevance(request: str, tools: Sequence[ToolSpec], weights: Sequence[float] = WEIGHTS) -> float:
    """The log odds that one of the tools is right for the request."""
    return float(np.dot((*counts(request, tools), 1.0), weights))


def learn(given: Sequence[Sequence[float]], right: Sequence[bool], penalty: float = 0.1) -> tuple[float, ...]:
    """Weights from the ``counts`` of requests and whether a tool was right for each: logistic regression by Newton's
    method, in which those with a right tool weigh as much as those without one, and squared weights cost
    ``penalty``."""
    data = np.array([(*row, 1.0) for row in given])
    scale = np.maximum(data.std(axis=0), 1e-9)
    scale[-1] = 1.0
    data, truth = data / scale, np.array(right, float)
    share = np.where(truth == 1, 1 / max(1, truth.sum()), 1 / max(1, (1 - truth).sum())) * len(truth) / 2
    found = np.zeros(data.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-data @ found))
        slope = data.T @ (share * (p - truth)) + penalty * found
        found -= np.linalg.solve((data.T * (share * p * (1 - p))) @ data + penalty * np.eye(len(found)), slope)
    return tuple(float(value) for value in found / scale)
