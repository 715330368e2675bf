"""Recipes and alternative approaches: several lists of steps for one goal, distinct by measure, ranked by constraints.

(White et al. 2023, arXiv:2302.11382.) Each list is decoded under a form of numbered steps. One that is too much like an
earlier one is thrown away and asked for again, with another seed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.types import (
    Answer,
    Failure,
    Input,
    Message,
    ResponseFormat,
    Sampling,
    Step,
    Task,
    Usage,
    as_input,
    text_of,
)
from rung.prompts.answer import ask
from rung.prompts.program import Options

WIDTH = 120
"""Characters of a step at most."""
_SAMPLING = Sampling(temperature=0.8, top_p=0.95)
_SMALL = re.compile(r"a|an|and|as|at|for|from|in|into|is|it|of|on|or|over|the|them|then|to|until|with|your?")


def form(fewest: int, most: int) -> ResponseFormat:
    """``1. ...`` to ``n. ...``, a step a line."""
    step = rf"\. [A-Z][^\n]{{4,{WIDTH}}}"
    needed = r"\n".join(f"{number}{step}" for number in range(1, fewest + 1))
    more = ""
    for number in range(most, fewest, -1):
        more = rf"(\n{number}{step}{more})?"
    return ResponseFormat("regex", pattern=needed + more)


def read_steps(text: str) -> tuple[str, ...]:
    """The steps of a numbered list, in order; what is not numbered is left out."""
    return tuple(found[1].strip() for found in re.finditer(r"^\s*\d+[.)]\s+(.+)$", text, re.MULTILINE))


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """Jaccard similarity of the two lists' words that mean something, 0 to 1."""
    words = [
        {word for word in re.findall(r"\w+", " ".join(steps).casefold()) if not _SMALL.fullmatch(word)}
        for steps in (one, other)
    ]
    union = words[0] | words[1]
    return len(words[0] & words[1]) / len(union) if union else 1.0


@dataclass(frozen=True, slots=True)
class Approach:
    """One list of steps; ``fit`` is by constraint the model's probability that it holds (or 1 and 0 where it gives
    none)."""

    steps: tuple[str, ...]
    fit: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """Mean over the constraints; 0 without any."""
        return sum(self.fit) / len(self.fit) if self.fit else 0.0


@dataclass(frozen=True, slots=True)
class Approaches:
    """The best first. ``closest`` is the highest similarity between two of them; ``rejected`` counts those that were
    too much like another or no list; ``failure`` says why there are fewer than asked for."""

    found: tuple[Approach, ...]
    closest: float
    rejected: int
    steps: tuple[Step, ...]
    failure: Failure | None = None

    @property
    def usage(self) -> Usage:
        return sum((step.usage for step in self.steps), Usage())


@dataclass(frozen=True, slots=True)
class Variety:
    """``n`` ways of ``fewest`` to ``most`` steps whose likeness stays below ``alike``; at most ``attempts`` lists are
    asked for (0: three for each wanted)."""

    n: int = 3
    fewest: int = 3
    most: int = 6
    alike: float = 0.5
    attempts: int = 0


