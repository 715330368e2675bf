"""Patterns put together by their names, in any order: ``persona+few-shot+cot``; and what each of them contributes.

A combination is one PromptProgram wherever its parts are parts of one prompt; ``react`` and ``output-template`` replace
it; ``refine`` and ``verify`` go around it, the question first and the answer last, whatever the order they are named
in. A factorial run asks all 2^k combinations of k factors and prints each one's main effect (Fisher 1935).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import ClassVar, Literal, cast, get_args

from rung.core.errors import InputError
from rung.core.protocols import Context, Metric, Program, Resources, Traits
from rung.core.types import Example, Interval, Progress, Result, Score, Task, Usage
from rung.metrics import load_metric
from rung.metrics.mean import Mean
from rung.metrics.stats import Difference, holm, interval, paired
from rung.prompts.patterns.asking.outline import Outline, OutlineProgram
from rung.prompts.patterns.checking.refine import Refine, RefinedProgram
from rung.prompts.patterns.checking.verify import Verify
from rung.prompts.patterns.lookup.react import React, ReactProgram
from rung.prompts.program import Options, PromptProgram, Reasoning
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt

Name = Literal[
    "persona", "audience", "constraints", "context", "few-shot", "chain-of-thought", "self-consistency",
    "output-template", "react", "question-refinement", "cognitive-verifier",
]  # fmt: skip
NAMES: tuple[Name, ...] = get_args(Name)
ALIASES: dict[str, Name] = {
    "cot": "chain-of-thought",
    "reason": "chain-of-thought",
    "votes": "self-consistency",
    "fewshot": "few-shot",
    "examples": "few-shot",
    "shots": "few-shot",
    "template": "output-template",
    "refine": "question-refinement",
    "verify": "cognitive-verifier",
}
VALUED: dict[Name, str] = {
    "persona": "a teacher of physics",
    "audience": "a high-school student",
    "context": "The shop sells tents.",
    "few-shot": "5 or knn",
    "self-consistency": "5",
    "output-template": "[Reasoning][Answer]",
}
_CORES = ("react", "output-template")
_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class PatternPart:
    """One part of a combination: its name and, for some, what it says (``audience=a child``, ``few-shot=5``)."""

    name: Name
    value: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.value else self.name


def read(text: str) -> tuple[PatternPart, ...]:
    """The parts of ``persona+few-shot=3+cot``, each once, in one order however they are written. ``none`` has no parts.

    Raises InputError for an unknown part, one named twice, or two that exclude each other.
    """
    if text.strip() in ("", "none"):
        return ()
    pieces = []
    for part in text.split("+"):
        given, _, value = part.strip().partition("=")
        name = cast(Name, ALIASES.get(given, given))
        if name not in NAMES:
            near = difflib.get_close_matches(given, [*NAMES, *ALIASES], n=2)
            raise InputError(
                f"there is no part {given!r} to combine",
                remedy=f"did you mean {' or '.join(near)}?" if near else f"parts: {', '.join(NAMES)}",
            )
        if value and name not in VALUED:
            raise InputError(f"{name} takes no value, got {value!r}", remedy=f"write {name}")
        pieces.append(PatternPart(name, value.strip()))
    names = [piece.name for piece in pieces]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name} is named twice in {text!r}", remedy="name each part once")
    for group in (("react", "output-template"), ("chain-of-thought", "self-consistency", "react", "output-template")):
        both = [name for name in names if name in group]
        if len(both) > 1:
            raise InputError(f"{' and '.join(both)} both decide how the answer is asked for", remedy="name one of them")
    return tuple(sorted(pieces, key=lambda piece: NAMES.index(piece.name)))


def unfit(task: Task, pieces: Sequence[PatternPart], resources: Resources) -> str:
    """Empty when the task has what the parts need, else the reason why not."""
    for piece in pieces:
        match piece.name:
            case "persona" if not (piece.value or task.persona):
                return "the task file has no persona: (or write persona=...)"
            case "constraints" if not task.constraints:
                return "the task file has no constraints:"
            case "audience" | "context" if not piece.value:
                return f"{piece.name} needs a value: {piece.name}={VALUED[piece.name]}"
            case "few-shot" if not task.train:
                return "there are no training examples to show"
            case "self-consistency" if task.form.kind == "text":
                return "free text has no majority to vote for"
            case "output-template" if task.form.kind in ("json", "grammar"):
                return f"the answer's own form ({task.form.kind}) cannot stand inside a section"
            case "react" if why := React().obstacle(task, resources):
                return why
            case "question-refinement" if why := Refine().obstacle(task, resources):
                return why
            case "cognitive-verifier" if why := Verify().obstacle(task, resources):
                return why
    names = {piece.name for piece in pieces}
    if "few-shot" in names and names & set(_CORES):
        return f"few-shot has no examples in the form that {' and '.join(sorted(names & set(_CORES)))} answers in"
    return ""


def compose(task: Task, parts: str | Sequence[PatternPart], resources: Resources, *, seed: int = 0) -> Program:
    """The program that a combination stands for on a task.

    Raises InputError when the parts are not known, exclude each other or do not fit the task.
    """
    pieces = read(parts) if isinstance(parts, str) else tuple(parts)
    if why := unfit(task, pieces, resources):
        raise InputError(why, remedy="leave that part out, or add what it needs")
    given = {piece.name: piece.value for piece in pieces}
    prompt = replace(
        Prompt.of(task),
        persona=given["persona"] or task.persona if "persona" in given else "",
        audience=given.get("audience", ""),
        context=given.get("context", ""),
        constraints=task.constraints if "constraints" in given else (),
    )
    model, options = resources.model(), Options.of(task)
    program: Program
    if "react" in given:
        program = ReactProgram(model, passages=task.passages, prompt=prompt, options=options)
    elif "output-template" in given:
        outline = Outline.parse(given["output-template"] or "[Reasoning][Answer]")
        program = OutlineProgram(
            replace(outline, last=task.form), model, prompt=prompt, options=options, pick=outline.sections[-1]
        )
    else:
        if "chain-of-thought" in given:
            options = replace(options, reasoning=Reasoning(max_tokens=64))
        if "self-consistency" in given:
            votes = _count(given["self-consistency"] or "5", "self-consistency")
            options = replace(options, reasoning=Reasoning(max_tokens=64, votes=votes))
        selector = _selector(given["few-shot"], task.train, seed) if "few-shot" in given else None
        program = PromptProgram(prompt, model, options, selector)
    if "question-refinement" in given:
        program = RefinedProgram(program, model, task.fields)
    if "cognitive-verifier" in given:
        program = Verify().around(program, task, model)
    return program


def _count(text: str, name: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise InputError(f"{name}={text}: expected a number from 1 to 64", remedy=f"write {name}=5")
    return int(text)


def _selector(value: str, pool: Sequence[Example], seed: int) -> Selector:
    """``5``, ``knn`` or ``knn 5``."""
    kind: Kind = "knn"
    k = 4
    for word in value.split():
        if word in _KINDS:
            kind = word
        else:
            k = _count(word, "few-shot")
    return Selector(kind, k, pool, seed=seed)


@dataclass(frozen=True)
class Combined:
    """Several patterns at once, in any order: parts such as persona, few-shot=3 and chain-of-thought."""

    traits: ClassVar[Traits] = Traits(optional=True)

    parts: tuple[str, ...] = ("few-shot", "chain-of-thought")

    def __post_init__(self) -> None:
        try:
            read("+".join(self.parts))
        except InputError as error:
            raise ValueError(error.message) from None

    def obstacle(self, task: Task, resources: Resources) -> str:
        return unfit(task, read("+".join(self.parts)), resources)

    async def fit(self, task: Task, context: Context) -> Program:
        return compose(task, "+".join(self.parts), context.resources, seed=context.seed)


# ---------------------------------------------------------------- factorial


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination's result."""

    parts: tuple[str, ...]
    quality: Interval
    usage: Usage
    failures: int

    @property
    def title(self) -> str:
        return "+".join(self.parts) or "none"


