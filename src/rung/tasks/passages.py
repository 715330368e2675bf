"""A corpus: passages by id, from a data file, a folder, a text file, or this interpreter's own documentation."""

from __future__ import annotations

import re
from pathlib import Path

from rung.tasks.corpus import read_stdlib
from rung.tasks.definition import STDLIB_CORPUS, Corpus
from rung.tasks.problem import Problems, nearest
from rung.tasks.reader import ABSENT, guess, read, value

TEXT = (".txt", ".md", ".rst")


def corpus(source: Corpus, place: Path, problems: Problems, *, task: Path, line: int | None) -> dict[str, str]:
    """Passages by id. ``place`` is where the source's path leads. Problems say what is missing or empty."""
    if source.file == STDLIB_CORPUS:
        return read_stdlib()
    try:
        return _gather(source, place, problems, task, line)
    except OSError as error:
        problems.add(
            f"passages: cannot read {place.name[:80]}: {error.strerror or error}",
            "check the path, the files and their permissions",
            file=task,
            line=line,
        )
        return {}


def _gather(source: Corpus, place: Path, problems: Problems, task: Path, line: int | None) -> dict[str, str]:
    if not place.exists():
        problems.add(
            f"passages: there is no {place}", f"correct the path, or use {STDLIB_CORPUS}", file=task, line=line
        )
        return {}
    out: dict[str, str] = {}
    if place.is_dir() and source.format is None:
        for file in sorted(item for item in place.rglob("*") if item.suffix.lower() in TEXT and item.is_file()):
            text = _text(file, problems)
            if text.strip():
                out[file.relative_to(place).as_posix()] = text.strip()
    elif place.suffix.lower() in TEXT:
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", _text(place, problems)) if part.strip()]
        out = {f"{place.stem}-{number}": text for number, text in enumerate(paragraphs, 1)}
    elif source.format or guess(place):
        out = _rows(source, place, problems, task=task, line=line)
    else:
        problems.add(
            f"passages: cannot tell what {place.name} holds",
            "expected a folder, .txt, .md, or a data file",
            file=task,
            line=line,
        )
        return {}
    if not out and not problems.failed:
        problems.add(
            f"passages: {place} holds no text", "add .txt or .md files, or name a data file", file=task, line=line
        )
    return out


def _text(file: Path, problems: Problems) -> str:
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        at = raw.count(b"\n", 0, error.start) + 1
        problems.add(f"byte {error.start:,} is not UTF-8", "save the file as UTF-8", file=file, line=at)
        return ""


def _rows(source: Corpus, place: Path, problems: Problems, *, task: Path, line: int | None) -> dict[str, str]:
    out: dict[str, str] = {}
    for table in read(source, place, problems, line=line, task=task):
        for row in table.rows:
            parts = [value(row, column) for column in source.text]
            lacking = [column for column, part in zip(source.text, parts, strict=True) if part is ABSENT]
            if lacking:
                problems.add(
                    f"passages: no column {lacking[0]!r}",
                    nearest(lacking[0], table.columns),
                    file=place,
                    line=row.line,
                    kind="no column",
                )
                continue
            text = "\n".join(str(part).strip() for part in parts if part not in (None, "")).strip()
            id = str(value(row, source.id)) if source.id else f"{place.name}-{row.line}"
            if id in out:
                problems.add(
                    f"passages: the id {id!r} is there twice",
                    "make ids distinct",
                    file=place,
                    line=row.line,
                    kind="ids twice",
                )
            elif text:
                out[id] = text
    return out
