"""A training row, whatever shape it came in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rung.core.codec import digest, encode
from rung.core.types import Message, ToolSpec


class RowError(ValueError):
    """A row that is no record, or a record that a shape cannot say. ``code`` names the kind of fault."""

    def __init__(self, message: str, code: str = "row") -> None:
        super().__init__(message)
        self.message, self.code = message, code


@dataclass(frozen=True, slots=True)
class Record:
    """A conversation (``messages``; what is learnt are its assistant turns) or a plain ``text``.

    ``rejected`` is the worse answer of a preference pair, whose better one is the last assistant turn. ``shape``
    names the form it was read in; ``tools`` are those that the conversation offers; ``extra`` holds the row's other
    columns, and what it takes to write the row back as it was. ``source`` says where it comes from (file, line,
    document, conversation)."""

    id: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    rejected: str | None = None
    shape: str = "messages"
    tools: tuple[ToolSpec, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """The last assistant turn, or empty."""
        last = self.messages[-1] if self.messages else None
        return last.content if last is not None and last.role == "assistant" else ""

    @property
    def question(self) -> str:
        """Everything but the last answer, as one text."""
        ends = self.messages[:-1] if self.answer else self.messages
        return "\n".join(message.content for message in ends)

    @property
    def whole(self) -> str:
        """All of its text."""
        if not self.messages:
            return self.text
        return "\n".join(message.content for message in self.messages)

    @property
    def spoken(self) -> tuple[object, ...]:
        """What its words are, whatever else its row holds."""
        return self.messages, self.text, self.rejected, self.tools

    @property
    def content(self) -> str:
        """Hash of what is learnt from it, whoever said it where."""
        said = [encode(self.messages), self.text, self.rejected]
        return digest([*said, encode(self.tools)] if self.tools else said)

    def with_texts(self, texts: tuple[str, ...]) -> Record:
        """The same with other words: one text a message, or the one text (masking)."""
        if not self.messages:
            return replace(self, text=texts[0])
        changed = tuple(replace(m, content=text) for m, text in zip(self.messages, texts, strict=True))
        return replace(self, messages=changed)
