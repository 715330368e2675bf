"""A prompt and its typed parts; ``render`` makes the exact messages that are sent, scored, exported and served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rung.core.errors import InputError
from rung.core.types import Example, Form, Input, Message, Task, text_of

Part = Literal["persona", "audience", "instruction", "context", "constraints", "format"]
PARTS: tuple[Part, ...] = ("persona", "audience", "instruction", "context", "constraints", "format")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The parts of a prompt. Empty parts are left out; examples and the input come when it is rendered."""

    instruction: str = ""
    persona: str = ""
    audience: str = ""
    context: str = ""
    constraints: tuple[str, ...] = ()
    format: str = ""

    @classmethod
    def of(cls, task: Task) -> Prompt:
        """The plain prompt of a task: its instruction and what an answer must look like."""
        return cls(instruction=task.instruction, format=describe(task.form, task))

    def drop(self, *parts: str) -> Prompt:
        """The same prompt without ``parts``. Raises InputError for a part that prompts do not have."""
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise InputError(f"a prompt has no part {', '.join(unknown)}", remedy=f"parts: {', '.join(PARTS)}")
        changes: dict[str, Any] = {part: () if part == "constraints" else "" for part in parts}
        return replace(self, **changes)

    @property
    def system(self) -> str:
        """The system message: every part that is there, a paragraph each."""
        paragraphs = [
            f"You are {self.persona.strip().rstrip('.')}." if self.persona else "",
            f"Write for {self.audience.strip().rstrip('.')}." if self.audience else "",
            self.instruction.strip(),
            self.context.strip(),
            "Rules:\n" + "\n".join(f"- {rule.strip()}" for rule in self.constraints) if self.constraints else "",
            self.format.strip(),
        ]
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)

    def render(self, input: Input | str, examples: Sequence[Example] = ()) -> tuple[Message, ...]:
        """System message, each example as a user and an assistant turn, then the input as the last user turn."""
        messages = [Message("system", self.system)] if self.system else []
        for example in examples:
            messages.append(Message("user", text_of(example.input)))
            messages.append(Message("assistant", show(example.reference)))
        messages.append(Message("user", text_of(input)))
        return tuple(messages)


def show(reference: Any) -> str:
    """A reference as the text that a model would answer: JSON for structures, the first of several accepted answers."""
    if isinstance(reference, str):
        return reference
    if isinstance(reference, list | tuple) and reference and all(isinstance(item, str) for item in reference):
        return str(reference[0])
    return json.dumps(reference, ensure_ascii=False)


def describe(form: Form, task: Task | None = None) -> str:
    """What an answer must look like, as a sentence for the model."""
    if form.kind == "labels":
        notes = task.label_notes if task is not None else {}
        if notes:
            listed = "\n".join(
                f"- {label}: {notes[label]}" if label in notes else f"- {label}" for label in form.labels
            )
            return f"Answer with exactly one of these labels and nothing else:\n{listed}"
        return f"Answer with exactly one of these labels and nothing else: {', '.join(form.labels)}."
    if form.kind == "json":
        schema = json.dumps(form.schema, ensure_ascii=False, separators=(",", ":"))
        return f"Answer with one JSON object and nothing else. It must be valid under this JSON schema:\n{schema}"
    if form.kind == "number":
        return "Answer with one number and nothing else."
    if form.kind == "regex":
        return f"Answer with nothing but text that matches this regular expression: {form.pattern}"
    return ""
