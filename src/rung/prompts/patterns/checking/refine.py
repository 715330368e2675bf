"""Question refinement: the question is put better before it is answered (after White et al. 2023, arXiv:2302.11382).

The refined question is the reply of a Step named ``refine``; the original stands in that Step's messages. A rewriting
that loses a number or a name of the original, or shares too few of its words, is not used: small models drift.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Model, Program, Resources, Traits
from rung.core.types import Answer, Input, Message, ResponseFormat, RungChoice, Sampling, Step, Task, Usage, as_input
from rung.prompts.answer import ask

WIDTH = 240
"""Characters of a refined question at most."""
_ORDER = (
    "Rewrite the question so that it is clear, specific and complete by itself. Keep its meaning and every name and number "
    "in it. Do not answer it. Write the rewritten question only."
)
_SMALL = re.compile(
    r"an?|and|are|as|at|be|by|can|did|do|does|for|from|had|has|have|how|i|in|is|it|its|many|me|much|my|of|on|or|that|the|"
    r"their|there|they|this|to|was|we|were|what|when|where|which|who|whom|whose|why|will|with|would|you|your"
)


def lost(original: str, refined: str) -> str:
    """Why ``refined`` does not say what ``original`` asks, or "" where nothing speaks against it.

    Checked: numbers, names (words with a capital inside the text) and at least half of the other words that mean
    something.
    """
    if re.search(r"[\w)][.!?]\s+[A-Z]", refined) and not re.search(r"[\w)][.!?]\s+[A-Z]", original):
        return "it is no longer one sentence"
    there = set(re.findall(r"\w+", refined.casefold()))
    for number in re.findall(r"\d+(?:[.,]\d+)*", original):
        if number not in refined:
            return f"the number {number} is lost"
    for name in re.findall(r"(?<=[\w,;:] )[A-Z]\w+", original):
        if name.casefold() not in there:
            return f"the name {name} is lost"
    words = {word for word in re.findall(r"\w+", original.casefold()) if not _SMALL.fullmatch(word)}
    kept = {word for word in words if word in there or any(other[:5] == word[:5] for other in there if len(word) > 5)}
    if words and 2 * len(kept) < len(words):
        return f"only {len(kept)} of {len(words)} words are kept"
    return ""


@dataclass(frozen=True, slots=True)
class Refined:
    """``question`` is what is asked on; it equals ``original`` where no rewriting was good enough (``why`` says so)."""

    original: str
    question: str
    steps: tuple[Step, ...]
    why: str = ""


async def refine(
    model: Model, question: str, *, rounds: int = 1, sampling: Sampling | None = None, repeat: int = 0
) -> Refined:
    """Rewrite ``question`` up to ``rounds`` times, each time from the last good wording.

    Raises InputError when ``rounds`` is below 1. A model that fails leaves the question as it is.
    """
    if rounds < 1:
        raise InputError(f"got {rounds} rounds, expected at least 1", remedy="write rounds: 1")
    current, why = question, ""
    steps: list[Step] = []
    mark = r"\?" if question.rstrip().endswith("?") else ""
    body = r"[^\n?]" if mark else r"[^\n]"
    form = ResponseFormat("regex", pattern=rf"[^\s?]{body}{{7,{WIDTH}}}{mark}")
    sampling = replace(sampling or Sampling(), max_tokens=4 * WIDTH)
    for number in range(rounds):
        messages = (Message("system", _ORDER), Message("user", f"Question: {current}"))
        asked = await ask(model, messages, form, sampling, name="refine", repeat=repeat + number)
        if asked.failure is not None:
            why = asked.failure.message
        else:
            why = lost(question, asked.output)
            current = current if why else asked.output.strip()
        steps.append(replace(asked.step, note=f"not used: {why}" if why else "used in place of the original"))
        if why:
            break
    return Refined(question, current, tuple(steps), why)


@dataclass(eq=False)
class RefinedProgram(Storable):
    """Any program behind a question that was refined first. ``field`` is the input field that holds the question."""

    kind: ClassVar[str] = "refined"

    inner: Program
    model: Model
    fields: tuple[str, ...]
    _: KW_ONLY
    field: str = ""
    rounds: int = 1

    def __post_init__(self) -> None:
        if self.field and self.field not in self.fields:
            raise InputError(f"the input has no field {self.field!r}", remedy=f"fields: {', '.join(self.fields)}")
        self.field = self.field or ("question" if "question" in self.fields else self.fields[0])

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        value = as_input(input, self.fields)
        found = await refine(self.model, value[self.field], rounds=self.rounds, repeat=repeat)
        answer = await self.inner({**value, self.field: found.question}, repeat=repeat)
        usage = sum((step.usage for step in found.steps), Usage())
        return replace(answer, steps=found.steps + answer.steps, usage=usage + answer.usage)


@dataclass(frozen=True)
class Refine:
    """The question is rewritten to be clear and complete, then answered by the rung ``inner``."""

    traits: ClassVar[Traits] = Traits(optional=True)

    inner: str = "zero-shot"
    rounds: int = 1
    field: str = ""

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.kind == "labels":
            return "the input is a text to be labelled, not a question to be put better"
        return make_rung(RungChoice(self.inner)).obstacle(task, resources)

    async def fit(self, task: Task, context: Context) -> RefinedProgram:
        inner = await make_rung(RungChoice(self.inner)).fit(task, context)
        return RefinedProgram(inner, context.resources.model(), task.fields, field=self.field, rounds=self.rounds)
