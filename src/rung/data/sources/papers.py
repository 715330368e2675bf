"""Company documents as training rows: their whole text, or the questions that they answer themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rung.core.parts.problem import Problem, Problems
from rung.core.types import Document, Message
from rung.data.rows.records import Record
from rung.documents import read, scan

Content = Literal["text", "faq", "sections"]

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_ASKED = re.compile(r"^\W{0,4}(?:Q|Question|Frage)\s*\d*\s*[:.)]\W{0,4}\s*(\S.*)$", re.IGNORECASE)
_ANSWERED = re.compile(r"^\W{0,4}(?:A|Answer|Antwort)\s*\d*\s*[:.)]\W{0,4}\s*(.*)$", re.IGNORECASE)


def gather(paths: Sequence[Path], content: Content, problems: Problems) -> Iterator[Record]:
    """Rows of every document under ``paths``.

    ``text``: one plain text a document, for continued pre-training. ``faq``: question and answer where the document
    has them, as a heading that asks with the text under it, or as lines that begin with ``Q:`` and ``A:``.
    ``sections``: the headings above a section as the question, its text as the answer. What cannot be read, or holds
    nothing of that kind, goes to ``problems``."""
    troubles: list[Problem] = []
    for source in scan(paths, troubles=troubles):
        for document in read(source, troubles):
            about = {"file": source.id, "document": document.id}
            if content == "text":
                extra = {key: value for key, value in document.metadata.items() if key != "text"}
                yield Record(document.id, text=document.text, shape="text", extra=extra, source=about)
                continue
            count = 0
            for line, question, answer in _pairs(document) if content == "faq" else _sections(document):
                count += 1
                messages = (Message("user", question), Message("assistant", answer))
                yield Record(f"{document.id}:{line}", messages, source={**about, "line": line})
            if not count:
                wanted = "question with its answer" if content == "faq" else "heading with a text"
                problems.add(f"holds no {wanted}", file=document.id, code="no-rows")
        _move(troubles, problems)
    _move(troubles, problems)


def _move(troubles: list[Problem], problems: Problems) -> None:
    for one in troubles:
        problems.add(one.message, one.remedy, file=one.file, line=one.line, level=one.level, code=one.code)
    troubles.clear()


def _parts(document: Document) -> Iterator[tuple[int, list[str], str]]:
    """Line of the heading (1-based), the headings that a text stands under (outermost first), and the text."""
    above: list[tuple[int, str]] = []
    body: list[str] = []
    begun, fence = 1, False
    for number, line in enumerate(document.text.split("\n"), 1):
        if line.lstrip().startswith(("```", "~~~")):
            fence = not fence
        found = None if fence else _HEADING.match(line)
        if found is None:
            body.append(line)
            continue
        yield begun, [title for _, title in above], "\n".join(body).strip()
        depth = len(found[1])
        above = [*(item for item in above if item[0] < depth), (depth, found[2].strip("* "))]
        body, begun = [], number
    yield begun, [title for _, title in above], "\n".join(body).strip()


def _sections(document: Document) -> Iterator[tuple[int, str, str]]:
    for line, titles, body in _parts(document):
        if titles and body:
            yield line, ": ".join(titles), body


def _pairs(document: Document) -> Iterator[tuple[int, str, str]]:
    for line, titles, body in _parts(document):
        if titles and body and titles[-1].endswith("?"):
            yield line, titles[-1], body
        else:
            yield from _lettered(line, body)


def _lettered(first: int, body: str) -> Iterator[tuple[int, str, str]]:
    question, answer, line = "", None, first
    for number, text in enumerate(body.split("\n"), first + 1):
        if asked := _ASKED.match(text):
            if question and answer and answer.strip():
                yield line, question, answer.strip()
            question, answer, line = asked[1].strip("* "), None, number
        elif question and answer is None and (answered := _ANSWERED.match(text)):
            answer = answered[1].lstrip("* ")
        elif question and answer is None and text.strip():
            question += f" {text.strip()}"
        elif answer is not None:
            answer += f"\n{text}"
    if question and answer and answer.strip():
        yield line, question, answer.strip()
