"""Who said what, as conversations: the turns of one side are what is learnt, those of all others what is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types import Message
from rung.data.rows.records import Record
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import Layout, Row

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


def converse(turns: Sequence[Turn], me: Sequence[str]) -> tuple[Message, ...]:
    """The messages of a conversation as ``me`` had it; none where they answered nothing.

    What one side says in a row is one message. It begins with the first turn of somebody else and ends with the last
    of mine: the rest teaches nothing."""
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
    return tuple(messages)


def is_chat(columns: Sequence[str]) -> bool:
    """Whether a table's columns are those of a chat export."""
    return all(_column(columns, names) is not None for names in (AUTHORS, TIMES, TEXTS))


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    lower = {column.strip().lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def read(path: Path, me: Sequence[str], problems: Problems, *, gap: float = GAP) -> Iterator[Record]:
    """Conversations of a chat export: JSON (a list, or an object with ``messages``), JSON Lines or CSV with author,
    time and text.

    Rows of one conversation (a column says which; else the whole file is one) lie in the order of their time and are
    cut where nobody said anything for ``gap`` hours. Raises InputError for a file that is none; a row that is none
    goes to ``problems``."""
    if not me:
        raise InputError(
            f"whose turns are to be learnt from {path.name}?", remedy="say who you are: --me NAME", code="no-author"
        )
    talks: dict[str, list[Turn]] = {}
    for row in _rows(path, problems):
        columns = [str(key) for key in row.values]
        author, time, text = (_column(columns, names) for names in (AUTHORS, TIMES, TEXTS))
        if author is None or text is None:
            problems.add(
                f"it has {', '.join(columns) or 'no columns'}; expected author, time and text", file=path, line=row.line,
                code="not-a-chat",
            )  # fmt: skip
            continue
        who = row.values[author]
        if isinstance(who, Mapping):
            who = next((who[key] for key in ("username", "name", "id") if who.get(key)), "")
        when = None if time is None else moment(row.values[time])
        if time is not None and when is None:
            problems.add(
                f"{row.values[time]!r} is no time; the order of the rows is kept", file=path, line=row.line,
                level="warning", code="not-a-time",
            )  # fmt: skip
        talk = _column(columns, TALKS)
        name = str(row.values[talk]) if talk is not None else ""
        talks.setdefault(name, []).append(Turn(str(who or ""), _said(row.values[text]), str(row.line), when))
    if not talks:
        problems.demand(path)
        raise InputError(
            "holds no message with an author and a text", file=path, remedy="expected author, time and text",
            code="not-a-chat",
        )  # fmt: skip
    for name, turns in talks.items():
        for number, part in enumerate(_sessions(turns, gap), 1):
            messages = converse(part, me)
            if not messages:
                problems.add(
                    f"{' or '.join(me)} answered nothing in it", file=path, line=int(part[0].place), code="no-answer"
                )
                continue
            source: dict[str, Any] = {"file": path.name, "lines": [turn.place for turn in part]}
            source["conversation"] = f"{name or path.name}#{number}"
            if part[0].time is not None:
                source["time"] = datetime.fromtimestamp(part[0].time, UTC).isoformat()
            yield Record(f"{path.name}:{part[0].place}", messages, source=source)


def _rows(path: Path, problems: Problems) -> Iterator[Row]:
    """The rows of an export; one in JSON may hold them under ``messages``."""
    for layout in (Layout(lenient=True), Layout(lenient=True, path="messages[]")):
        told = Problems()
        found = [row for table in tables.read(path, told, layout) for row in table.rows]
        if found or all(one.code != "json-path" for one in told.found):
            break
    problems.extend(told)
    return iter(found)


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
