"""ReAct: thought, action, observation, until the answer (Yao et al. 2023, arXiv:2210.03629).

Each step is one call whose reply is held to ``Thought: ...`` and ``Action: tool[input]`` by constrained decoding where
the model has it, so that every step parses whatever the model's size. The tools are a search over passages and a
calculator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.text.reply import read_reply
from rung.core.types import Answer, Input, Message, ResponseFormat, Task, as_input
from rung.foundations.arithmetic import calculate
from rung.prompts.answer import Asked, ask, conclude
from rung.prompts.patterns.lookup.search import PassageSearch
from rung.prompts.program import Options
from rung.prompts.template.prompt import Prompt

THOUGHT = 100
"""Characters of a thought at most."""
ARGUMENT = 80
"""Characters of an action's input at most."""
OBSERVATION = 400
"""Characters of an observation at most."""
_ABOUT = {
    "search": "search[words]: look the words up in the passages",
    "calculate": "calculate[arithmetic]: work out a sum such as 12 * (3 + 4)",
    "finish": "finish[answer]: give the answer and stop",
}
_SEARCHED = (
    Message("user", "Which river flows through the capital of Hungary?"),
    Message(
        "assistant", "Thought: I need the capital of Hungary and its river.\nAction: search[river capital of Hungary]"
    ),
    Message("user", "Observation: Budapest: Budapest is the capital of Hungary. The river Danube divides it in two."),
    Message("assistant", "Thought: The capital is Budapest and its river is the Danube.\nAction: finish[Danube]"),
)
_CALCULATED = (
    Message("user", "A box holds 12 eggs. How many eggs are in 7 boxes when 3 are broken and thrown away?"),
    Message("assistant", "Thought: 7 boxes of 12 eggs, less 3 eggs.\nAction: calculate[7 * 12 - 3]"),
    Message("user", "Observation: 81"),
    Message("assistant", "Thought: 81 eggs are left.\nAction: finish[81]"),
)
_CUE = "Now give only the final answer."


def grammar(tools: tuple[str, ...]) -> ResponseFormat:
    """The closed form of one step with these tools."""
    names = "|".join(tools)
    return ResponseFormat(
        "regex", pattern=rf"Thought: [^\n]{{1,{THOUGHT}}}\nAction: ({names})\[[^\n\[\]]{{1,{ARGUMENT}}}\]"
    )


@dataclass(frozen=True, slots=True)
class Move:
    """One parsed step."""

    thought: str
    tool: str
    argument: str


def read_move(text: str) -> Move | None:
    """The step in ``text``, or None where it is no step."""
    found = re.search(r"Thought: ([^\n]+)\nAction: (\w+)\[([^\n\[\]]+)\]", text)
    return Move(found[1].strip(), found[2], found[3].strip()) if found else None


