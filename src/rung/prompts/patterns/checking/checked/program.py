"""The program that answers under checkable instructions, and its rung."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.types import Answer, Input, Message, ResponseFormat, Task, as_input
from rung.metrics.rules.instructions import CheckableInstruction, parse_instruction, read_instructions
from rung.prompts.answer import ask, conclude
from rung.prompts.patterns.checking.checked.form import CompiledForm, compile_form
from rung.prompts.program import Options
from rung.prompts.template.prompt import Prompt


@dataclass(eq=False)
class CheckedProgram(Storable):
    """Answers under instructions that a program can check: those of the input's field ``field`` (JSON; it is not shown
    to the model) and ``rules``, which hold for every input. ``grammar``: compile what can be compiled into the answer's
    form; ``keywords``: words that must be in it too."""

    kind: ClassVar[str] = "checked"

    model: Model
    _: KW_ONLY
    prompt: Prompt = Prompt()
    options: Options = Options()
    field: str = ""
    rules: tuple[CheckableInstruction, ...] = ()
    grammar: bool = True
    keywords: bool = False

    def compiled(self, input: Input | str) -> CompiledForm:
        """The form that the answer to ``input`` gets. Raises InputError for instructions that cannot be read."""
        value = as_input(input, self.options.fields)
        said = value.get(self.field, "") if self.field else ""
        instructions = (*(read_instructions(said) if said.strip() else ()), *self.rules)
        return compile_form(instructions, self.options.sampling.max_tokens, keywords=self.keywords)

    def messages(self, input: Input | str) -> tuple[Message, ...]:
        """The exact messages that are sent for ``input``."""
        value = as_input(input, self.options.fields)
        return self.prompt.render({name: text for name, text in value.items() if name != self.field})

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        form = self.compiled(input).form if self.grammar else ResponseFormat()
        sampling = replace(self.options.sampling, seed=(self.options.sampling.seed or 0) + repeat)
        return conclude([await ask(self.model, self.messages(input), form, sampling, repeat=repeat)])


@dataclass(frozen=True)
class CheckedRung:
    """Instructions that a program can check (IFEval's kinds) compiled into the form of the answer.

    ``field`` names the field of the input that holds them as JSON; it is not shown to the model. ``rules`` hold for
    every
    input: ``no_comma``, ``number_bullet_lists num_bullets=3``. ``grammar: false`` asks the same without the form,
    ``keywords: true`` also writes a sentence around each word that must come.
    """

    traits: ClassVar[Traits] = Traits(optional=True)

    field: str = "instructions"
    rules: tuple[str, ...] = ()
    grammar: bool = True
    keywords: bool = False

    def __post_init__(self) -> None:
        for rule in self.rules:
            parse_instruction(rule)

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.kind != "text":
            return f"the answer has a form of its own already ({task.form.kind})"
        if self.field not in task.fields and not self.rules:
            return f"the input has no field {self.field!r} with instructions, and there are no rules:"
        if task.fields == (self.field,):
            return f"the input has nothing but {self.field!r}"
        return ""

    async def fit(self, task: Task, context: Context) -> CheckedProgram:
        return CheckedProgram(
            context.resources.model(),
            prompt=Prompt.of(task),
            options=Options.of(task),
            field=self.field if self.field in task.fields else "",
            rules=tuple(parse_instruction(rule) for rule in self.rules),
            grammar=self.grammar,
            keywords=self.keywords,
        )
