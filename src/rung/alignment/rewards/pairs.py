"""Pairs of a better and a worse answer, from files in any shape that rung data reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.codec import digest, encode
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Message
from rung.data.read import read as read_records
from rung.data.sources.lineage import traces_of

FEWEST = 10
"""Pairs from which something can be learnt and a part held out."""


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """Two answers to the conversation ``messages``; ``chosen`` is the better one. ``traces``: the served answers that
    it comes from."""

    id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    traces: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The conversation before the answers, as one text."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True, slots=True)
class SiftedPairs:
    """The ``pairs`` that teach something, of ``rows`` in the files. ``left`` counts the rows left out by LEFT's names;
    ``unreadable`` is what is wrong with the first that could not be read."""

    pairs: list[AnswerPair]
    rows: int
    left: Mapping[str, int]
    unreadable: str = ""

    @property
    def why(self) -> str:
        """What was left out, as a sentence without an end; empty: nothing was."""
        if not self.left:
            return ""
        parts = {name: f"{count:,} {LEFT[name]}" for name, count in self.left.items()}
        if self.unreadable:
            parts["unreadable"] += f" (the first: {self.unreadable})"
        return f"of {self.rows:,} rows {sum(self.left.values()):,} are left out: {', '.join(parts.values())}"


LEFT = {
    "equal": "with equal answers",
    "empty": "with an empty answer",
    "contradictory": "that others contradict",
    "repeated": "that say the same once more",
    "no_pair": "without a rejected answer",
    "unreadable": "that cannot be read",
}
"""Why a row teaches nothing. Of rows that put the same two answers in both orders the side with more rows counts, once;
the others, and all where there are as many of each, are contradictory."""


def read_pairs(paths: Sequence[Path]) -> list[AnswerPair]:
    """The pairs of ``sift_pairs`` alone."""
    return sift_pairs(paths).pairs


def sift_pairs(paths: Sequence[Path]) -> SiftedPairs:
    """Pairs in the order of their files, and how many rows teach nothing and are left out, by reason (LEFT). Raises
    InputError when fewer than FEWEST are left."""
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no {path}", remedy="correct the path")
    problems, left = Problems(), dict.fromkeys(LEFT, 0)
    said: dict[str, list[AnswerPair]] = {}
    rows = 0
    for place, record in enumerate(read_records(paths, problems=problems)):
        rows += 1
        chosen, rejected = record.answer, record.rejected
        if rejected is None or not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
            equal = rejected is not None and chosen.strip() == rejected.strip() != ""
            left["no_pair" if rejected is None else "equal" if equal else "empty"] += 1
            continue
        pair = AnswerPair(f"{place}:{record.id}", record.messages[:-1], chosen, rejected, traces_of(record))
        said.setdefault(digest([encode(pair.messages), *sorted((chosen, rejected))]), []).append(pair)
    found = []
    for votes in said.values():
        one = [pair for pair in votes if pair.chosen == votes[0].chosen]
        other = [pair for pair in votes if pair.chosen != votes[0].chosen]
        most, fewest = (one, other) if len(one) >= len(other) else (other, one)
        if len(most) == len(fewest):
            left["contradictory"] += len(votes)
            continue
        left["contradictory"] += len(fewest)
        left["repeated"] += len(most) - 1
        found.append(most[0])
    left["unreadable"] = problems.counts["error"]
    sifted = SiftedPairs(
        found,
        rows + left["unreadable"],
        {name: count for name, count in left.items() if count},
        str(problems.found[0]).partition("\n")[0] if problems.found else "",
    )
    if len(found) < FEWEST:
        raise InputError(
            f"{len(found)} pairs teach something, expected {FEWEST} or more"
            + (f"; {sifted.why}" if sifted.left else ""),
            remedy="collect more: rung feedback pairs --help",
            code="few-pairs",
        )
    return sifted


def divide(pairs: Sequence[AnswerPair], share: float, seed: int) -> tuple[list[AnswerPair], list[AnswerPair]]:
    """The pairs in two parts, ``share`` of the conversations in the second; no conversation is in both."""
    learnt: list[AnswerPair] = []
    held: list[AnswerPair] = []
    for pair in pairs:
        place = int(digest([seed, pair.asked])[:8], 16) / 16**8
        (held if place < share else learnt).append(pair)
    if not learnt or not held:
        raise InputError(
            f"{len(pairs)} pairs of too few conversations to hold any out", remedy="give pairs of more conversations"
        )
    return learnt, held
