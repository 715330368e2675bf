"""Few-shot improvement by search: swap shots, keep only what wins on dev.

In the spirit of DSPy's bootstrap with random search (Khattab et al. 2023, arXiv:2310.03714), but greedy and with a
test: a swap is kept when the paired test over one half of dev says that it is better, else it is reverted. At the end
the found shots must be at least as good as the first ones on the other half, which the search never saw; else all is
reverted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Example, Progress, Result, Task
from rung.metrics import load_metric
from rung.metrics.stats import paired
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Selector
from rung.prompts.template.prompt import Prompt

LOG = "swaps.jsonl"
"""The file in the fit's folder that says what was tried and what became of it."""


@dataclass(frozen=True)
class Bootstrap:
    """Few-shot whose ``k`` examples are improved by swaps that win a paired test on dev; at most ``trials`` swaps.

    ``alpha``: a swap is kept when its one-sided p is at most this. ``dev``: examples used at most, half to search on
    and half to confirm. The search costs (trials + 1) answers to each of the first half and two to each of the second.
    """

    traits: ClassVar[Traits] = Traits(optional=True)

    k: int = 4
    trials: int = 12
    alpha: float = 0.15
    dev: int = 80

    def __post_init__(self) -> None:
        if self.k < 1 or self.trials < 1 or self.dev < 2 or not 0 < self.alpha < 1:
            raise ValueError("expected k and trials of at least 1, dev of at least 2 and alpha between 0 and 1")

    def obstacle(self, task: Task, resources: Resources) -> str:
        if len(task.train) <= self.k:
            return f"{len(task.train)} training examples leave nothing to swap with {self.k} that are shown"
        return "" if len(task.dev) >= 8 else f"{len(task.dev)} dev examples are too few to tell better from worse"

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        model, prompt, options = context.resources.model(), Prompt.of(task), Options.of(task)
        metric = load_metric(task.metrics[0], context.resources)
        sign = 1 if metric.higher_is_better else -1
        half = min(self.dev, len(task.dev)) // 2
        search, confirm = task.dev[:half], task.dev[half : 2 * half]

        def program(shots: Sequence[Example]) -> PromptProgram:
            return PromptProgram(prompt, model, options, Selector.fixed(shots, seed=context.seed))

        async def score(shots: Sequence[Example], examples: Sequence[Example]) -> list[Result]:
            return await context.evaluate(program(shots), examples)

        first = list(Selector("random", self.k, task.train, seed=context.seed)(""))
        best, results = first, await score(first, search)
        rng = random.Random(context.seed)
        log: list[dict[str, object]] = []
        tried: set[tuple[str, ...]] = {_key(first)}
        kept = 0
        for trial in range(1, self.trials + 1):
            shots = swapped(best, task.train, results, metric.name, rng)
            if _key(shots) in tried:
                continue
            tried.add(_key(shots))
            found = await score(shots, search)
            d = paired(metric, [r.scores[metric.name] for r in found], [r.scores[metric.name] for r in results])
            wins = sign * d.value > 0 and d.p / 2 <= self.alpha
            out = [item.id for item in best if item not in shots]
            new = [item.id for item in shots if item not in best]
            log.append({"trial": trial, "out": out, "in": new, "difference": d.value, "p": d.p / 2, "kept": wins})
            if wins:
                best, results, kept = shots, found, kept + 1
            context.progress(
                Progress("swap", trial, self.trials, f"{kept} kept, dev {_mean(results, metric.name):.3f}")
            )
        if best is not first:
            before, after = await score(first, confirm), await score(best, confirm)
            d = paired(metric, [r.scores[metric.name] for r in after], [r.scores[metric.name] for r in before])
            holds = sign * d.value >= 0
            log.append({"confirmed": holds, "difference": d.value, "low": d.low, "high": d.high, "n": d.n})
            best = best if holds else first
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in log)
        (context.folder / LOG).write_text(text, encoding="utf-8")
        return program(best)


def _key(shots: Sequence[Example]) -> tuple[str, ...]:
    return tuple(sorted(example.id for example in shots))


def _mean(results: Sequence[Result], metric: str) -> float:
    return float(np.mean([result.scores[metric].value for result in results]))


def swapped(
    shots: Sequence[Example], pool: Sequence[Example], results: Sequence[Result], metric: str, rng: random.Random
) -> list[Example]:
    """One shot replaced, by an example of a reference that is often missed half of the time, else by any other."""
    shown = {example.id for example in shots}
    others = [example for example in pool if example.id not in shown]
    missed = [str(result.example.reference) for result in results if result.scores[metric].value < 1]
    wanted = rng.choice(missed) if missed else None
    alike = [example for example in others if str(example.reference) == wanted]
    new = rng.choice(alike if alike and rng.random() < 0.5 else others)
    changed = list(shots)
    changed[rng.randrange(len(changed))] = new
    return changed
