"""A prompt and its typed parts; ``render`` makes the exact messages that are sent, scored, exported and served."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

from rung.core.errors import InputError
from rung.core.types import Example, Input, Message, ResponseFormat, Task
from rung.prompts.template.render import Rendering, Sections, Style, fence, style_of
from rung.prompts.template.render import show as show

Part = Literal["persona", "audience", "instruction", "context", "examples", "constraints", "format"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Shot:
    """An example that belongs to a prompt: the fields of its input, in order, and the answer as text."""

    input: tuple[tuple[str, str], ...]
    output: str

    @classmethod
    def of(cls, example: Example) -> Shot:
        return cls(tuple(example.input.items()), show(example.reference))


@dataclass(frozen=True, slots=True)
class Prompt:
    """The parts of a prompt. Empty parts are left out; the input (and chosen examples) come when it is rendered.

    ``instruction``, ``persona``, ``audience``, ``constraints`` and ``format`` are the author's words; ``context`` and
    ``examples`` are data and are delimited and escaped as the ``style`` has it.
    """

    instruction: str = ""
    persona: str = ""
    audience: str = ""
    context: str = ""
    constraints: tuple[str, ...] = ()
    format: str = ""
    examples: tuple[Shot, ...] = ()
    style: Style = "chat"

    @classmethod
    def of(cls, task: Task) -> Prompt:
        """The plain prompt of a task: its instruction and what an answer must look like."""
        return cls(instruction=task.instruction, format=describe(task.form, task))

    @classmethod
    def whole(cls, task: Task) -> Prompt:
        """Every part that a task file has words for."""
        return replace(cls.of(task), constraints=task.constraints, persona=task.persona)

    def drop(self, *parts: str) -> Prompt:
        """The same prompt without ``parts``. Raises InputError for a part that prompts do not have."""
        changes: dict[str, Any] = {part: _EMPTY[part] for part in check_parts(parts)}
        return replace(self, **changes)

    def replace(self, part: str, value: Any) -> Prompt:
        """The same prompt with another ``part``: a text; several for the constraints; Examples for the examples.

        Raises InputError for a part that prompts do not have, or a value that does not fit it.
        """
        check_parts((part,))
        if part == "examples":
            shots = [item if isinstance(item, Shot) else _shot(item) for item in value]
            return replace(self, examples=tuple(shots))
        if part == "constraints":
            rules = (value,) if isinstance(value, str) else tuple(value)
            if not all(isinstance(rule, str) for rule in rules):
                raise InputError("constraints are texts", remedy='for example replace("constraints", ["Be brief."])')
            return replace(self, constraints=rules)
        if not isinstance(value, str):
            raise InputError(f"the {part} is {type(value).__name__}, expected a text", remedy="give one text")
        changes: dict[str, Any] = {part: value}
        return replace(self, **changes)

    def inherit(self, root: Prompt) -> Prompt:
        """This prompt over a root: parts that are empty here are the root's."""
        changes: dict[str, Any] = {part: getattr(root, part) for part in PARTS if not getattr(self, part)}
        return replace(self, **changes)

    def styled(self, style: str) -> Prompt:
        """The same parts in another rendering. Raises InputError for a style that there is not."""
        return replace(self, style=style_of(style))

    @property
    def system(self) -> str:
        """The system message: every part that is there, a paragraph each."""
        paragraphs = [
            self._persona(),
            self._audience(),
            self.instruction.strip(),
            f"Context:\n{fence(self.context.strip())}" if self.context.strip() else "",
            "Rules:\n" + "\n".join(f"- {rule.strip()}" for rule in self.constraints) if self.constraints else "",
            self.format.strip(),
        ]
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)

    def _persona(self) -> str:
        """A noun phrase goes behind "You are"; a persona that is written as sentences to "you" stays as it is."""
        said = self.persona.strip().rstrip(".")
        if not said:
            return ""
        return f"{said}." if said.casefold().startswith("you ") else f"You are {said}."

    def _audience(self) -> str:
        return f"Write for {self.audience.strip().rstrip('.')}." if self.audience else ""

    def render(self, input: Input | str, examples: Sequence[Example] = ()) -> tuple[Message, ...]:
        """The messages for ``input``: in chat, the system message, each example as a user and an assistant turn (the
        prompt's own first), then the input as the last user turn; in the other styles one user message."""
        return compiled(self)(input, examples)


_EMPTY: dict[str, Any] = {part: () if part in ("constraints", "examples") else "" for part in PARTS}


def check_parts(parts: Sequence[str]) -> Sequence[str]:
    """``parts`` as given. Raises InputError for one that prompts do not have."""
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise InputError(f"a prompt has no part {', '.join(unknown)}", remedy=f"parts: {', '.join(PARTS)}")
    return parts


def _shot(item: Any) -> Shot:
    if not isinstance(item, Example):
        raise InputError(f"an example is {type(item).__name__}, expected an Example", remedy="give rung's Examples")
    return Shot.of(item)


@lru_cache(maxsize=256)
def compiled(prompt: Prompt) -> Rendering:
    """The prompt as (literal, slot) pairs, made once."""
    sections = Sections(
        prompt._persona(),
        prompt._audience(),
        prompt.instruction.strip(),
        prompt.context.strip(),
        tuple(rule.strip() for rule in prompt.constraints),
        prompt.format.strip(),
        tuple((shot.input, shot.output) for shot in prompt.examples),
    )
    return Rendering(sections, prompt.style, prompt.system)


def describe(form: ResponseFormat, task: Task | None = None) -> str:
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
