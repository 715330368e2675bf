"""Game play: a quiz from a corpus, with checked keys, a score and a difficulty that follows the player.

The key of a question is a word or number that stands in its passage, and so does the sentence it is asked about; the
wrong options are of the same kind, from other passages, and are not in this one. A question that the model words is
used only where ``check`` finds nothing wrong with it; else the sentence with a gap is asked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from difflib import SequenceMatcher
from typing import ClassVar, Literal

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
from rung.foundations.text.sentences import lines
from rung.prompts.answer import ask
from rung.prompts.program import Options

Kind = Literal["number", "name"]
LEVELS = (1, 2, 3)
"""1: options far from the key; 3: the most alike ones. Above the first level a name may also be asked for."""
GAP = "_____"
_KINDS: dict[Kind, re.Pattern[str]] = {
    "number": re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w-])"),
    "name": re.compile(r"(?<=[\w,;] )[A-Z][a-z]\w*(?: [A-Z][a-z]\w*){0,2}"),
}
_STOP = frozenset({"The", "This", "That", "These", "It", "In", "On", "He", "She", "They", "Note", "If", "When", "See"})


@dataclass(frozen=True, slots=True)
class QuizQuestion:
    """``options[answer]`` is the key; ``sentence`` stands in the passage and holds it; ``cloze``: asked as a gap."""

    text: str
    options: tuple[str, ...]
    answer: int
    passage: str
    sentence: str
    kind: Kind
    level: int
    cloze: bool
    steps: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        return self.options[self.answer]


def check(question: QuizQuestion, passages: Mapping[str, str]) -> str:
    """What is wrong with a question, "" where nothing is: the key must be found in the passage, the wrong options not,
    and the question must not give the key away."""
    source = passages.get(question.passage)
    if source is None:
        return f"there is no passage {question.passage!r}"
    if question.sentence not in source or not _holds(question.sentence, question.key):
        return "the key is not in the sentence, or the sentence not in the passage"
    wrong = [option for option in question.options if option != question.key]
    if len({option.casefold() for option in question.options}) != len(question.options) or len(wrong) < 2:
        return "the options are not distinct, or too few"
    if inside := next((option for option in wrong if _holds(source, option)), None):
        return f"the wrong option {inside!r} stands in the passage too"
    if _holds(question.text, question.key):
        return "the question says its key"
    if not question.cloze and any(_holds(question.text, option) for option in wrong):
        return "the question names an option"
    return ""


def _holds(text: str, words: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(words)}(?![\w])", text, re.IGNORECASE) is not None


class Quiz:
    """Questions over ``passages``, the next one by the player's level; each sentence is asked about once.

    ``model`` words the questions; without one all are gaps. ``about`` is the one passage that is asked about (all).
    Raises InputError when the passages hold no sentence to ask about.
    """

    def __init__(
        self,
        passages: Mapping[str, str],
        model: Model | None = None,
        *,
        seed: int = 0,
        options: int = 4,
        level: int = 1,
        about: str = "",
    ) -> None:
        if options < 3 or level not in LEVELS:
            raise InputError(
                f"got {options} options and level {level}", remedy="expected 3 or more options, level 1 to 3"
            )
        self.passages, self._model, self._options = dict(passages), model, options
        self._rng = random.Random(seed)
        self._pools: dict[Kind, list[str]] = {kind: sorted(_found(passages, kind)) for kind in _KINDS}
        self._places = [
            (name, said, kind, key)
            for name, text in passages.items()
            if about in ("", name)
            for said in (text[span.start : span.end] for span in lines(text))
            if 5 <= len(said.split()) <= 45
            for kind in _KINDS
            for key in dict.fromkeys(_keys(said, kind))
        ]
        self._rng.shuffle(self._places)
        if not self._places:
            raise InputError(
                "the passages hold no sentence with a number or name to ask for", remedy="give other passages"
            )
        self.progress = PlayerProgress(level=level)

    async def ask(self) -> QuizQuestion | None:
        """The next question at the player's level, checked; None when all sentences were asked about."""
        while self._places:
            wanted: tuple[Kind, ...] = ("number",) if self.progress.level == 1 else ("number", "name")
            at = next((i for i, place in enumerate(self._places) if place[2] in wanted), 0)
            place = self._places.pop(at)
            question = await self._make(*place)
            if question is not None:
                # The same sentence is not asked about again.
                self._places = [other for other in self._places if other[1] != place[1]]
                return question
        return None

    def tell(self, question: QuizQuestion, choice: int) -> bool:
        """Count the player's choice (an index of the options) and adapt the level. True when it is right."""
        if not 0 <= choice < len(question.options):
            raise InputError(
                f"got choice {choice}, expected 0 to {len(question.options) - 1}", remedy="choose an option"
            )
        right = choice == question.answer
        self.progress = self.progress.after(question, right)
        return right

    async def _make(self, passage: str, sentence: str, kind: Kind, key: str) -> QuizQuestion | None:
        source = self.passages[passage]
        others = [o for o in self._pools[kind] if not _holds(source, o) and o.casefold() not in key.casefold()]
        others = [o for o in others if len(o.split()) == len(key.split())] or others
        if len(others) < self._options - 1:
            return None
        others.sort(key=lambda o: -SequenceMatcher(None, key, o).ratio())
        third = max(self._options - 1, len(others) // 3)
        band = {3: others[:third], 2: others[: 2 * third], 1: others[-third:]}[self.progress.level]
        options = [key, *self._rng.sample(band, self._options - 1)]
        self._rng.shuffle(options)
        gap = re.sub(rf"(?<![\w]){re.escape(key)}(?![\w])", GAP, sentence)
        plain = QuizQuestion(
            gap, tuple(options), options.index(key), passage, sentence, kind, self.progress.level, cloze=True
        )
        if check(plain, self.passages):
            return None
        return plain if self._model is None else await self._worded(plain, self._model)

    async def _worded(self, plain: QuizQuestion, model: Model) -> QuizQuestion:
        order = f'Write one question about this sentence whose answer is "{plain.key}". Do not say the answer.\n\n{plain.sentence}'
        form = ResponseFormat("regex", pattern=r"(What|Which|Who|When|Where|How)[^\n?]{8,160}\?")
        said = await ask(model, (Message("user", order),), form, Sampling(max_tokens=700), name="question")
        if said.output is None:
            why = said.failure.message if said.failure is not None else "no question"
            return replace(plain, steps=(replace(said.step, note=f"not used: {why}"),))
        worded = replace(plain, text=said.output, cloze=False)
        # Words of the sentence must be in it, else it asks about something else.
        own = set(re.findall(r"\w{5,}", plain.text.casefold()))
        about = len(own & set(re.findall(r"\w{5,}", said.output.casefold())))
        why = check(worded, self.passages) or ("" if about >= min(2, len(own)) else "it asks about something else")
        if why:
            return replace(plain, steps=(replace(said.step, note=f"not used: {why}"),))
        return replace(worded, steps=(said.step,))


@dataclass(frozen=True, slots=True)
class PlayerProgress:
    """The player's score. Two right in a row lift the level, a wrong one lowers it; a right answer gives its level in
    points."""

    level: int = 1
    asked: int = 0
    right: int = 0
    points: int = 0
    streak: int = 0
    levels: tuple[int, ...] = field(default=())

    def after(self, question: QuizQuestion, right: bool) -> PlayerProgress:
        streak = self.streak + 1 if right else 0
        level = self.level
        if right and streak % 2 == 0:
            level = min(level + 1, LEVELS[-1])
        elif not right:
            level = max(level - 1, LEVELS[0])
        return PlayerProgress(
            level,
            self.asked + 1,
            self.right + right,
            self.points + (question.level if right else 0),
            streak,
            (*self.levels, question.level),
        )


def _keys(text: str, kind: Kind) -> list[str]:
    return [found[0] for found in _KINDS[kind].finditer(text) if found[0].split()[0] not in _STOP]


def _found(passages: Mapping[str, str], kind: Kind) -> set[str]:
    return {key for text in passages.values() for key in _keys(text, kind)}


# ---------------------------------------------------------------- as a program


@dataclass(eq=False)
class QuizProgram(Storable):
    """Makes a checked question about the input: the name of a passage, or a text. ``passages`` give the wrong options.

    The output is an object (question, options, answer, sentence), or text where the answer's form is text.
    """

    kind: ClassVar[str] = "quiz"

    model: Model
    _: KW_ONLY
    passages: Mapping[str, str] = field(default_factory=dict, metadata={"rows": "passages"})
    options: Options = Options()
    level: int = 1

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        text = text_of(as_input(input, self.options.fields))
        about = text if text in self.passages else "the input"
        passages = self.passages if text in self.passages else {**self.passages, about: text}
        try:
            seed = (self.options.sampling.seed or 0) + repeat
            quiz = Quiz(passages, self.model, seed=seed, level=self.level, about=about)
            question = await quiz.ask()
        except InputError as error:
            return _none(error.message)
        if question is None:
            return _none("no sentence gives a question with a key and three wrong options of its kind")
        said = {
            "question": question.text,
            "options": list(question.options),
            "answer": question.key,
            "sentence": question.sentence,
        }
        listed = "\n".join(f"{number}) {option}" for number, option in enumerate(question.options, 1))
        shown = f"{question.text}\n{listed}\nAnswer: {question.key}"
        usage = sum((step.usage for step in question.steps), Usage())
        return Answer(said if self.options.form.kind == "json" else shown, shown, question.steps, usage)


def _none(why: str) -> Answer:
    return Answer(None, steps=(Step("question", note=why),), failure=Failure("program", why))


@dataclass(frozen=True)
class QuizRung:
    """A multiple-choice question about the input, with a checked key; the wrong options come from the task's
    passages."""

    traits: ClassVar[Traits] = Traits(optional=True)

    level: int = 1

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not task.passages:
            return "there are no passages: in the task file to take wrong options from"
        return "" if task.form.kind in ("text", "json") else f"a question is no answer of the form {task.form.kind}"

    async def fit(self, task: Task, context: Context) -> QuizProgram:
        return QuizProgram(
            context.resources.model(), passages=task.passages, options=Options.of(task), level=self.level
        )