@dataclass(frozen=True, slots=True)
class Effect:
    """What a factor adds, the mean over all settings of the others; two factors: how much more they add together than
    each by itself (half the difference of their effects). ``p`` is corrected for all effects of its kind (Holm
    1979)."""

    factors: tuple[str, ...]
    difference: Difference
    p: float


@dataclass(frozen=True, slots=True)
class Factorial:
    metric: str
    n: int
    cells: tuple[Cell, ...]
    main: tuple[Effect, ...]
    interactions: tuple[Effect, ...]


async def factorial(task: Task, factors: Sequence[str], context: Context, examples: Sequence[Example]) -> Factorial:
    """Ask every combination of ``factors`` over the same ``examples`` and estimate their effects, item by item.

    The effects are of the task's first metric that is a mean of items' values. Raises InputError for fewer than one or
    more than six factors, factors that do not fit or exclude each other, or no such metric or example.
    """
    names = [str(piece) for factor in factors for piece in read(factor)]
    if not 1 <= len(names) <= 6 or not examples:
        raise InputError(
            f"got {len(names)} factors and {len(examples)} examples, expected 1 to 6 factors and at least one example",
            remedy="write --factors persona,few-shot,cot",
        )
    pieces = read("+".join(names))  # all of them together is the cell that has to be possible
    if why := unfit(task, pieces, context.resources):
        raise InputError(why, remedy="leave that factor out, or add what it needs")
    metric = _mean_metric(task, context.resources)
    names = [str(piece) for piece in pieces]
    cells: list[Cell] = []
    values: dict[tuple[bool, ...], list[float]] = {}
    for done, chosen in enumerate(product((False, True), repeat=len(pieces)), 1):
        parts = [piece for piece, on in zip(pieces, chosen, strict=True) if on]
        results: list[Result] = await context.evaluate(
            compose(task, parts, context.resources, seed=context.seed), examples
        )
        scores = [result.scores[metric.name] for result in results]
        values[chosen] = [score.value for score in scores]
        usage = sum((result.answer.usage for result in results), Usage())
        failures = sum(result.answer.failure is not None for result in results)
        cells.append(Cell(tuple(str(part) for part in parts), interval(metric, scores), usage, failures))
        context.progress(
            Progress("factorial", done, 2 ** len(pieces), f"{cells[-1].title} {cells[-1].quality.value:.3f}")
        )
    main = [_contrast(metric, values, (index,), names) for index in range(len(pieces))]
    pairs = [_contrast(metric, values, pair, names) for pair in combinations(range(len(pieces)), 2)]
    return Factorial(metric.name, len(examples), tuple(cells), _corrected(main), _corrected(pairs))


def _mean_metric(task: Task, resources: Resources) -> Metric:
    for name in task.metrics:
        metric = load_metric(name, resources)
        if isinstance(metric, Mean):
            return metric
    raise InputError(
        f"none of the task's metrics ({', '.join(task.metrics)}) is a mean of items' values",
        remedy="add one to the task file, for example accuracy or exact",
    )


def _contrast(
    metric: Metric, values: dict[tuple[bool, ...], list[float]], which: tuple[int, ...], names: Sequence[str]
) -> Effect:
    """Item by item, the mean over the cells with an even number of ``which`` off, less the mean over the others."""
    n = len(next(iter(values.values())))
    sides: dict[bool, list[list[float]]] = {True: [], False: []}
    for chosen, column in values.items():
        off = sum(not chosen[index] for index in which)
        sides[off % 2 == 0].append(column)
    high, low = (
        [Score(sum(column[i] for column in sides[side]) / len(sides[side])) for i in range(n)] for side in (True, False)
    )
    found = paired(metric, high, low)
    return Effect(tuple(names[index] for index in which), found, found.p)


def _corrected(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    return tuple(replace(e, p=p) for e, p in zip(effects, holm([e.p for e in effects]), strict=True))
