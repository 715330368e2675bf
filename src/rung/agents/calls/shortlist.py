"""Which tools a request is about, by their words: BM25 over names, descriptions and the names of arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rung.core.types import ToolSpec

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_.\-/]+")


def lexical(request: str, tools: Sequence[ToolSpec]) -> list[float]:
    """The BM25 score of each tool for the request (0: they share no word). A tool's name counts twice."""
    from rung.retrieval.keyword.keyword import KeywordIndex

    if not tools:
        return []
    index = KeywordIndex()
    index.add([str(at) for at in range(len(tools))], [text_of(tool) for tool in tools])
    found = dict(index.search(spelled(request), len(tools)))
    return [found.get(str(at), 0.0) for at in range(len(tools))]


def shortlist(request: str, tools: Sequence[ToolSpec], most: int) -> list[ToolSpec]:
    """The ``most`` tools that fit the request best, in their own order; 0: all of them."""
    if not 0 < most < len(tools):
        return list(tools)
    scores = lexical(request, tools)
    kept = sorted(sorted(range(len(tools)), key=lambda at: -scores[at])[:most])
    return [tools[at] for at in kept]


def spelled(text: str) -> str:
    """A text whose names are split into words: at humps, dots, lines and slashes."""
    return _HUMP.sub(" ", text)


def text_of(tool: ToolSpec) -> str:
    """What words are looked for in: a tool's name (twice), description and arguments."""
    return " ".join(spelled(word) for word in (tool.name, tool.name, tool.description, *_names(tool.schema)))


def _names(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, inner in (schema.get("properties") or {}).items():
        yield name
        if isinstance(inner, Mapping):
            yield str(inner.get("description", ""))