async def approaches(
    model: Model,
    goal: str,
    variety: Variety = Variety(),
    *,
    constraints: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> Approaches:
    """Different ways to the goal, ranked by how well they keep the constraints. Raises InputError for impossible
    numbers or no goal."""
    n, fewest, most, alike = variety.n, variety.fewest, variety.most, variety.alike
    if not goal.strip() or n < 1 or not 1 <= fewest <= most <= 20 or not 0 < alike <= 1:
        raise InputError(
            f"got the goal {goal[:40]!r}, n {n}, {fewest} to {most} steps, alike {alike}",
            remedy="expected a goal, n >= 1, 1 <= fewest <= most <= 20 and 0 < alike <= 1",
        )
    base = replace(sampling or _SAMPLING, max_tokens=4 * most * (WIDTH + 6))
    asked: list[Step] = []
    kept: list[tuple[str, ...]] = []
    failure: Failure | None = None
    for attempt in range(variety.attempts or 3 * n):
        if len(kept) == n:
            break
        at = replace(base, seed=(base.seed or 0) + attempt)
        messages, name = _order(goal, constraints, kept), f"way {len(kept) + 1}"
        one = await ask(model, messages, form(fewest, most), at, name=name, repeat=attempt)
        asked.append(one.step)
        if one.failure is not None and one.failure.where != "parse":
            failure = one.failure
            break
        steps = read_steps(one.raw)
        near = max((likeness(steps, other) for other in kept), default=0.0)
        different = len({step.casefold() for step in steps})
        if different >= max(fewest, len(steps)) and near < alike:
            kept.append(steps)
            continue
        why = f"{near:.2f} like another" if near >= alike else f"{len(steps)} steps, {different} different"
        asked[-1] = replace(asked[-1], note=f"{asked[-1].note}; thrown away: {why}".lstrip("; "))
    calls, rejected = len(asked), len(asked) - len(kept) - (failure is not None)
    found = []
    for steps in kept:
        fits, more = await _fits(model, goal, steps, constraints)
        asked += more
        found.append(Approach(steps, fits))
    found.sort(key=lambda item: -item.score)
    closest = max((likeness(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :]), default=0.0)
    if failure is None and len(kept) < n:
        failure = Failure("program", f"{len(kept)} of {n} distinct ways were found in {calls} calls")
    return Approaches(tuple(found), closest, rejected, tuple(asked), failure)


def _order(goal: str, constraints: Sequence[str], known: Sequence[Sequence[str]]) -> tuple[Message, Message]:
    order = "Write a recipe: numbered steps, one a line, and nothing else."
    if constraints:
        order += "\nRules:\n" + "\n".join(f"- {rule}" for rule in constraints)
    wish = f"Goal: {goal}"
    if known:
        ways = "\n\n".join(map(_numbered, known))
        wish += f"\n\nThese ways are known:\n{ways}\n\nWrite one that goes about it in another way."
    return Message("system", order), Message("user", wish)


def _numbered(steps: Sequence[str]) -> str:
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


async def _fits(
    model: Model, goal: str, steps: Sequence[str], constraints: Sequence[str]
) -> tuple[tuple[float, ...], list[Step]]:
    text = _numbered(steps)
    values, asked = [], []
    for rule in constraints:
        question = f"Goal: {goal}\nSteps:\n{text}\n\nRule: {rule}\nDo the steps keep the rule? Answer yes or no."
        labels = ResponseFormat("labels", labels=("yes", "no"))
        said = await ask(model, (Message("user", question),), labels, Sampling(max_tokens=4), name="constraint")
        asked.append(said.step)
        sure = 1.0 if said.confidence is None else said.confidence
        values.append(0.0 if said.output is None else sure if said.output == "yes" else 1 - sure)
    return tuple(values), asked


# ---------------------------------------------------------------- as a program


@dataclass(eq=False)
class RecipeProgram(Storable):
    """Answers with numbered steps to the goal that the input names: of ``ways`` different lists, the one that keeps
    ``rules`` best."""

    kind: ClassVar[str] = "recipe"

    model: Model
    _: KW_ONLY
    options: Options = Options()
    rules: tuple[str, ...] = ()
    ways: int = 1
    alike: float = 0.5

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        goal = text_of(as_input(input, self.options.fields))
        seed = (self.options.sampling.seed or 0) + repeat * 1000
        sampling = replace(_SAMPLING, seed=seed)
        variety = Variety(self.ways, alike=self.alike)
        found = await approaches(self.model, goal, variety, constraints=self.rules, sampling=sampling)
        if not found.found:
            return Answer(None, "", found.steps, found.usage, found.failure)
        best = found.found[0]
        text = _numbered(best.steps)
        return Answer(text, text, found.steps, found.usage, None, best.score if self.rules else None)


@dataclass(frozen=True)
class RecipeRung:
    """Numbered steps; with ``ways`` above 1 several different lists, of which the one that keeps the task's constraints
    best."""

    traits: ClassVar[Traits] = Traits(optional=True)

    ways: int = 1
    rules: tuple[str, ...] = ()
    alike: float = 0.5

    def obstacle(self, task: Task, resources: Resources) -> str:
        return f"an answer of the form {task.form.kind} is no list of steps" if task.form.closed else ""

    async def fit(self, task: Task, context: Context) -> RecipeProgram:
        return RecipeProgram(
            context.resources.model(),
            options=Options.of(task),
            rules=self.rules or task.constraints,
            ways=self.ways,
            alike=self.alike,
        )


RECIPE = RecipeRung()
ALTERNATIVES = RecipeRung(ways=3)
