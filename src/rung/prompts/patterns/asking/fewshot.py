"""Few-shot rungs: demonstrations from train, how many and how long the prompt decided on dev."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Progress, Task
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt


@dataclass(frozen=True)
class FewShot:
    """Demonstrations chosen by ``select``; k is the one of ``ks`` that does best on (at most ``dev``) dev examples.

    The smallest k wins a tie: fewer tokens for the same quality. ``embedder`` names the vectors of knn and mmr; empty
    means TF-IDF over the training pool. ``exclude`` > 0 shows no near-duplicate of the input (see Selector): for splits
    that were not made by this program. ``notes`` keeps the labels' explanations in the prompt beside the
    demonstrations.
    """

    traits: ClassVar[Traits] = Traits()
    select: Kind = "knn"
    ks: tuple[int, ...] = (2, 5)
    dev: int = 48
    embedder: str = ""
    diversity: float = 0.3
    notes: bool = True
    exclude: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.exclude <= 1:
            raise ValueError(f"exclude is {self.exclude}, expected 0 to 1")
        if not self.ks or any(type(k) is not int or k < 0 for k in self.ks):
            raise ValueError(f"ks is {list(self.ks)}, expected numbers of demonstrations such as [2, 5]")

    @property
    def optional(self) -> bool:
        """Three ways of choosing are climbed unasked; coverage only where it is named."""
        return self.select == "coverage"

    def obstacle(self, task: Task, resources: Resources) -> str:
        return "" if task.train else "there are no training examples to show"

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        model = context.resources.model()
        embedder = context.resources.embedder(self.embedder) if self.embedder else None
        prompt = Prompt.of(task if self.notes else replace(task, label_notes={}))
        widest = Selector(
            self.select,
            max(self.ks),
            task.train,
            embedder=embedder,
            seed=context.seed,
            diversity=self.diversity,
            exclude=self.exclude,
        )
        programs = [
            PromptProgram(prompt, model, Options.of(task), widest.with_k(k))
            for k in sorted({min(k, len(task.train)) for k in self.ks})
        ]
        dev = task.dev[: self.dev]
        if len(programs) == 1 or not dev:
            return programs[0]
        quality = []
        for done, program in enumerate(programs):
            results = await context.evaluate(program, dev)
            quality.append(float(np.mean([result.scores[task.metrics[0]].value for result in results])))
            k = program.selector.k if program.selector else 0
            context.progress(Progress("choose k", done + 1, len(programs), f"k={k} dev {quality[-1]:.3f}"))
        return programs[int(np.argmax(quality))]


RANDOM = FewShot(select="random")
KNN = FewShot(select="knn")
MMR = FewShot(select="mmr")
COVERAGE = FewShot(select="coverage")
