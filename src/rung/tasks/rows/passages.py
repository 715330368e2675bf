"""A corpus: passages by id, from a data file, a folder, a text file, or this interpreter's own documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rung.core.errors import InputError, MissingExtra
from rung.core.parts.problem import Problem, Problems, nearest
from rung.core.types import Document
from rung.documents import read as read_documents
from rung.documents import scan
from rung.documents.tables.cells import ABSENT, value
from rung.documents.tables.layout import Place, guess
from rung.documents.tables.rows import read
from rung.tasks.file.definition import STDLIB_CORPUS, Corpus
from rung.tasks.packs.corpus import read_stdlib

KINDS = ("text", "markdown", "html", "pdf", "docx")
"""Readers whose files are passages; tables are named by themselves, with their columns."""


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
        for document in _documents(place, problems):
            out[document.id.removeprefix(f"{place.resolve().name}/")] = document.text.strip()
    elif place.is_file() and source.format is None and not guess(place):
        for document in _documents(place, problems):
            paragraphs = [part.strip() for part in re.split(r"\n\s*\n", document.text) if part.strip()]
            out |= {f"{place.stem}-{number}": text for number, text in enumerate(paragraphs, 1)}
    elif source.format or guess(place):
        out = _rows(source, place, problems, task=task, line=line)
    else:
        problems.add(
            f"passages: cannot tell what {place.name} holds",
            "expected a folder, a text (.txt, .md, .html, .pdf, .docx), or a data file",
            file=task,
            line=line,
        )
        return {}
    if not out and not problems.failed:
        problems.add(
            f"passages: {place} holds no text",
            "add .txt, .md, .html, .pdf or .docx files, or name a data file",
            file=task,
            line=line,
        )
    return out


def _documents(place: Path, problems: Problems) -> Iterator[Document]:
    """The texts under a folder, or of a file, in the order of their names."""
    troubles: list[Problem] = []
    try:
        sources = scan(place, troubles=troubles)
    except InputError:  # nothing there: the caller says so
        return
    for item in sources:
        if item.kind in KINDS:
            before = len(troubles)
            try:
                yield from read_documents(item, troubles)
            except MissingExtra as missing:
                problems.add(missing.message, missing.remedy, file=item.path)
            for trouble in troubles[before:]:
                if trouble.code != "no-text":
                    remedy = trouble.remedy or "mend the file or take it away"
                    problems.found.append(replace(trouble, file=str(item.path), remedy=remedy))


def _rows(source: Corpus, place: Path, problems: Problems, *, task: Path, line: int | None) -> dict[str, str]:
    out: dict[str, str] = {}
    for table in read(place, problems, source.layout, named=Place(task, line)):
        for row in table.rows:
            parts = [value(row.values, column) for column in source.text]
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
            id = str(value(row.values, source.id)) if source.id else f"{place.name}-{row.line}"
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
