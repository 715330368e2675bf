"""Randomness measured: one program at several temperatures and nuclei, asked the same many times.

Repeats are answers of their own: the journal's key holds the repeat, so that none is served from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import comb

from rung.core.codec import canonical
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.protocols import Metric
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Result, Score, Task, Usage
from rung.ladder.view.numbers import exact
from rung.metrics.mean import VALUES, Mean, pass_all, pass_at
from rung.metrics.stats import interval
from rung.prompts.patterns.combine import compose
from rung.prompts.program import PromptProgram
from rung.studies.study import Lab, Study

KEYS = ("temperature", "top_p", "top_k")


def agreement(answers: Sequence[str]) -> float:
    """Share of the pairs of answers that are equal: an unbiased estimate that two more would be. Needs two answers."""
    n = len(answers)
    if n < 2:
        raise InputError(f"got {n} answers, expected at least 2", remedy="write --repeat 5")
    return sum(a == b for i, a in enumerate(answers) for b in answers[i + 1 :]) / comb(n, 2)


def distinct(answers: Sequence[str], n: int) -> float:
    """Distinct word n-grams over all n-grams of the answers (Li et al. 2016, arXiv:1510.03055); 0 where there are none.

    It falls with length and number, so compare only equal numbers of repeats.
    """
    grams = [
        tuple(words[i : i + n])
        for words in (answer.casefold().split() for answer in answers)
        for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One setting. ``quality`` is the mean over examples of the mean over repeats, its interval over examples;
    ``single`` is the spread of a run of its own: the lowest and highest repeat. ``distinct`` is by n."""

    setting: Mapping[str, float]
    quality: Interval
    single: tuple[float, float]
    agreement: Interval
    distinct: Mapping[int, float]
    pass_at: Mapping[int, Interval]
    pass_all: Mapping[int, Interval]
    failures: int
    usage: Usage

    @property
    def title(self) -> str:
        return " ".join(f"{key}={value:g}" for key, value in self.setting.items())


@dataclass(frozen=True, slots=True)
class SweepResult:
    metric: str
    n: int
    repeats: int
    points: tuple[SweepPoint, ...]


