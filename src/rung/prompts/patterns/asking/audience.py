"""Audience persona: the same task for other readers, and how hard a text is to read."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.protocols import Context, Resources, Traits
from rung.core.types import Task
from rung.foundations.text.sentences import lines
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt


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
