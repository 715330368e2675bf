"""Pairs of a better and a worse answer, from files in any shape that rung data reads."""

from __future__ import annotations

from collections.abc import Sequence
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


def read_pairs(paths: Sequence[Path]) -> list[AnswerPair]:
    """Pairs in the order of their files. Equal answers, and pairs that stand in both orders, teach nothing and are left
    out, and so are rows that cannot be read. Raises InputError for rows that are no pairs, and when fewer than FEWEST
    are left."""
    found: dict[str, AnswerPair] = {}
    problems, skipped = Problems(), 0
    for place, record in enumerate(read_records(paths, problems=problems)):
        if record.rejected is None:
            raise InputError(f"row {record.id} is no pair: it has no rejected answer", remedy="name a file of pairs")
        before, chosen, rejected = record.messages[:-1], record.answer, record.rejected
        if not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
            skipped += 1
            continue
        if found.pop(digest([encode(before), rejected, chosen]), None) is not None:
            skipped += 2
            continue
        found[digest([encode(before), chosen, rejected])] = AnswerPair(
            f"{place}:{record.id}", before, chosen, rejected, traces_of(record)
        )
    if len(found) < FEWEST:
        raise InputError(
            f"{len(found)} pairs teach something ({skipped} are equal, empty or contradict each other), expected {FEWEST} or more"
            + (f"; {problems.counts['error']} rows cannot be read: {problems.found[0]}" if problems.found else ""),
            remedy="collect more: rung feedback pairs --help",
            code="few-pairs",
        )
    return list(found.values())


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
