"""Who said what, as conversations: the turns of one side are what is learnt, those of all others what is asked."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.types import Message
from rung.data.rows.records import Record

AUTHORS = ("author", "from", "sender", "user", "username", "name", "speaker", "actor")
TIMES = ("time", "date", "timestamp", "ts", "datetime", "created_at", "created", "sent_at")
TEXTS = ("text", "message", "content", "body")
TALKS = (
    "conversation",
    "conversation_id",
    "thread",
    "thread_id",
    "thread_ts",
    "channel",
    "chat",
    "chat_id",
    "ticket",
    "ticket_id",
)
GAP = 12.0
"""Hours of silence after which a conversation is another one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that somebody said; ``place`` is its line, or its message id; ``time`` Unix seconds where known."""

    author: str
    text: str
    place: str
    time: float | None = None


def converse(turns: Sequence[Turn], me: Sequence[str]) -> tuple[tuple[Message, ...], str]:
    """The messages of a conversation as ``me`` had it, and why there are none.

    What one side says in a row is one message. It begins with the first turn of somebody else and ends with the last of mine: the rest
    teaches nothing.
    """
    mine = {name.strip().casefold() for name in me}
    messages: list[Message] = []
    for turn in turns:
        role: Any = "assistant" if turn.author.strip().casefold() in mine else "user"
        if not turn.text.strip() or (not messages and role == "assistant"):
            continue
        if messages and messages[-1].role == role:
            messages[-1] = Message(role, f"{messages[-1].content}\n\n{turn.text.strip()}")
        else:
            messages.append(Message(role, turn.text.strip()))
    if messages and messages[-1].role == "user":
        messages.pop()
    if messages:
        return tuple(messages), ""
    return (), f"{' or '.join(me)} answered nothing in it"


def is_chat(columns: Sequence[str]) -> bool:
    """Whether a table's columns are those of a chat export."""
    return all(_column(columns, names) is not None for names in (AUTHORS, TIMES, TEXTS))


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.strip().lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def read(path: Path, me: Sequence[str], faults: list[str], *, gap: float = GAP) -> Iterator[Record]:
    """Conversations of a chat export: JSON (a list, or an object with ``messages``), JSON Lines or CSV with author, time and text.

    Rows of one conversation (a column says which; else the whole file is one) lie in the order of their time and are cut where nobody
    said anything for ``gap`` hours. Raises InputError for a file that is none; a row that is none goes to ``faults``.
    """
    if not me:
        raise InputError(f"whose turns are to be learnt from {path.name}?", remedy="say who you are: --me NAME")
    talks: dict[str, list[Turn]] = {}
    for place, row in _rows(path, faults):
        columns = [str(key) for key in row]
        author, time, text = (_column(columns, names) for names in (AUTHORS, TIMES, TEXTS))
        if author is None or text is None:
            faults.append(
                f"{path}:{place}: it has {', '.join(columns) or 'no columns'}; expected author, time and text"
            )
            continue
        said, who = _said(row[text]), row[author]
        if isinstance(who, Mapping):
            who = next((who[key] for key in ("username", "name", "id") if who.get(key)), "")
        when = None if time is None else moment(row[time])
        if time is not None and when is None:
            faults.append(f"{path}:{place}: {row[time]!r} is no time; the order of the rows is kept")
        talk = _column(columns, TALKS)
        talks.setdefault(str(row[talk]) if talk is not None else "", []).append(Turn(str(who or ""), said, place, when))
    if not talks:
        raise InputError(
            "holds no message with an author and a text", file=path, remedy="expected author, time and text"
        )
    for name, turns in talks.items():
        for number, part in enumerate(_sessions(turns, gap), 1):
            messages, why = converse(part, me)
            id = f"{path.name}:{part[0].place}"
            if not messages:
                faults.append(f"{path}:{part[0].place}: {why}")
                continue
            source: dict[str, Any] = {"file": path.name, "lines": [turn.place for turn in part]}
            source["conversation"] = f"{name or path.name}#{number}"
            if part[0].time is not None:
                source["time"] = datetime.fromtimestamp(part[0].time, UTC).isoformat()
            yield Record(id, messages, source=source)


def _sessions(turns: list[Turn], gap: float) -> Iterator[list[Turn]]:
    if all(turn.time is not None for turn in turns):
        turns = sorted(turns, key=lambda turn: turn.time or 0.0)
    part: list[Turn] = []
    for turn in turns:
        last = part[-1].time if part else None
        if last is not None and turn.time is not None and turn.time - last > gap * 3600:
            yield part
            part = []
        part.append(turn)
    yield part


def _said(value: Any) -> str:
    """Text, or the pieces that some exports make of it."""
    if isinstance(value, list):
        return "".join(_said(item) for item in value)
    if isinstance(value, Mapping):
        return _said(value.get("text"))
    return value if isinstance(value, str) else ""


def moment(value: Any) -> float | None:
    """Unix seconds of a time: ISO 8601, seconds or milliseconds; None for what is none."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d{9,13}(?:\.\d+)?", text):
            value = float(text)
        else:
            try:
                when = datetime.fromisoformat(text)
            except ValueError:
                return None
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e14:
        return value / 1000 if value > 1e11 else float(value)
    return None


def text_of(path: Path) -> str:
    """A file's text. Raises InputError for what is none."""
    from rung.documents.decode import decode, is_binary

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", file=path, remedy="correct the path") from None
    if is_binary(raw[: 1 << 16]):
        raise InputError("is not text: it holds bytes that no text has", file=path, remedy="name an export as text")
    return decode(raw).text


def _rows(path: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    text = text_of(path)
    if path.suffix.lower() in (".csv", ".tsv"):
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            for row in reader:
                yield str(reader.line_num), {key: value for key, value in row.items() if key is not None}
        except csv.Error as error:
            raise InputError(
                f"cannot read it: {error}", file=path, line=reader.line_num, remedy="mend the file"
            ) from None
        return
    try:
        document = json.loads(text)
    except ValueError as error:
        if path.suffix.lower() not in (".jsonl", ".ndjson") and "Extra data" not in str(error):
            raise InputError(f"not valid JSON: {error}", file=path, remedy="mend the file") from None
        document = None
    if document is None:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"a {type(row).__name__}, expected an object")
                except ValueError as error:
                    faults.append(f"{path}:{number}: {error}")
                    continue
                yield str(number), row
        return
    rows = document.get("messages", [document]) if isinstance(document, dict) else document
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        if isinstance(row, dict):
            yield str(number), row
        else:
            faults.append(f"{path}:{number}: a {type(row).__name__}, expected an object")
