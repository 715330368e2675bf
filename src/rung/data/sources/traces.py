"""What was answered in a run, or to callers of a server, as training rows: right answers as they are, wrong ones as somebody has
corrected them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rung.core.codec import decode, spell
from rung.core.errors import InputError
from rung.core.types import Message, Result, text_of
from rung.data.rows.records import Record
from rung.documents import tables
from rung.store import StoredServed

IDS = ("id", "example", "key")
ANSWERS = ("answer", "correction", "right", "output", "label", "reference")


def corrections(path: Path) -> dict[str, str]:
    """Right answers by example: a table with the columns id and answer. Raises InputError for one that has none, and for an id that is
    given two answers."""
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


def harvest(
    results: Sequence[Result],
    right: Mapping[str, str],
    run: str,
    rung: str,
    metric: str,
    faults: list[str],
    *,
    every: bool = False,
) -> Iterator[Record]:
    """Rows of the answers of a rung in a run. A correction wins over what was answered; without one only an answer that scored 1 in
    ``metric`` is learnt (``every``: any that did not fail). The others, and corrections of examples that are not there, go to ``faults``."""
    left = dict(right)
    for result in results:
        id, corrected = result.example.id, left.pop(result.example.id, None)
        if corrected is not None:
            answer = corrected
        elif result.answer.failure is not None:
            faults.append(f"{run} {rung} {id}: failed ({result.answer.failure.where}), and there is no correction")
            continue
        elif not every and result.scores[metric].value < 1:
            faults.append(
                f"{run} {rung} {id}: scored {result.scores[metric].value:g} in {metric}, and there is no correction"
            )
            continue
        else:
            answer = spell(result.answer.output)
        source = {"run": run, "rung": rung, "example": id, "corrected": corrected is not None}
        messages = (Message("user", text_of(result.example.input)), Message("assistant", answer))
        yield Record(f"{run}:{rung}:{id}", messages, source=source)
    faults += [f"{run} {rung} {id}: corrected, but the run did not answer it" for id in left]


def gather(
    requests: Iterable[StoredServed], right: Mapping[str, str], faults: list[str], *, every: bool = False
) -> Iterator[Record]:
    """Rows of requests that a server recorded: the conversation as it was asked, and its answer.

    A correction wins, that of ``right`` (by response id) over one that callers sent; without one only an answer that was scored 1 is
    learnt (``every``: also those that nobody scored). Answers cut off by their length, tool calls, and corrections of requests that are not
    there go to ``faults``.
    """
    left = dict(right)
    for row in requests:
        corrected = left.pop(row.id, row.correction)
        try:
            kept = json.loads(row.payload)
            messages = tuple(decode(Message, message) for message in kept["messages"])
            answer = kept["answers"][0]
            text, finish, tools = str(answer["text"]), answer.get("finish", "stop"), answer.get("tool_calls")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            faults.append(f"{row.id}: cannot be read ({type(error).__name__})")
            continue
        if any(message.tool_calls for message in messages):
            faults.append(f"{row.id}: the conversation holds tool calls, which rows cannot say")
        elif corrected is not None:
            yield _served(row, kept, messages, corrected, True)
        elif row.score is not None and row.score < 1:
            faults.append(f"{row.id}: scored {row.score:g}, and there is no correction")
        elif row.score is None and not every:
            faults.append(f"{row.id}: nobody scored or corrected it (--every takes it)")
        elif tools or finish != "stop" or not text.strip():
            why = "tools were called" if tools else "it is empty" if finish == "stop" else f"it ended by {finish}"
            faults.append(f"{row.id}: the answer cannot be learnt: {why}")
        else:
            yield _served(row, kept, messages, text, False)
    faults += [f"{id}: corrected, but it is not recorded" for id in left]


def _served(
    row: StoredServed, kept: Mapping[str, object], messages: tuple[Message, ...], answer: str, corrected: bool
) -> Record:
    source = {
        "served": row.id,
        "model": row.model,
        "program": kept.get("program", ""),
        "time": datetime.fromtimestamp(row.created, UTC).isoformat(timespec="milliseconds"),
        "corrected": corrected,
        **({"score": row.score} if row.score is not None else {}),
    }
    return Record(f"served:{row.id}", (*messages, Message("assistant", answer)), source=source)
