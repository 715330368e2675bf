"""Rows that do not agree with the others: one input with several answers, labels that the nearest neighbours do not
have, answers written in another way than the rest."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.tasks.identity import identity
from rung.tasks.near import clusters

K = 10
SHARE = 0.3
"""A label is doubted when the neighbours that have it hold at most this share of the similarity, and those of one
other label at least this share, and twice as much."""
ROWS = 20_000
"""Rows whose neighbours are looked for at most: time grows with the square."""
FAR = 6.0
"""How many robust standard deviations away an answer is written in another way than the rest."""
FEW = 20
"""Rows below which nothing can be said about the rest."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Something to look at: the row's place, why, and what the others say."""

    place: int
    why: str


def labels(answers: Sequence[str]) -> bool:
    """Whether the answers are labels: short, few of them, most used several times."""
    if len(answers) < 5:
        return False
    counts = Counter(answers)
    often = sum(count for count in counts.values() if count >= 3)
    return (
        often >= 0.8 * len(answers)
        and len(counts) <= max(2, len(answers) // 5)
        and all(len(one) <= 80 for one in counts)
    )


def contradictions(questions: Sequence[str], answers: Sequence[str], *, near: float | None = 0.9) -> list[Flag]:
    """Rows whose input is the same as another's but for case, spaces and punctuation (or, with ``near``, nearly the
    same), while the answer is not."""
    if not questions:
        return []
    _, close, _ = clusters([[question] for question in questions], near)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place, first in enumerate(close.tolist()):
        if identity(questions[place]):
            groups[first].append(place)
    out = []
    for places in groups.values():
        said = Counter(identity(answers[place]) for place in places)
        if len(said) > 1:
            for place in places:
                own = identity(answers[place])
                others = [answers[other] for other in places if identity(answers[other]) != own]
                out.append(Flag(place, f"the same input is also answered {others[0][:60]!r}" + _more(len(others) - 1)))
    return sorted(out, key=lambda flag: flag.place)


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def suspects(
    texts: Sequence[str], given: Sequence[str], *, k: int = K, share: float = SHARE, seed: int = 0
) -> list[Flag]:
    """Labels that the ``k`` most similar rows (cosine over TF-IDF) mostly do not have: an edited nearest-neighbour
    rule (Wilson 1972), the votes weighted by similarity. Of more than ROWS rows a drawn sample is looked at. Empty
    with fewer than FEW rows or one label."""
    if len(texts) < FEW or len(set(given)) < 2:
        return []
    chosen = list(range(len(texts)))
    if len(texts) > ROWS:
        chosen = sorted(np.random.default_rng(seed).choice(len(texts), ROWS, replace=False).tolist())
    support, rival, votes = neighbours([texts[i] for i in chosen], [given[i] for i in chosen], k)
    return [
        Flag(
            chosen[row],
            f"{support[row]:.0%} of its {k} nearest neighbours' votes for it, {votes[row]:.0%} for {rival[row]!r}",
        )
        for row in np.flatnonzero((support <= share) & (votes >= np.maximum(2 * support, SHARE))).tolist()
    ]


def neighbours(texts: Sequence[str], given: Sequence[str], k: int) -> tuple[NDArray[Any], list[str], NDArray[Any]]:
    """For each row: the share of its neighbours' votes for its own label, the label with the most votes among the
    others, and its share. A row that is like no other supports itself."""
    from rung.foundations.text.tfidf import Tfidf

    names = sorted(set(given))
    index = {name: place for place, name in enumerate(names)}
    label = np.array([index[name] for name in given])
    try:
        rows = Tfidf.learn(texts)[1]
    except ValueError:  # no text has a word
        return np.ones(len(texts)), [""] * len(texts), np.zeros(len(texts))
    columns = rows.T.tocsr()
    votes = np.zeros((len(texts), len(names)), np.float32)
    for begin in range(0, len(texts), 256):
        block = np.asarray((rows[begin : begin + 256] @ columns).todense())
        own = np.arange(len(block))
        block[own, begin + own] = 0
        width = min(k, block.shape[1] - 1)
        nearest = np.argpartition(-block, width, axis=1)[:, :width]
        weight = np.take_along_axis(block, nearest, axis=1)
        np.add.at(votes, (begin + own[:, None], label[nearest]), weight)
    total = votes.sum(axis=1)
    votes /= np.maximum(total, 1e-9)[:, None]
    own = np.arange(len(texts))
    support = np.where(total > 0, votes[own, label], 1.0)
    votes[own, label] = -1
    best = votes.argmax(axis=1)
    return support, [names[place] for place in best], np.maximum(votes[own, best], 0)


_FEATURES: tuple[tuple[str, Any], ...] = (
    ("length", lambda text: np.log1p(len(text))),
    ("length of its words", lambda text: float(np.mean([len(w) for w in re.findall(r"\w+", text)] or [0]))),
    ("capital letters", lambda text: _part(text, str.isupper)),
    ("digits", lambda text: _part(text, str.isdigit)),
    ("signs", lambda text: _part(text, lambda c: not c.isalnum() and not c.isspace())),
    ("exclamation and question marks", lambda text: min(text.count("!") + text.count("?"), 20) / (1 + len(text) / 100)),
    ("letters outside ASCII", lambda text: _part(text, lambda c: c.isalpha() and not c.isascii())),
)


def _part(text: str, kind: Any) -> float:
    return sum(1 for sign in text if kind(sign)) / max(len(text), 1)


def outliers(answers: Sequence[str], *, far: float = FAR) -> list[Flag]:
    """Answers written in another way than the rest: in length, capitals, digits or signs more than ``far`` robust
    standard deviations (median absolute deviation, not below a floor) from the median. Labels that differ in case or
    spaces from a more frequent one."""
    if len(answers) < FEW:
        return []
    if labels(answers):
        return _variants(answers)
    out: dict[int, str] = {}
    for name, feature in _FEATURES:
        values = np.array([feature(answer) for answer in answers], np.float64)
        median = float(np.median(values))
        # Where most answers have none of something, the median deviation is nought and would call any of it far.
        spread = max(1.4826 * float(np.median(np.abs(values - median))), 0.5 * float(values.std()), 0.01)
        for place in np.flatnonzero(np.abs(values - median) > far * spread).tolist():
            way = "more" if values[place] > median else "less"
            out.setdefault(place, f"{name}: {abs(values[place] - median) / spread:.0f} deviations {way} than usual")
    return [Flag(place, why) for place, why in sorted(out.items())]


def _variants(answers: Sequence[str]) -> list[Flag]:
    counts = Counter(answers)
    usual: dict[str, str] = {}
    for answer, _ in counts.most_common():
        usual.setdefault(identity(answer), answer)
    return [
        Flag(place, f"written {answer!r}, more often {usual[identity(answer)]!r}")
        for place, answer in enumerate(answers)
        if usual[identity(answer)] != answer
    ]
