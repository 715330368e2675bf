"""What kind of source a file or folder is."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path

from rung.data.rows import shapes
from rung.data.sources import talk
from rung.documents.layout import guess
from rung.documents.source import kind_of

KINDS = ("table", "text", "faq", "sections", "mail", "chat")


def told_by(path: Path) -> str:
    """The kind of a source, by its name and its first row: a table, a chat export, a mail folder or (anything else) documents."""
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
        columns = _columns(path, kind)
        row = dict.fromkeys(columns, "")
        # An author, a time and a text are a chat, unless the columns are those of training rows.
        if talk.is_chat(columns) and not any(shape.matches(row) for shape in shapes.SHAPES if shape.name != "text"):
            return "chat"
    return "table"


def _columns(path: Path, kind: str) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            if kind in ("csv", "tsv"):
                return next(csv.reader(stream, delimiter="\t" if kind == "tsv" else ","), [])
            document = (
                json.loads(next((line for line in stream if line.strip()), ""))
                if kind == "jsonl"
                else json.load(stream)
            )
    except (OSError, ValueError, RecursionError, csv.Error):
        return []
    if isinstance(document, dict) and isinstance(document.get("messages"), list):
        first = next((turn for turn in document["messages"] if isinstance(turn, dict)), {})
        return list(first) if "role" not in first else list(document)
    if isinstance(document, list):
        document = next((row for row in document if isinstance(row, dict)), {})
    return list(document) if isinstance(document, dict) else []
