"""Rows of any form read into records and written back.

A form says which columns it reads. All others are kept beside the record, and a row that the form would not write
back as it was is kept whole: reading and writing in the same form gives the row back, key for key, as long as its
words were not changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rung.core.errors import InputError
from rung.core.types import ToolSpec
from rung.data.rows.forms import (
    COLUMNS,
    ROW,
    UNLEARNT,
    Columns,
    Completion,
    Instruction,
    Messages,
    PlainText,
    Row,
    Shape,
    ShareGpt,
)
from rung.data.rows.preference import Preference
from rung.data.rows.records import Record, RowError
from rung.data.rows.turns import read_tools, write_tools

MEDIA = ("images", "image", "videos", "video", "audios", "audio")
"""Columns that a text alone does not stand for."""
SHAPES: tuple[Shape, ...] = (Preference(), Messages(), ShareGpt(), Instruction(), Completion(), Columns(), PlainText())


def shape(name: str) -> Shape:
    """The form of that name. Raises InputError naming those there are."""
    for item in SHAPES:
        if item.name == name:
            return item
    raise InputError(f"unknown shape {name!r}", remedy=f"expected {', '.join(item.name for item in SHAPES)}")


def read(row: Row, id: str, source: Mapping[str, Any], form: Shape | None = None) -> Record:
    """A row as a record, in the given form or the first that fits. Raises RowError saying why it is none."""
    found = form or next((item for item in SHAPES if item.matches(row)), None)
    if found is None or not found.matches(row):
        wanted = (
            f"the form {found.name!r}"
            if found
            else "messages, conversations, instruction/output, prompt/completion, chosen/rejected, question/answer or text"
        )
        raise RowError(f"it has {', '.join(map(str, row)) or 'no columns'}; expected {wanted}", "no-shape")
    if media := next((key for key in MEDIA if row.get(key)), None) if found.name != "text" else None:
        raise RowError(f"it has {media}: only text can be learnt from", "media")
    said = found.read(row)
    tools, used = _tools(row) if said.messages else ((), ())
    if isinstance(given := row.get("input"), Mapping) and "input" in said.used:  # OpenAI's pairs
        tools = _tools(given)[0]
    extra: dict[str, Any] = {key: value for key, value in row.items() if key not in (*said.used, *used)}
    if said.unlearnt:
        extra[UNLEARNT] = sorted(said.unlearnt)
    if said.columns is not None:
        extra[COLUMNS] = list(said.columns)
    record = Record(id, said.messages, said.text, said.rejected, found.name, tools, extra, source)
    try:
        again = _fresh(record, found)
    except RowError:
        again = {}
    return record if again == row else replace(record, extra={**extra, ROW: dict(row)})


def _tools(row: Row) -> tuple[tuple[ToolSpec, ...], tuple[str, ...]]:
    """The tools that a row offers, and the column that says so: OpenAI's ``tools`` (or ``functions``), which may be
    JSON."""
    for key in ("tools", "functions"):
        value = row.get(key)
        if isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip()[:1] in ("", "[")):
            return read_tools(value), (key,)
    return (), ()


def _fresh(record: Record, form: Shape) -> dict[str, Any]:
    """The row that a form makes of a record, with the record's other columns."""
    own = form.write(record)
    if record.tools:
        own["tools"] = write_tools(record.tools)
    says = form.name in ("messages", "sharegpt") or "label" in own
    if not says and not all(message.learn for message in record.messages):
        raise RowError("it has an answer that must not be learnt, which this shape cannot say", "not-learnt")
    return {**own, **{key: value for key, value in record.extra.items() if not key.startswith("\0") and key not in own}}


def write(record: Record, form: Shape | None = None) -> dict[str, Any]:
    """The record as a row, in the given form or the one that it was read in: there the row comes back as it was,
    unless its words were changed. Raises RowError for a record that the form cannot say."""
    form = form or shape(record.shape)
    row = record.extra.get(ROW) if form.name == record.shape else None
    if row is not None:
        again = read(row, record.id, record.source, _reader(record, form))
        if again.spoken == record.spoken:
            return dict(row)
    return _fresh(record, form)


def _reader(record: Record, form: Shape) -> Shape:
    columns = record.extra.get(COLUMNS)
    return Columns(columns[0], "answer" if columns[1] == "answers" else columns[1]) if columns else form


def losses(record: Record, form: Shape) -> Iterator[str]:
    """What of a record another form leaves out, in words."""
    if record.rejected is not None and form.name != "preference":
        yield "the rejected answer"
    if form.name == "text" and record.messages:
        yield "who said what"


def kept_beside(record: Record) -> list[str]:
    """What a record keeps that no model is shown or learns: other columns, parts of its turns, turns that must not be
    learnt."""
    names = [key for key in record.extra if not key.startswith("\0")]
    names += record.extra.get(UNLEARNT, ())
    if not all(message.learn for message in record.messages):
        names.append("answers with weight 0 or an undesirable label")
    return names
