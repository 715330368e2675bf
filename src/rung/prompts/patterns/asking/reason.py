"""Rungs that reason before they answer: chain of thought and self-consistency."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Task
from rung.prompts.program import Options, PromptProgram, Reasoning
from rung.prompts.template.prompt import Prompt


@dataclass(frozen=True)
class ReasonRung:
    """Reason for up to ``max_tokens`` tokens, then answer; ``votes`` > 1 samples chains and takes the majority."""

    traits: ClassVar[Traits] = Traits()
    votes: int = 1
    max_tokens: int = 64
    temperature: float = 0.7

    def obstacle(self, task: Task, resources: Resources) -> str:
        if self.votes > 1 and task.form.kind == "text":
            return "free text has no majority to vote for"
        return ""

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        reasoning = Reasoning(votes=self.votes, max_tokens=self.max_tokens, temperature=self.temperature)
        options = replace(Options.of(task), reasoning=reasoning)
        return PromptProgram(Prompt.of(task), context.resources.model(), options)


CHAIN_OF_THOUGHT = ReasonRung()
SELF_CONSISTENCY = ReasonRung(votes=5)
