"""Audience persona: the same task for other readers, and a measure of whether the text changed for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rung.core.errors import InputError
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.types import Case, Sampling, Score, Task
from rung.foundations.text.sentences import lines
from rung.metrics.mean import values_of
from rung.metrics.stats import Difference, paired
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Audience:
    """The answer is written for the reader ``audience``."""

    traits: ClassVar[Traits] = Traits(optional=True)

    audience: str = "a high-school student"

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.form.closed:
            return f"an answer of the form {task.form.kind} reads the same to everybody"
        return "" if self.audience.strip() else "the option audience: says nobody"

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        prompt = replace(Prompt.of(task), audience=self.audience)
        return PromptProgram(prompt, context.resources.model(), Options.of(task))


def syllables(word: str) -> int:
    """Syllables of an English word by a rule of thumb: groups of vowels, less a silent e. At least one."""
    word = re.sub(r"[^a-z]", "", word.casefold())
    groups = len(re.findall(r"[aeiouy]+", word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1:
        groups -= 1
    if re.search(r"[^td]ed$", word) and groups > 1:
        groups -= 1
    return max(1, groups)


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade of an English text: years of school that it takes to read (Kincaid et al. 1975).

    0.39 words a sentence + 11.8 syllables a word - 15.59. Raises InputError for a text without words.
    """
    words = re.findall(r"[A-Za-z]+(?:['’-][A-Za-z]+)*", text)
    if not words:
        raise InputError("the text has no words", remedy="give a text in English")
    return (
        0.39 * len(words) / max(1, sum(1 for _ in lines(text))) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59
    )


class _Grade:
    """The mean of values on a scale without ends."""

    name = "reading-grade"
    higher_is_better = False

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        return [Score(reading_grade(str(case.output))) for case in cases]

    def reduce(self, scores: Sequence[Score], draws: NDArray[np.intp] | None = None) -> NDArray[np.float64]:
        values = values_of(scores)
        return np.array([values.mean()]) if draws is None else np.asarray(values.take(draws).mean(axis=1))


@dataclass(frozen=True, slots=True)
class Readers:
    """Texts for two readers, pair by pair, and the difference in grade: the first reader's less the second's."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    grades: Difference
    failed: int = 0


async def compare_readers(
    model: Model, order: str, topics: Sequence[str], first: str, second: str, *, sampling: Sampling | None = None
) -> Readers:
    """Do ``order`` for each topic for two readers and compare how hard the texts are to read (Flesch-Kincaid).

    Raises InputError when fewer than two topics gave a text for both.
    """
    options = Options(sampling=sampling or Sampling(max_tokens=120))
    programs = [PromptProgram(Prompt(order, audience=reader), model, options) for reader in (first, second)]
    pairs: list[tuple[str, str]] = []
    for topic in topics:
        answers = [await program(topic) for program in programs]
        texts = [answer.output for answer in answers if answer.failure is None and re.search("[A-Za-z]", answer.output)]
        if len(texts) == 2:
            pairs.append((texts[0], texts[1]))
    if len(pairs) < 2:
        raise InputError(
            f"{len(pairs)} of {len(topics)} topics gave two texts, expected 2 or more", remedy="give more topics"
        )
    ones, others = zip(*pairs, strict=True)
    scores = [[Score(reading_grade(text)) for text in side] for side in (ones, others)]
    return Readers(ones, others, paired(_Grade(), scores[0], scores[1]), len(topics) - len(pairs))
