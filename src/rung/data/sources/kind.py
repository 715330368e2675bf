"""What kind of source a file or folder is."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from rung.core.parts.problem import Problems
from rung.data.rows import shapes
from rung.data.sources import chat
from rung.documents.source import kind_of
from rung.documents.tables import rows as tables
from rung.documents.tables.layout import Layout, guess


def kind_of_source(path: Path) -> str:
    """The kind of a source, by its name and its first row: a table, a chat export, a mail folder or (anything else)
    documents."""
    if path.is_dir():
        files = [file for file in islice(path.rglob("*"), 1000) if file.is_file() and not file.name.startswith(".")]
        data = [file for file in files if guess(file) in ("arrow", "parquet", "csv", "tsv", "jsonl")]
        documents = [file for file in files if file not in data and kind_of(file) not in (None, "json", "csv", "jsonl")]
        return "table" if data and len(data) >= len(documents) else "text"
    if path.suffix.lower() == ".mbox":
        return "mail"
    kind = guess(path)
    if kind is None:
        return "text"
    if kind in ("csv", "tsv", "jsonl", "json") and path.suffix.lower() != ".gz":
        columns = _columns(path)
        row = dict.fromkeys(columns, "")
        # An author, a time and a text are a chat, unless the columns are those of training rows.
        if chat.is_chat(columns) and not any(shape.matches(row) for shape in shapes.SHAPES if shape.name != "text"):
            return "chat"
    return "table"


def _columns(path: Path) -> tuple[str, ...]:
    """The columns of the first row; of a JSON object, those of its first message."""
    for place in (None, "messages[]"):
        row = next(tables.stream(path, Problems(), Layout(lenient=True, path=place)), None)
        if row is not None and (place is None or "role" not in row.values):
            return tuple(row.values)
    return ()