def read_grid(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """``temperature=0.1,0.8 top_p=0.9`` as values by key. Raises InputError for an unknown key or a value out of
    range."""
    grid: dict[str, tuple[float, ...]] = {}
    for text in texts:
        key, equals, rest = text.partition("=")
        key = key.strip().replace("-", "_")
        if key not in KEYS or not equals or key in grid:
            raise InputError(
                f"got {text!r}, expected each of {', '.join(KEYS)} once, with values",
                remedy="write temperature=0.1,0.8",
            )
        try:
            values = tuple(dict.fromkeys(float(value) for value in rest.split(",")))
        except ValueError:
            raise InputError(f"{text!r}: expected numbers with commas between", remedy=f"write {key}=0.1,0.8") from None
        low, high = {"temperature": (0.0, 10.0), "top_p": (1e-9, 1.0), "top_k": (0.0, 1e6)}[key]
        wrong = next((value for value in values if not low <= value <= high or (key == "top_k" and value % 1)), None)
        if wrong is not None:
            raise InputError(f"{key}={wrong:g} is out of range", remedy=f"expected {low:g} to {high:g}")
        grid[key] = values
    return grid


@dataclass(frozen=True)
class Sweep(Study[Task, SweepResult]):
    """Ask the same at several settings and print accuracy, agreement, diversity, pass@k and pass^k."""

    name = "sweep"
    subject = "task"
    records = SweepResult

    grid: tuple[str, ...] = argument("temperature=0.1,0.8 top_p=0.9,1 top_k=0,40", "KEY=A,B...")
    repeat: int = option(5, "Answers to each example at each setting.", low=2)
    parts: str = option("none", "Patterns of the prompt: persona+few-shot.", metavar="A+B")
    limit: int = option(20, "At most this many examples of dev.", low=1)

    async def measure(self, subject: Task, lab: Lab) -> SweepResult:
        """Answer examples of dev ``repeat`` times at each setting of the grid.

        An answer is right where its first metric's value is 1; quality is the mean of that metric's values. Raises
        InputError for fewer than two repeats, an empty grid or no examples, a metric that is no mean, or parts that are
        no prompt.
        """
        grid, examples = read_grid(self.grid), subject.dev[: self.limit]
        program = compose(subject, self.parts, lab.resources)
        if not isinstance(program, PromptProgram):
            raise InputError(
                f"{self.parts} is more than one prompt", remedy="sweep parts of one prompt, such as persona+cot"
            )
        metrics = lab.metrics(subject)
        primary = next((metric for metric in metrics if isinstance(metric, Mean)), None)
        if primary is None:
            raise InputError(
                "none of the task's metrics is a mean of items' values", remedy="add accuracy or exact to the task"
            )
        if self.repeat < 2 or not grid or not examples:
            raise InputError(
                f"got {self.repeat} repeats, {len(grid)} keys and {len(examples)} examples, expected 2, 1 and 1 or more",
                remedy="write temperature=0.1,0.8 --repeat 5",
            )
        points, evaluator = [], lab.evaluator(metrics)
        combos = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        for done, setting in enumerate(combos):
            runs, at = [], varied(program, setting)
            for repeat in range(self.repeat):
                runs.append(await evaluator(at, examples, repeat=repeat))
                note = " ".join(f"{key}={value:g}" for key, value in setting.items())
                lab.progress(Progress("sweep", done * self.repeat + repeat + 1, len(combos) * self.repeat, note))
            points.append(_point(setting, runs, primary))
        return SweepResult(primary.name, len(examples), self.repeat, tuple(points))

    def table(self, found: SweepResult) -> str:
        ks = sorted(found.points[0].pass_at)
        titles = ["setting", found.metric, "one run", "agree", "distinct-1", "distinct-2"]
        rows = [[*titles, *(f"pass@{k}" for k in ks), *(f"pass^{k}" for k in ks)]]
        rows += [
            [
                point.title + (f" ({point.failures} failed)" if point.failures else ""),
                exact(point.quality),
                f"{point.single[0]:.3f}-{point.single[1]:.3f}",
                f"{point.agreement.value:.3f}",
                *(f"{point.distinct[n]:.3f}" for n in (1, 2)),
                *(f"{point.pass_at[k].value:.3f}" for k in ks),
                *(f"{point.pass_all[k].value:.3f}" for k in ks),
            ]
            for point in found.points
        ]
        return f"{found.n} examples, {found.repeats} repeats each\n\n" + align(rows)


def varied(program: PromptProgram, setting: Mapping[str, float]) -> PromptProgram:
    """The program with the setting in its sampling, of its answer and of its votes' reasoning (a single chain of
    thought is always greedy: only the answer after it varies)."""
    options = program.options
    sampling = replace(
        options.sampling,
        temperature=setting.get("temperature", options.sampling.temperature),
        top_p=setting.get("top_p", options.sampling.top_p),
        top_k=int(setting.get("top_k", options.sampling.top_k)),
    )
    reasoning = options.reasoning
    if reasoning is not None:
        reasoning = replace(
            reasoning,
            temperature=setting.get("temperature", reasoning.temperature),
            top_p=setting.get("top_p", reasoning.top_p),
        )
    changed = replace(options, sampling=sampling, reasoning=reasoning)
    return PromptProgram(program.prompt, program.model, changed, program.selector, program.weights)


def _point(setting: Mapping[str, float], runs: Sequence[Sequence[Result]], metric: Metric) -> SweepPoint:
    rows = list(zip(*runs, strict=True))  # rows[i][r]: example i, repeat r
    repeats = len(runs)
    values = [[result.scores[metric.name].value for result in row] for row in rows]
    right = [sum(value == 1 for value in row) for row in values]
    answers = [
        # A failure agrees with nothing, not even with another failure.
        [f"failed {i}" if r.answer.failure is not None else canonical(r.answer.output) for i, r in enumerate(row)]
        for row in rows
    ]
    texts = [[r.answer.raw or "" for r in row] for row in rows]
    each = [sum(column) / len(rows) for column in zip(*values, strict=True)]
    ks = sorted({k for k in (1, 2, 3, 5, 10) if k <= repeats} | {repeats})
    return SweepPoint(
        dict(setting),
        _mean([sum(row) / repeats for row in values]),
        (min(each), max(each)),
        _mean([agreement(row) for row in answers]),
        {n: sum(distinct(row, n) for row in texts) / len(texts) for n in (1, 2)},
        {k: _mean([pass_at(repeats, c, k) for c in right]) for k in ks},
        {k: _mean([pass_all(repeats, c, k) for c in right]) for k in ks},
        sum(result.answer.failure is not None for row in rows for result in row),
        sum((result.answer.usage for row in rows for result in row), Usage()),
    )


def _mean(values: Sequence[float]) -> Interval:
    return interval(VALUES, [Score(value) for value in values])
