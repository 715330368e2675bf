"""The table of rules, and what they are held against."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from rung.prompts.template.prompt import Shot
from rung.prompts.template.template import Variable

Level = Literal["error", "warning", "hint"]


@lru_cache(maxsize=1)
def rules() -> Mapping[str, Any]:
    """The table of rules: ``rules.yaml``."""
    return cast(Mapping[str, Any], yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text(encoding="utf-8")))


@lru_cache(maxsize=256)
def pattern(text: str) -> re.Pattern[str]:
    """A regular expression of the table, compiled."""
    return re.compile(text.replace("{not}", rules()["not"]), re.IGNORECASE)


def finds(source: str, text: str, *span: int) -> Iterator[re.Match[str]]:
    """Where it stands in a text (from, to), the first ``most`` places."""
    return islice(pattern(source).finditer(text, *span), rules()["most"])


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A text of a prompt and what it is: a part's name, or ``system`` or ``user`` of a turn."""

    kind: str
    text: str


Hit = tuple[str, Level, int, int, str, str]
"""Rule, level, start, end (in the piece), reason, rewrite."""
Placed = tuple[PromptPiece, Hit]


@dataclass(frozen=True, slots=True)
class Linted:
    """What is looked at. ``stated``: the form of the answer is said elsewhere; ``listed``: so are the labels."""

    pieces: Sequence[PromptPiece]
    shots: Sequence[Shot] = ()
    labels: Sequence[str] = ()
    stated: bool = False
    variables: Sequence[Variable] = ()
    listed: bool = False

    @property
    def asked(self) -> list[PromptPiece]:
        """The pieces that are instructions."""
        other = ("persona", "audience", "context", "note", "assistant")
        return [piece for piece in self.pieces if piece.kind not in other]
