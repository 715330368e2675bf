"""What was answered in a run, or to callers of a server, as training rows: right answers as they are, wrong ones as
somebody has corrected them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rung.core.codec import decode, spell
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.parts.problem import Problems
from rung.core.types import Message, Result, text_of
from rung.data.rows.records import Record
from rung.documents.tables import rows as tables
from rung.store import StoredServed, StoredSignal

IDS = ("id", "example", "key")
CONSENT, REVIEW = "consent", "review"
"""Kinds of signals: whether an answer may be learnt from, and by whom it was looked at."""
ANSWERS = ("answer", "correction", "right", "output", "label", "reference")


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """Answers of a run, and requests that were served, to make rows of. Raises InputError where corrections could be
    of either."""

    run: str = option("", "A run's id, or `last`: its answers are the rows.", metavar="RUN")
    rung: str = option("", "Which rung of the run; without it, the recommended one.", metavar="RUNG")
    served: str = option("", "What `rung serve --record` kept of this model id, or of all: `all`.", metavar="MODEL")
    corrections: str = option("", "A table of id and answer that wins over what was answered.", metavar="FILE")
    consented: bool = option(
        False, "Of what was served, take only what people allowed: rung feedback review.", flags=("--consented",)
    )
    every: bool = option(
        False,
        "Take answers of a run that were not right, and served ones that nobody scored, as well.",
        flags=("--every",),
    )

    def __post_init__(self) -> None:
        if self.run and self.served and self.corrections:
            raise InputError(
                "--corrections could be of the run or of what was served", remedy="import one at a time", code="either"
            )

    @property
    def right(self) -> dict[str, str]:
        """The corrections, by id."""
        return corrections(Path(self.corrections)) if self.corrections else {}


def corrections(path: Path) -> dict[str, str]:
    """Right answers by example: a table with the columns id and answer. Raises InputError for one that has none, and
    for an id that is given two answers."""
    out: dict[str, str] = {}
    for row in tables.rows(path):
        id = next((str(row.values[name]) for name in IDS if row.values.get(name) not in (None, "")), None)
        answer = next((row.values[name] for name in ANSWERS if row.values.get(name) is not None), None)
        if id is None or answer is None:
            raise InputError(
                f"has the columns {', '.join(row.values)}",
                file=path,
                line=row.line,
                remedy="expected the columns id and answer",
            )
        if out.setdefault(id, spell(answer)) != spell(answer):
            raise InputError(f"{id} has two different answers", file=path, line=row.line, remedy="remove one")
    return out


@dataclass(frozen=True, slots=True)
class Answers:
    """What a rung answered in a run, and the metric that says what was right."""

    run: str
    rung: str
    metric: str
    results: Sequence[Result]


def harvest(given: Answers, right: Mapping[str, str], problems: Problems, *, every: bool = False) -> Iterator[Record]:
    """Rows of the answers of a rung in a run. A correction wins over what was answered; without one only an answer
    that scored 1 in the metric is learnt (``every``: any that did not fail). The others, and corrections of examples
    that are not there, go to ``problems``."""
    left = dict(right)
    for result in given.results:
        id, corrected = result.example.id, left.pop(result.example.id, None)
        place = f"{given.run} {given.rung} {id}"
        value = result.scores[given.metric].value if result.answer.failure is None else 0.0
        if corrected is not None:
            answer = corrected
        elif result.answer.failure is not None:
            problems.add(
                f"failed ({result.answer.failure.where}), and there is no correction", file=place, code="failed"
            )
            continue
        elif not every and value < 1:
            problems.add(f"scored {value:g} in {given.metric}, and there is no correction", file=place, code="wrong")
            continue
        else:
            answer = spell(result.answer.output)
        source = {"run": given.run, "rung": given.rung, "example": id, "corrected": corrected is not None}
        messages = (Message("user", text_of(result.example.input)), Message("assistant", answer))
        yield Record(f"{given.run}:{given.rung}:{id}", messages, source=source)
    for id in left:
        problems.add(
            "corrected, but the run did not answer it", file=f"{given.run} {given.rung} {id}", code="not-answered"
        )


@dataclass(frozen=True, slots=True)
class TraceReview:
    """What is known of a served answer besides its score: whether it may be learnt from (None: nobody said), and who
    looked at it."""

    consent: bool | None = None
    reviewer: str = ""


def read_reviews(signals: Iterable[StoredSignal]) -> dict[str, TraceReview]:
    """By answer; the last word counts."""
    out: dict[str, TraceReview] = {}
    for row in signals:
        known = out.get(row.answer, TraceReview())
        if row.kind == CONSENT:
            out[row.answer] = replace(known, consent=row.value > 0)
        elif row.kind == REVIEW:
            out[row.answer] = replace(known, reviewer=row.person)
    return out


def allowed(
    requests: Iterable[StoredServed], reviews: Mapping[str, TraceReview], problems: Problems, *, consented: bool = False
) -> Iterator[StoredServed]:
    """The requests that may be learnt from: never those that somebody forbade, with ``consented`` only those that
    somebody allowed."""
    for row in requests:
        consent = reviews.get(row.id, TraceReview()).consent
        if consent is False:
            problems.add("it must not be learnt from: consent was refused", file=row.id, code="no-consent")
        elif consent is None and consented:
            problems.add("nobody said that it may be learnt from", file=row.id, code="no-consent")
        else:
            yield row


def gather(
    requests: Iterable[StoredServed],
    right: Mapping[str, str],
    problems: Problems,
    *,
    every: bool = False,
    reviews: Mapping[str, TraceReview] | None = None,
) -> Iterator[Record]:
    """Rows of requests that a server recorded: the conversation as it was asked, and its answer.

    A correction wins, that of ``right`` (by response id) over one that callers sent; without one only an answer that
    was scored 1 is learnt (``every``: also those that nobody scored). Answers cut off by their length, tool calls,
    and corrections of requests that are not there go to ``problems``."""
    left = dict(right)
    for row in requests:
        corrected = left.pop(row.id, row.correction)
        try:
            kept = json.loads(row.payload)
            messages = tuple(decode(Message, message) for message in kept["messages"])
            answer = kept["answers"][0]
            text, finish, tools = str(answer["text"]), answer.get("finish", "stop"), answer.get("tool_calls")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            problems.add(f"cannot be read ({type(error).__name__})", file=row.id, code="unreadable")
            continue
        if any(message.tool_calls for message in messages):
            problems.add("the conversation holds tool calls, which rows cannot say", file=row.id, code="tool-calls")
        elif corrected is not None:
            yield _served(row, kept, messages, corrected, True, (reviews or {}).get(row.id))
        elif row.score is not None and row.score < 1:
            problems.add(f"scored {row.score:g}, and there is no correction", file=row.id, code="wrong")
        elif row.score is None and not every:
            problems.add("nobody scored or corrected it (--every takes it)", file=row.id, code="not-scored")
        elif tools or finish != "stop" or not text.strip():
            why = "tools were called" if tools else "it is empty" if finish == "stop" else f"it ended by {finish}"
            problems.add(f"the answer cannot be learnt: {why}", file=row.id, code="not-learnt")
        else:
            yield _served(row, kept, messages, text, False, (reviews or {}).get(row.id))
    for id in left:
        problems.add("corrected, but it is not recorded", file=id, code="not-answered")


def _served(
    row: StoredServed,
    kept: Mapping[str, object],
    messages: tuple[Message, ...],
    answer: str,
    corrected: bool,
    review: TraceReview | None,
) -> Record:
    review = review or TraceReview()
    source = {
        "served": row.id,
        "model": row.model,
        "program": kept.get("program", ""),
        "time": datetime.fromtimestamp(row.created, UTC).isoformat(timespec="milliseconds"),
        "corrected": corrected,
        "consent": review.consent,
        "reviewer": review.reviewer,
        **({"score": row.score} if row.score is not None else {}),
    }
    return Record(f"served:{row.id}", (*messages, Message("assistant", answer)), source=source)
