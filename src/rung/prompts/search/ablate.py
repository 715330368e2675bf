"""What each part of a prompt is worth: the whole prompt against the prompt without that part, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.core.errors import InputError
from rung.core.protocols import Context
from rung.core.types import Example, Progress, Result, Score, Task
from rung.metrics import load_metric
from rung.metrics.stats import Difference, holm, interval, paired
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Selector
from rung.prompts.template.prompt import PARTS, Part, Prompt


@dataclass(frozen=True, slots=True)
class Removal:
    """One part taken out: the metric without it, the difference it makes (whole minus without; p corrected over the
    parts by Holm), and the tokens an answer that it costs."""

    part: Part
    value: float
    difference: Difference
    tokens: float


@dataclass(frozen=True, slots=True)
class Ablation:
    """The whole prompt's value with its interval's ends, on ``n`` examples, and what each part adds to it."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    tokens: float
    removals: tuple[Removal, ...]


def whole_prompt(task: Task, *, shots: int = 4, seed: int = 0, style: str = "chat") -> Prompt:
    """Every part the task has words for, and ``shots`` balanced training examples."""
    drawn = Selector("random", shots, task.train, seed=seed)({}) if shots and task.train else ()
    return Prompt.whole(task).replace("examples", drawn).styled(style)


def present(prompt: Prompt) -> tuple[Part, ...]:
    return tuple(part for part in PARTS if getattr(prompt, part))


async def ablate(
    task: Task, prompt: Prompt, context: Context, examples: Sequence[Example], parts: Sequence[str] = ()
) -> Ablation:
    """Answer ``examples`` (of dev) with the whole prompt and with each of ``parts`` (all that are there) left out.

    Raises InputError for a part that the prompt does not have, or when there are no examples.
    """
    there = present(prompt)
    if absent := [part for part in parts if part not in there]:
        raise InputError(f"the prompt has no {', '.join(absent)} to leave out", remedy=f"it has: {', '.join(there)}")
    if not examples:
        raise InputError(f"{task.name} has no dev examples", remedy="give the task a dev split")
    model, options = context.resources.model(), Options.of(task)
    metric = load_metric(task.metrics[0], context.resources)

    async def scores(words: Prompt) -> tuple[list[Score], float]:
        results: list[Result] = await context.evaluate(PromptProgram(words, model, options), examples)
        tokens = sum(result.answer.usage.tokens for result in results) / len(results)
        return [result.scores[metric.name] for result in results], tokens

    chosen = [part for part in there if not parts or part in parts]
    base, cost = await scores(prompt)
    context.progress(Progress("whole", 1, len(chosen) + 1))
    removals = []
    for at, part in enumerate(chosen):
        without, tokens = await scores(prompt.drop(part))
        value = float(metric.reduce(without)[0])
        removals.append(Removal(part, value, paired(metric, base, without), cost - tokens))
        context.progress(Progress(f"without {part}", at + 2, len(chosen) + 1, f"{metric.name} {value:.3f}"))
    corrected = holm([removal.difference.p for removal in removals])
    removals = [
        replace(removal, difference=replace(removal.difference, p=p))
        for removal, p in zip(removals, corrected, strict=True)
    ]
    estimate = interval(metric, base)
    return Ablation(metric.name, estimate.value, estimate.low, estimate.high, len(examples), cost, tuple(removals))
