"""Feedback on served answers: brought in from files, read as pairs and demonstrations, deleted by person, and followed
from what was learnt back to what was said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Message
from rung.data.rows import lines
from rung.data.rows.records import Record
from rung.data.sources.traces import CONSENT, REVIEW, allowed, read_reviews
from rung.documents.tables import rows as tables
from rung.store import Store, StoredServed, StoredSignal

EXPLICIT = ("rating", "edit", "demonstration", "survey")
"""What people say: how good (0 to 1), what would have been right (their words over the answer's, or their own), and the
answer to the one question that some of them are asked."""
IMPLICIT = {"copy": 1, "retry": -1, "change": -1, "abandon": -1, "follow-up": -1}
"""What people do, and whether more of it speaks for the answer (1) or against it: copying it; asking the same again;
how much of it they changed (0 to 1); leaving without using it; correcting it in what they ask next."""
SHOWN = "survey-shown"
"""The question was put before somebody; without an answer that is what is known."""


def add(store: Store, path: Path, problems: Problems) -> int:
    """Bring in a table of feedback: columns id, kind, and value or text (and person). How many rows were kept; those
    about unknown answers, of unknown kinds and outside their range go to ``problems``."""
    known = {row.id for row in store.served.all()}
    kept: list[StoredSignal] = []
    for row in tables.rows(path):
        made = _signal(row.values)
        if isinstance(made, str):
            problems.add(made, file=path, line=row.line, code="feedback")
        elif made.answer not in known:
            problems.add(f"no answer {made.answer!r} is recorded", file=path, line=row.line, code="unknown-answer")
        else:
            kept.append(made)
    keep(store, kept)
    return len(kept)


def keep(store: Store, rows: Sequence[StoredSignal]) -> None:
    """Store feedback; ratings and edits also stand with their answer, where the last one counts."""
    store.signals.add(rows)
    for row in rows:
        if row.kind == "rating":
            store.served.judge(row.answer, score=row.value)
        elif row.kind in ("edit", "demonstration"):
            store.served.judge(row.answer, correction=row.text)


def said_by(store: Store, person: str) -> list[StoredSignal]:
    """What one person said and did, under their name or under what a server keeps of it (empty: everybody)."""
    names = [person, store.subjects.mark(person)] if person else [""]
    return [row for name in names for row in store.signals.all(person=name)]


def review(
    store: Store, id: str, by: str, *, consent: bool | None = None, score: float | None = None, correction: str = ""
) -> None:
    """Note that somebody looked at a served answer, whether it may be learnt from, and what they said of it. Raises
    InputError for an answer that is not recorded."""
    if store.served.missing([id]):
        raise InputError(
            f"no answer {id!r} is recorded", remedy="record them: rung serve --record", code="unknown-answer"
        )
    rows = [StoredSignal(id, REVIEW, 1.0, "", by)]
    if consent is not None:
        rows.append(StoredSignal(id, CONSENT, float(consent), "", by))
    if score is not None:
        rows.append(StoredSignal(id, "rating", score, "", by))
    if correction:
        rows.append(StoredSignal(id, "edit", 1.0, correction, by))
    keep(store, rows)


def _signal(values: Any) -> StoredSignal | str:
    """A row of a table; a sentence where it is none."""
    kind = str(values.get("kind") or ("edit" if values.get("text") else "rating"))
    text = str(values.get("text") or values.get("correction") or "")
    if kind not in (known := (*EXPLICIT, *IMPLICIT, SHOWN, CONSENT, REVIEW)):
        return f"unknown kind {kind!r}, expected {', '.join(known)}"
    if kind in ("edit", "demonstration") and not text.strip():
        return f"{kind} without text"
    try:
        value = float(values.get("value") if values.get("value") not in (None, "") else values.get("score") or 1.0)
    except (TypeError, ValueError):
        return f"value is {values.get('value')!r}, expected a number"
    if not 0 <= value <= 1:
        return f"value is {value:g}, expected 0 to 1"
    return StoredSignal(str(values.get("id") or ""), kind, value, text, str(values.get("person") or ""))


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """A served answer with what people said of it."""

    row: StoredServed
    messages: tuple[Message, ...]
    text: str


def read_served(rows: Iterable[StoredServed]) -> list[ServedAnswer]:
    """Served answers that are whole texts."""
    out = []
    for row in rows:
        try:
            kept = json.loads(row.payload)
            messages = tuple(decode(Message, message) for message in kept["messages"])
            answer = kept["answers"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            continue
        if answer.get("finish", "stop") == "stop" and str(answer.get("text", "")).strip():
            out.append(ServedAnswer(row, messages, str(answer["text"])))
    return out


def pairs(store: Store, *, person: str = "", margin: float = 0.25) -> list[Record]:
    """Preference pairs of what people said: a correction is better than the answer that it corrects; of two answers to
    the same messages the one whose mean rating is higher by ``margin`` is better. With ``person``, by what that one
    alone said. Each row knows the answers that it comes from; those that must not be learnt from are left out."""
    said = read_served(allowed(store.served.all(), read_reviews(store.signals.all()), Problems()))
    by_answer: dict[str, list[StoredSignal]] = {}
    for row in said_by(store, person):
        by_answer.setdefault(row.answer, []).append(row)
    out: list[Record] = []
    asked: dict[tuple[Message, ...], list[tuple[float, ServedAnswer]]] = {}
    for one in said:
        rows = by_answer.get(one.row.id, [])
        correction = next((row.text for row in reversed(rows) if row.kind in ("edit", "demonstration")), None)
        if correction is None and not person:
            correction = one.row.correction
        ratings = [row.value for row in rows if row.kind == "rating"]
        if not ratings and not person and one.row.score is not None:
            ratings = [one.row.score]
        if correction and correction.strip() != one.text.strip():
            out.append(_record(one, correction, one.text, [one]))
        if ratings:
            asked.setdefault(one.messages, []).append((sum(ratings) / len(ratings), one))
    for answers in asked.values():
        answers.sort(key=lambda rated: rated[0])
        (low, worst), (high, best) = answers[0], answers[-1]
        if high - low >= margin and best.text.strip() != worst.text.strip():
            out.append(_record(best, best.text, worst.text, [best, worst]))
    return out


def _record(one: ServedAnswer, chosen: str, rejected: str, sources: Sequence[ServedAnswer]) -> Record:
    source = {
        "served": [said.row.id for said in sources],
        "model": one.row.model,
        "program": json.loads(one.row.payload).get("program", ""),
    }
    id = "pair:" + "+".join(said.row.id for said in sources)
    return Record(
        id, (*one.messages, Message("assistant", chosen)), rejected=rejected, shape="preference", source=source
    )


def demand_said(store: Store, traces: Iterable[str]) -> None:
    """Raises InputError where some of the served answers that pairs come from were deleted since, or what people said
    of them. A store that knows none of them is another one, and says nothing."""
    known = set(traces)
    lost = store.served.missing(known)
    if len(lost) == len(known):
        return
    if lost := lost | store.served.unsaid(known):
        raise InputError(
            f"of {len(lost):,} of the {len(known):,} served answers that the pairs come from nothing is left: they were deleted, "
            "or what people said of them",
            remedy="make the pairs anew: rung feedback pairs --to FILE",
            code="stale-pairs",
        )


def write(records: Sequence[Record], path: Path) -> None:
    """Records as rows that rung data and rung align read. Raises InputError when there are none."""
    if not records:
        raise InputError(
            "nothing that people said makes a pair", remedy="collect ratings or corrections: POST /v1/feedback"
        )
    lines.write(path, records)
