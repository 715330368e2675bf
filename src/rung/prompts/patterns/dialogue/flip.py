"""Flipped interaction: the model asks until it has what it needs, then answers (White et al. 2023, arXiv:2302.11382).

What is needed is a list of slots. A value is only filled with words that the user said: what a model makes up does not
fill a slot.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.text.reply import read_reply
from rung.core.types import Answer, Input, Message, ResponseFormat, Sampling, Step, Task, Usage, as_input
from rung.prompts.answer import ask
from rung.prompts.program import Options
from rung.prompts.template.prompt import Prompt

User = Callable[[str], Awaitable[str]]
"""Answers a question; an empty text ends the dialogue."""

_UNKNOWN = re.compile(r"\W*(?:i (?:do not|don['’]t) know|no idea|not sure|unknown|skip|pass|none|\?)\W*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Slot:
    """Something that must be known. ``form`` is what a value must be: free text, one of some labels, a number or a
    pattern."""

    name: str
    about: str = ""
    form: ResponseFormat = ResponseFormat()

    def __post_init__(self) -> None:
        if not self.name.strip() or self.form.kind in ("json", "grammar"):
            raise InputError(
                f"got slot {self.name!r} of the form {self.form.kind}",
                remedy="name it; use text, labels, number or regex",
            )

    @classmethod
    def parse(cls, text: str) -> Slot:
        """``size: small|large``, ``people: number``, ``city`` or ``city: where the tent is sent``."""
        name, _, about = (part.strip() for part in text.partition(":"))
        if about == "number":
            return cls(name, "", ResponseFormat("number"))
        if "|" in about:
            return cls(
                name,
                "",
                ResponseFormat("labels", labels=tuple(part.strip() for part in about.split("|") if part.strip())),
            )
        return cls(name, about)


@dataclass(frozen=True, slots=True)
class Interview:
    """What came of it: values by slot, the questions asked with their answers, and the final Answer."""

    filled: Mapping[str, str]
    missing: tuple[str, ...]
    dialogue: tuple[tuple[str, str], ...]
    answer: Answer

    @property
    def turns(self) -> int:
        return len(self.dialogue)

    @property
    def rate(self) -> float:
        """Share of the slots that were filled."""
        return len(self.filled) / (len(self.filled) + len(self.missing))


async def interview(
    model: Model,
    goal: str,
    slots: Sequence[Slot],
    user: User,
    *,
    opening: str = "",
    turns: int = 0,
    options: Options | None = None,
) -> Interview:
    """Ask ``user`` until every slot is filled, then do ``goal`` with them.

    ``opening`` is what the user said first; what it holds is not asked again. ``options`` say the form of the answer
    and how it is sampled. ``turns`` limits the questions (0: two a slot);
    whatever is still missing then is named to the model as unknown. Raises InputError without a goal or slots, or with
    two of one name.
    """
    names = [slot.name for slot in slots]
    if not goal.strip() or not names or len(set(names)) != len(names):
        raise InputError(
            f"got the goal {goal[:40]!r} and slots {', '.join(names) or 'none'}", remedy="give each a name of its own"
        )
    options = options or Options(sampling=Sampling())
    steps: list[Step] = []
    filled: dict[str, str] = {}
    dialogue: list[tuple[str, str]] = []
    left = turns or 2 * len(slots)
    if opening:
        for slot in slots:
            if (value := find(slot, opening, asked=False)) is not None:
                filled[slot.name] = value
    waiting = [slot for slot in slots if slot.name not in filled]
    while waiting and left > 0:
        slot = waiting.pop(0)
        question, step = await _question(model, goal, slot, options.sampling)
        steps.append(step)
        said = (await user(question)).strip()
        left -= 1
        dialogue.append((question, said))
        if not said:
            waiting.append(slot)
            break
        for other in [slot, *waiting]:
            if other.name not in filled and (value := find(other, said, asked=other is slot)) is not None:
                filled[other.name] = value
        waiting = [other for other in waiting if other.name not in filled]
        if slot.name not in filled:
            waiting.append(slot)
    missing = tuple(name for name in names if name not in filled)
    known = "\n".join([*(f"{n}: {filled[n]}" for n in names if n in filled), *(f"{n}: unknown" for n in missing)])
    first = f"{opening}\n\n" if opening else ""
    messages = (Message("system", goal), Message("user", f"{first}{known}"))
    asked = await ask(model, messages, options.form, options.sampling)
    steps.append(asked.step)
    usage = sum((step.usage for step in steps), Usage())
    answer = Answer(asked.output, asked.raw, tuple(steps), usage, asked.failure)
    return Interview(filled, missing, tuple(dialogue), answer)


def find(slot: Slot, said: str, *, asked: bool) -> str | None:
    """The slot's value in what the user said, or None. Free text only fills the slot that was asked for, or one that is
    named (``city: Oslo``)."""
    if named := re.search(rf"\b{re.escape(slot.name)}\b\s*(?:is|are|=|:)\s*([^,;.\n]+)", said, re.IGNORECASE):
        value, complaint = read_reply(slot.form, named[1].strip())
        if not complaint:
            return str(value)
    if _UNKNOWN.fullmatch(said):
        return None
    if slot.form.kind == "text":
        return said if asked else None
    if slot.form.kind in ("number", "regex") and not asked:
        return None  # a number in another answer is likely another slot's
    value, complaint = read_reply(slot.form, said)
    return None if complaint else str(value)


async def _question(model: Model, goal: str, slot: Slot, sampling: Sampling) -> tuple[str, Step]:
    about = f" ({slot.about})" if slot.about else ""
    choice = f" It must be one of: {', '.join(slot.form.labels)}." if slot.form.labels else ""
    order = f"You are helping with this: {goal}\nYou need to know the {slot.name}{about}. Ask the user for it in one short question.{choice}"
    form = ResponseFormat("regex", pattern=r"(What|Which|Where|When|Who|How|Do you|Could you)[^\n?.!]{8,120}\?")
    asked = await ask(
        model, (Message("user", order),), form, replace(sampling, max_tokens=512), name=f"ask for {slot.name}"
    )
    plain = f"What is the {slot.name}{about}?{choice}"
    if asked.output is None or slot.name.casefold() not in asked.output.casefold():
        # A question that does not name what is wanted gets no answer to it.
        return plain, replace(asked.step, note=f"asked instead: {plain}")
    return asked.output, asked.step


class Script:
    """A user who knows some facts, for tests and measurements: answers a question with the facts that it names.

    ``chatty``: adds one more fact each time. Questions about anything else get "I don't know".
    """

    def __init__(self, facts: Mapping[str, str], *, chatty: bool = False) -> None:
        self.facts, self.chatty = dict(facts), chatty

    async def __call__(self, question: str) -> str:
        asked = [name for name in self.facts if re.search(rf"\b{re.escape(name)}\b", question, re.IGNORECASE)]
        if not asked:
            return "I don't know"
        said = self.facts[asked[0]]
        others = [name for name in self.facts if name not in asked]
        return f"{said}, {others[0]}: {self.facts[others[0]]}" if self.chatty and others else said


# ---------------------------------------------------------------- as a program


@dataclass(eq=False)
class FlippedProgram(Storable):
    """Asks for what it needs before it does its task; the input's fields are what must be known.

    To an input in which a field is empty the answer is the question for it: so a served program asks until it knows
    all. With every field filled the user is a script that says ``told`` at once and the others when it is asked for
    them, which is what a climb measures.
    """

    kind: ClassVar[str] = "flipped"

    model: Model
    prompt: Prompt
    _: KW_ONLY
    options: Options = Options()
    told: tuple[str, ...] = ()

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        value, options = as_input(input, self.options.fields), self.options
        sampling = replace(options.sampling, seed=(options.sampling.seed or 0) + repeat)
        missing = [name for name in options.fields if not value.get(name, "").strip()]
        if missing:
            question, step = await _question(self.model, self.prompt.instruction, Slot(missing[0]), sampling)
            return Answer(question, question, (step,), step.usage)
        found = await interview(
            self.model,
            self.prompt.system,
            [Slot(name) for name in options.fields],
            Script(value),
            opening="\n".join(f"{name}: {value[name]}" for name in self.told),
            options=replace(options, sampling=sampling),
        )
        return found.answer


@dataclass(frozen=True)
class FlippedInteraction:
    """The model asks for the input's fields, one by one, then answers; ``told`` is what the user says first (the first
    field)."""

    traits: ClassVar[Traits] = Traits(optional=True)

    told: tuple[str, ...] = ()

    def obstacle(self, task: Task, resources: Resources) -> str:
        if len(task.fields) < 2:
            return "there is nothing to ask for: the input has one field, which is what the user says"
        unknown = [name for name in self.told if name not in task.fields]
        return f"told: names {unknown[0]!r}, which is no field of the input" if unknown else ""

    async def fit(self, task: Task, context: Context) -> FlippedProgram:
        told = self.told or task.fields[:1]
        return FlippedProgram(context.resources.model(), Prompt.of(task), options=Options.of(task), told=told)
