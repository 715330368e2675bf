"""Rungs that write one prompt and ask once: zero-shot instruction, with constraints, with a persona, in several
renderings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Progress, Task
from rung.metrics import load_metric
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt, check_parts
from rung.prompts.template.render import STYLES, style_of


@dataclass(frozen=True)
class Direct:
    """Instruction and answer format, with the task's constraints and persona where asked for.

    ``style`` is the rendering (chat, plain, brackets, markdown, xml); ``drop`` names parts to leave out again.
    """

    traits: ClassVar[Traits] = Traits()
    constraints: bool = False
    persona: bool = False
    style: str = "chat"
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        style_of(self.style)
        check_parts(self.drop)

    def obstacle(self, task: Task, resources: Resources) -> str:
        if self.constraints and not task.constraints:
            return "the task file has no constraints:"
        if self.persona and not task.persona:
            return "the task file has no persona:"
        return ""

    def prompt(self, task: Task) -> Prompt:
        """The prompt that this rung asks the task with."""
        whole = replace(
            Prompt.of(task),
            constraints=task.constraints if self.constraints else (),
            persona=task.persona if self.persona else "",
        )
        return whole.drop(*self.drop).styled(self.style)

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        return PromptProgram(self.prompt(task), context.resources.model(), Options.of(task))


@dataclass(frozen=True)
class Rendered:
    """The task's prompt in the rendering that does best on (at most ``dev``) dev examples; fewer tokens win a tie.

    ``whole`` writes every part that the task has (persona, constraints); without it the prompt is zero-shot's.
    """

    traits: ClassVar[Traits] = Traits(optional=True)
    styles: tuple[str, ...] = STYLES
    dev: int = 48
    whole: bool = False

    def __post_init__(self) -> None:
        if not self.styles:
            raise InputError("styles is empty", remedy=f"name some of {', '.join(STYLES)}")
        for style in self.styles:
            style_of(style)

    def obstacle(self, task: Task, resources: Resources) -> str:
        return "" if task.dev else "there are no dev examples to choose a rendering on"

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        prompt = Prompt.whole(task) if self.whole else Prompt.of(task)
        model, options = context.resources.model(), Options.of(task)
        metric = load_metric(task.metrics[0], context.resources)
        sign = 1 if metric.higher_is_better else -1
        ranked: list[tuple[float, int, int]] = []
        programs = [PromptProgram(prompt.styled(style), model, options) for style in self.styles]
        for at, program in enumerate(programs):
            results = await context.evaluate(program, task.dev[: self.dev])
            value = float(metric.reduce([result.scores[metric.name] for result in results])[0])
            tokens = sum(result.answer.usage.tokens for result in results)
            ranked.append((-sign * value, tokens, at))
            note = f"{self.styles[at]} dev {value:.3f}, {tokens // max(1, len(results))} tokens"
            context.progress(Progress("choose rendering", at + 1, len(programs), note))
        return programs[min(ranked)[2]]


ZERO_SHOT = Direct()
CONSTRAINTS = Direct(constraints=True)
PERSONA = Direct(persona=True)
RENDERING = Rendered()
