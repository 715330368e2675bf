"""A proposal, what proposals are made of, and a program's prompt taken apart and put together again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rung.core.types import Example, Input, Result, Task, text_of
from rung.prompts.program import PromptProgram
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt, Shot
from rung.prompts.template.render import show
from rung.prompts.template.template import Template, Variable


@dataclass(frozen=True, slots=True)
class Proposal:
    """A program to try, where it came from (``source``) and what is different, in a few words."""

    program: PromptProgram
    source: str
    note: str


@dataclass
class Material:
    """What proposals are made of. ``pool`` is shown as demonstrations; ``feedback`` are the parent's answers to
    training examples that are kept out of the pool; ``rivals`` are the other prompts on the front; ``metric`` names the
    score."""

    task: Task
    pool: tuple[Example, ...]
    metric: str
    seed: int = 0
    feedback: Sequence[Result] = ()
    rivals: Sequence[PromptProgram] = ()
    _selectors: dict[Kind, Selector] = field(default_factory=dict)

    def selector(self, kind: Kind, k: int) -> Selector:
        """The pool's vectors are made once for each kind."""
        if kind not in self._selectors:
            self._selectors[kind] = Selector(kind, k, self.pool, seed=self.seed)
        return self._selectors[kind].with_k(k)

    @property
    def right(self) -> list[Example]:
        return [result.example for result in self.feedback if result.scores[self.metric].value >= 1]

    @property
    def wrong(self) -> list[Result]:
        return [result for result in self.feedback if result.scores[self.metric].value < 1]


def parts_of(program: PromptProgram) -> Prompt:
    """The words of a program's prompt."""
    return program.prompt.parts if isinstance(program.prompt, Template) else program.prompt


def editable(program: PromptProgram) -> bool:
    """Whether its words can be edited part by part: a template with a body of turns has only its demonstrations."""
    return not (isinstance(program.prompt, Template) and program.prompt.body)


def style_of(program: PromptProgram) -> str:
    return (program.prompt.style or "chat") if isinstance(program.prompt, Template) else program.prompt.style


def with_parts(program: PromptProgram, parts: Prompt) -> PromptProgram:
    """The same program saying ``parts``."""
    prompt = program.prompt
    changed = _hashed(replace(prompt, parts=parts)) if isinstance(prompt, Template) else parts
    return PromptProgram(changed, program.model, program.options, program.selector, program.weights)


def with_selector(program: PromptProgram, selector: Selector | None) -> PromptProgram:
    """The same words with other demonstrations; those inside the prompt give way to the selector's."""
    if selector is not None and parts_of(program).examples and editable(program):
        program = with_parts(program, parts_of(program).drop("examples"))
    return PromptProgram(program.prompt, program.model, program.options, selector, program.weights)


def with_style(program: PromptProgram, style: str) -> PromptProgram:
    """The same parts rendered in another style."""
    prompt = program.prompt
    changed = _hashed(replace(prompt, style=style)) if isinstance(prompt, Template) else prompt.styled(style)
    return PromptProgram(changed, program.model, program.options, program.selector, program.weights)


def _hashed(template: Template) -> Template:
    return replace(template, origin=template.hash())


def short_text(text: str, longest: int) -> str:
    """One line, cut to ``longest`` characters."""
    plain = " ".join(text.split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


# ---------------------------------------------------------------- shown to people


def written(program: PromptProgram) -> str:
    """A program's prompt and demonstrations as lines that can be compared."""
    parts = parts_of(program)
    lines: list[str] = []
    for name in ("persona", "audience", "instruction", "context"):
        if text := getattr(parts, name).strip():
            lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    if parts.constraints:
        lines += ["constraints:", *(f"  - {rule}" for rule in parts.constraints)]
    if parts.format.strip():
        lines += ["format:", *(f"  {line}" for line in parts.format.splitlines())]
    if isinstance(program.prompt, Template) and program.prompt.body:
        lines += ["body:", *(f"  {line}" for line in program.prompt.body.splitlines())]
    lines.append(f"rendering: {style_of(program)}")
    shots: list[tuple[Input, str]] = [(dict(shot.input), shot.output) for shot in parts.examples]
    selector = program.selector
    if selector is not None and selector.kind != "random":
        lines.append(f"demonstrations: {selector.kind}, {selector.k} of {len(selector.pool):,} for each input")
    elif selector is not None:
        shots += [(example.input, show(example.reference)) for example in selector.shown]
    if shots:
        lines.append("demonstrations:")
        lines += [f"  - {short_text(text_of(given), 160)} → {short_text(output, 80)}" for given, output in shots]
    return "\n".join(lines) + "\n"


def template_of(program: PromptProgram, name: str) -> Template:
    """The words of a program as a template: it renders what the program sends. Demonstrations that are always the same
    are in it; those that are chosen for each input are not (``template: {prompt: FILE, k: 4, select: knn}`` adds
    them)."""
    if isinstance(program.prompt, Template):
        template = replace(program.prompt, name=name)
    else:
        said = program.prompt
        literal = replace(
            said,
            persona=_literal(said.persona),
            audience=_literal(said.audience),
            instruction=_literal(said.instruction),
            context=_literal(said.context),
            format=_literal(said.format),
            constraints=tuple(map(_literal, said.constraints)),
            style="chat",
        )
        variables = tuple(Variable(field) for field in program.options.fields)
        template = Template(name, literal, variables=variables, style=program.prompt.style)
    selector = program.selector
    if selector is not None and selector.kind == "random":
        shots = (*template.parts.examples, *map(Shot.of, selector.shown))
        template = replace(template, parts=replace(template.parts, examples=shots))
    return template


def _literal(text: str) -> str:
    """The text as Jinja2 that renders to it."""
    return f"{{% raw %}}{text}{{% endraw %}}" if re.search(r"\{[{%#]", text) else text
