"""Texts, pieces of them, and what a search finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it comes from. ``metadata`` values are strings, numbers, booleans or lists of strings."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: ``text`` is the document's text from character ``start`` up to, not including, ``end``."""

    id: str
    document: str
    start: int
    end: int
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` up to, not including, ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found. ``parts`` are the scores it was made of (``dense``, ``keyword``, ``rerank``), ``highlights`` the
    spans of the passage's text that match the query."""

    passage: Passage
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    highlights: tuple[Span, ...] = ()