@dataclass(eq=False)
class ReactProgram(Storable):
    """Answers by steps; ``limit`` of them at most, then the best answer the model has.

    An action that is tried a second time is answered with a warning, a third time ends the search for an answer. The
    ``finish`` input is the output where it has the task's form; else the answer is asked for once more, in that form.
    """

    kind: ClassVar[str] = "react"

    model: Model
    _: KW_ONLY
    passages: Mapping[str, str] = field(default_factory=dict, metadata={"rows": "passages"})
    prompt: Prompt = Prompt("Answer the question.")
    options: Options = Options()
    limit: int = 6

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"got a limit of {self.limit} steps, expected at least 1", remedy="write limit: 6")
        self.tools = (*(("search",) if self.passages else ()), "calculate", "finish")

    @cached_property
    def search(self) -> PassageSearch:
        """The index over the passages, made on first use."""
        return PassageSearch(self.passages)

    def messages(self, input: Input | str) -> tuple[Message, ...]:
        """What the first call sends."""
        listed = "\n".join(f"- {_ABOUT[name]}" for name in self.tools)
        how = (
            "Work in steps. Each step is one thought and one action, exactly so:\n"
            f"Thought: what you think\nAction: tool[input]\n\nTools:\n{listed}"
        )
        prompt = replace(self.prompt, context="\n\n".join(part for part in (self.prompt.context, how) if part))
        system, *rest = prompt.render(as_input(input, self.options.fields))
        return (system, *(_SEARCHED if self.passages else _CALCULATED), *rest)

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        messages = self.messages(input)
        # The first step must act: a small model that may finish at once does little else.
        form, first = grammar(self.tools), grammar(self.tools[:-1])
        seed = (self.options.sampling.seed or 0) + repeat
        # A character may take four tokens: a step is never cut in the middle.
        sampling = replace(self.options.sampling, max_tokens=4 * (THOUGHT + ARGUMENT) + 32, seed=seed)
        asked: list[Asked] = []
        tried: dict[tuple[str, str], int] = {}
        for number in range(1, self.limit + 1):
            step = await ask(
                self.model, messages, first if number == 1 else form, sampling, name=f"step {number}", repeat=repeat
            )
            asked.append(step)
            if step.failure is not None and step.failure.where != "parse":
                return conclude(asked)
            move = read_move(step.output or "")
            if move is None:
                said = f"That was no step. Write {' or '.join(f'{name}[...]' for name in self.tools)} after Action:"
                messages = self._told(messages, step.raw or "(nothing)", said)
                continue
            if move.tool == "finish":
                output, complaint = read_reply(self.options.form, move.argument)
                if not complaint:
                    asked[-1] = replace(step, output=output, raw=move.argument)
                    return conclude(asked)
                messages = (*messages, Message("assistant", step.output))
                break
            key = (move.tool, move.argument.casefold())
            tried[key] = tried.get(key, 0) + 1
            observation = self._act(move) if tried[key] == 1 else "You did that already. Do something else, or finish."
            asked[-1] = replace(
                step, step=replace(step.step, note=f"{step.step.note}; observed: {observation}".lstrip("; "))
            )
            messages = self._told(messages, step.output, f"Observation: {observation}")
            if tried[key] > 2:
                break
        closing = Message("user", f"{_CUE} {self.prompt.format}".strip())
        last = messages[-1]
        if last.role == "user":
            messages = (*messages[:-1], replace(last, content=f"{last.content}\n\n{closing.content}"))
        else:
            messages = (*messages, closing)
        if self.options.form.closed:
            final = replace(self.options.sampling, seed=seed)
            asked.append(await ask(self.model, messages, self.options.form, final, repeat=repeat))
            return conclude(asked)
        # A model in the habit of steps goes on with them: free text is got by a last step that can only finish.
        last_step = await ask(self.model, messages, grammar(("finish",)), sampling, name="answer", repeat=repeat)
        move = read_move(last_step.output or "")
        output = move.argument if move is not None else (last_step.raw.strip() or None)
        failure = None if output else last_step.failure
        asked.append(replace(last_step, output=output, raw=output or last_step.raw, failure=failure))
        return conclude(asked)

    @staticmethod
    def _told(messages: tuple[Message, ...], said: str, answer: str) -> tuple[Message, ...]:
        return (*messages, Message("assistant", said), Message("user", answer))

    def _act(self, move: Move) -> str:
        if move.tool == "calculate":
            try:
                return calculate(move.argument)
            except InputError as error:
                return error.message
        found = self.search(move.argument)
        if not found:
            return "Nothing was found. Try other words."
        each = OBSERVATION // len(found)
        return "\n".join(f"{name}: {' '.join(self.passages[name].split())[:each]}" for name in found)


@dataclass(frozen=True)
class React:
    """Thoughts and actions in turn: search the task's passages, calculate, then answer."""

    traits: ClassVar[Traits] = Traits(optional=True)

    limit: int = 5

    def obstacle(self, task: Task, resources: Resources) -> str:
        if task.passages or task.form.kind == "number":
            return ""
        return "there is nothing to act on: no passages: in the task file to search, and no number to work out"

    async def fit(self, task: Task, context: Context) -> ReactProgram:
        return ReactProgram(
            context.resources.model(),
            passages=task.passages,
            prompt=Prompt.of(task),
            options=Options.of(task),
            limit=self.limit,
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """How an answer's steps went: ``steps`` asked, of which ``parsed`` were a thought and an action."""

    steps: int
    parsed: int
    tools: Mapping[str, int] = field(default_factory=dict)


def trace(answer: Answer) -> Trace:
    """Count the steps of a ReAct answer."""
    moves = [read_move(step.reply) for step in answer.steps if step.name.startswith("step ")]
    tools: dict[str, int] = {}
    for move in moves:
        if move is not None:
            tools[move.tool] = tools.get(move.tool, 0) + 1
    return Trace(len(moves), sum(move is not None for move in moves), tools)
