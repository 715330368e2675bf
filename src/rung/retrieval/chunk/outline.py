"""The sections of a document: Markdown's headings, Python's classes and functions."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from rung.core.types import Document
from rung.documents.formats.markdown.headings import headings


@dataclass(frozen=True, slots=True)
class Heading:
    """Where a section begins, and its heading with those above it."""

    start: int
    path: tuple[str, ...]


TITLE = 200
"""Characters of a heading at most: it is repeated in the metadata of every passage under it."""


def outline(document: Document) -> tuple[Heading, ...]:
    """The sections of a document: Markdown's headings, Python's classes and functions."""
    language = document.metadata.get("language")
    if language == "python":
        return _python(document.text)
    # A line under words is a heading in Markdown, and anything in a mail, a listing or a page of a book.
    return () if language else _markdown(document.text, document.metadata.get("kind", "markdown") == "markdown")


def _markdown(text: str, underlined: bool) -> tuple[Heading, ...]:
    out: list[Heading] = []
    above: list[tuple[int, str]] = []
    for start, level, words in headings(text, underlined=underlined):
        above = [*(item for item in above if item[0] < level), (level, words[:TITLE] or "#")]
        out.append(Heading(start, tuple(title for _, title in above)))
    return tuple(out)


def _python(text: str) -> tuple[Heading, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    out: list[Heading] = []

    def visit(body: Sequence[ast.stmt], path: tuple[str, ...]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                line = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                inner = (*path, node.name)
                out.append(Heading(starts[line - 1], inner))
                if isinstance(node, ast.ClassDef) and len(path) < 8:
                    visit(node.body, inner)
                # What follows a definition belongs to what is around it.
                if (node.end_lineno or 0) < len(starts):
                    out.append(Heading(starts[node.end_lineno or 0], path))

    visit(tree.body, ())
    out.sort(key=lambda mark: mark.start)
    kept: dict[int, Heading] = {mark.start: mark for mark in out}  # the last of one place: what begins there
    return tuple(kept.values())
