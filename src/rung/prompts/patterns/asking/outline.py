"""Output templates: ``[Introduction][Summary][Conclusion]`` becomes a form that the model cannot leave.

A text under a template is each section's name in square brackets on a line of its own, then what it says. Under
constrained decoding every reply has all sections, in order, none empty and none too long.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.text.reply import read_reply
from rung.core.types import Answer, Failure, Input, Message, ResponseFormat, Sampling, Task, as_input
from rung.prompts.answer import ask, conclude
from rung.prompts.program import Options
from rung.prompts.template.prompt import Prompt

_FIRST = "[A-Za-z0-9\u00c0-\u1fff\u2c00-\uffff]"
_NUMBER = r"-?[0-9]{1,15}(\.[0-9]{1,10})?"


@dataclass(frozen=True, slots=True)
class Outline:
    """The sections of a text in order, a paragraph each of at most ``width`` characters. ``last``: the form of the last
    section where it is not free text (labels, number or regex)."""

    sections: tuple[str, ...]
    width: int = 300
    last: ResponseFormat = ResponseFormat()

    def __post_init__(self) -> None:
        names = [name.casefold() for name in self.sections]
        wrong = next((name for name in self.sections if not re.fullmatch(r"[^\[\]\n]*\w[^\[\]\n]*", name)), None)
        if not self.sections or wrong is not None or len(set(names)) != len(names):
            what = f"{wrong!r} cannot name a section" if wrong is not None else "no sections, or two of one name"
            raise InputError(f"{what}", remedy="write an output template such as [Introduction][Summary][Conclusion]")
        if self.width < 1:
            raise InputError(f"got a width of {self.width} characters, expected at least 1", remedy="write width: 300")
        if self.last.kind in ("json", "grammar"):
            raise InputError(
                f"a section cannot hold an answer of the form {self.last.kind}",
                remedy="use labels, number, regex or text",
            )

    @classmethod
    def parse(cls, text: str, *, width: int = 300) -> Outline:
        """Read ``[Introduction][Summary]``; commas, spaces and line breaks between the brackets are allowed.

        Raises InputError when anything else stands there.
        """
        rest = re.sub(r"\[[^\[\]]*\]", "", text)
        if re.search(r"[^\s,;]", rest):
            raise InputError(
                f"{rest.strip()[:40]!r} stands outside of the brackets of an output template",
                remedy="write each section in brackets: [Introduction][Summary]",
            )
        return cls(tuple(name.strip() for name in re.findall(r"\[([^\[\]]*)\]", text)), width)

    @property
    def form(self) -> ResponseFormat:
        """The closed form of a text under this template: a regular expression."""
        # It begins with a word: a small model leaves the first section it can at "...".
        free = rf"{_FIRST}[^\[\]\n]{{0,{self.width - 1}}}"
        kinds = {
            "text": free,
            "number": _NUMBER,
            "labels": "|".join(re.escape(label) for label in self.last.labels),
            "regex": self.last.pattern,
        }
        parts = [
            rf"\[{re.escape(name)}\]\n({free if name != self.sections[-1] else kinds[self.last.kind]})"
            for name in self.sections
        ]
        return ResponseFormat("regex", pattern=r"\n\n".join(parts))

    @property
    def tokens(self) -> int:
        """New tokens that no text can exceed, so that none is cut: a character has at most four bytes, a token at least
        one."""
        widest = max([self.width, *map(len, self.last.labels)])
        return 4 * sum(len(name) + 6 + widest for name in self.sections)

    def instruct(self) -> str:
        """What the model is told."""
        listed = "\n".join(f"[{name}]" for name in self.sections)
        return (
            "Write your answer under these headings, each on a line of its own, a few sentences under each, and nothing "
            f"else:\n{listed}"
        )

    def read(self, text: str) -> tuple[dict[str, str], str]:
        """(section -> what it says, "") or ({}, what is wrong with the text)."""
        found = re.findall(r"^\[([^\[\]\n]+)\][ \t]*\n?(.*?)(?=^\[[^\[\]\n]+\]|\Z)", text, re.DOTALL | re.MULTILINE)
        names = [name for name, _ in found]
        if names != list(self.sections):
            missing = [name for name in self.sections if name not in names]
            what = f"no section {missing[0]!r}" if missing else f"the sections are {', '.join(names)}"
            return {}, f"expected {', '.join(self.sections)}: {what}"
        bodies = {name: body.strip() for name, body in found}
        empty = [name for name, body in bodies.items() if not body]
        if empty:
            return {}, f"section {empty[0]!r} is empty"
        if text[: text.find("[")].strip():
            return {}, "text stands before the first section"
        return bodies, ""


@dataclass(eq=False)
class OutlineProgram(Storable):
    """Answers under an output template. ``pick`` names the section that is the output; empty: all of them, by name."""

    kind: ClassVar[str] = "outline"

    outline: Outline
    model: Model
    _: KW_ONLY
    prompt: Prompt = Prompt()
    options: Options = Options()
    pick: str = ""

    def __post_init__(self) -> None:
        if self.pick and self.pick not in self.outline.sections:
            raise InputError(
                f"the output template has no section {self.pick!r}",
                remedy=f"sections: {', '.join(self.outline.sections)}",
            )

    def messages(self, input: Input | str) -> tuple[Message, ...]:
        """The exact messages that are sent for ``input``."""
        wanted = "\n\n".join(part for part in (self.outline.instruct(), self.prompt.format) if part)
        return replace(self.prompt, format=wanted).render(as_input(input, self.options.fields))

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        sampling: Sampling = self.options.sampling
        sampling = replace(sampling, max_tokens=self.outline.tokens, seed=(sampling.seed or 0) + repeat)
        form = self.outline.form if "regex" in self.model.capabilities.forms else ResponseFormat()
        asked = await ask(self.model, self.messages(input), form, sampling, repeat=repeat)
        answer = conclude([asked])
        if answer.failure is not None:
            return answer
        sections, complaint = self.outline.read(answer.output)
        if complaint:
            return replace(answer, output=None, failure=Failure("parse", complaint))
        if not self.pick:
            return replace(answer, output=sections)
        picked = self.outline.last if self.pick == self.outline.sections[-1] else ResponseFormat()
        output, complaint = read_reply(picked, sections[self.pick])
        return replace(answer, output=output, failure=Failure("parse", complaint) if complaint else None)


@dataclass(frozen=True)
class OutputTemplate:
    """The answer under headings that the decoder enforces; the last section is what is scored."""

    traits: ClassVar[Traits] = Traits(optional=True)

    sections: tuple[str, ...] = ("Reasoning", "Answer")
    width: int = 200

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.kind in ("json", "grammar"):
            return f"the answer's own form ({task.form.kind}) cannot stand inside a section"
        return ""

    async def fit(self, task: Task, context: Context) -> OutlineProgram:
        return OutlineProgram(
            Outline(self.sections, self.width, task.form),
            context.resources.model(),
            prompt=Prompt.of(task),
            options=Options.of(task),
            pick=self.sections[-1],
        )
