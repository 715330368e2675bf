"""Markdown: the text as it stands, its front matter (YAML between ``---``, TOML between ``+++``) as metadata."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from rung.core.parts.problem import Problems
from rung.core.types import Document
from rung.documents.formats.markdown.headings import headings
from rung.documents.formats.text import noted, text_of
from rung.documents.source import Source, flat
from rung.foundations.text.yaml import read_yaml

_FRONT = re.compile(r"(---|\+\+\+)[ \t]*\n(.{0,65536}?)\n(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class MarkdownReader:
    """One document a file. ``title`` is the front matter's, else the first heading's."""

    suffixes: tuple[str, ...] = (".md", ".markdown", ".mdx", ".mkd")

    def read(self, source: Source, problems: Problems) -> Iterator[Document]:
        found = text_of(source, problems)
        metadata: dict[str, Any] = dict(noted(found))
        text = found.text
        if (front := _FRONT.match(text)) is not None:
            values, complaint = _front(front[1], front[2])
            if complaint:
                problems.add(
                    f"the front matter is not readable: {complaint}",
                    file=source.id,
                    line=1,
                    level="warning",
                    code="front-matter",
                )
            elif values is not None:
                metadata |= flat(values, problems, source.id, 1)
                text = text[front.end() :]
        if "title" not in metadata:
            title = next((words for _, level, words in headings(text[:4096]) if level == 1 and words), "")
            metadata |= {"title": title} if title else {}
        yield Document(source.id, text, metadata)


def _front(mark: str, text: str) -> tuple[dict[Any, Any] | None, str]:
    """Values, or None for a block between rules that is no front matter; and a complaint."""
    try:
        values = tomllib.loads(text) if mark == "+++" else read_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return None, " ".join(str(error).split())[:120]
    return (values, "") if isinstance(values, dict) else (None, "")


MARKDOWN = MarkdownReader()
