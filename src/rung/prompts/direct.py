"""Rungs that write one prompt and ask once: zero-shot instruction, with constraints, with a persona."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rung.core.protocols import Context, Resources
from rung.core.types import Task
from rung.prompts.program import Options, PromptProgram
from rung.prompts.prompt import Prompt


@dataclass(frozen=True)
class Direct:
    """Instruction and answer format, with the task's constraints and persona where asked for."""

    constraints: bool = False
    persona: bool = False

    def fits(self, task: Task, resources: Resources) -> str:
        if self.constraints and not task.constraints:
            return "the task file has no constraints:"
        if self.persona and not task.persona:
            return "the task file has no persona:"
        return ""

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        prompt = replace(
            Prompt.of(task),
            constraints=task.constraints if self.constraints else (),
            persona=task.persona if self.persona else "",
        )
        return PromptProgram(prompt, context.resources.model(), Options.of(task))


ZERO_SHOT = Direct()
CONSTRAINTS = Direct(constraints=True)
PERSONA = Direct(persona=True)
