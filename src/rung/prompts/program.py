"""The one program behind every prompt rung: select examples, render, (reason,) answer, (vote)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rung.core.codec import canonical, decode, encode
from rung.core.errors import InputError, ModelError
from rung.core.parts.program import inside, model_name
from rung.core.protocols import Model, Resources
from rung.core.types import (
    Answer,
    Failure,
    Input,
    Message,
    Request,
    ResponseFormat,
    Sampling,
    Step,
    Task,
    Usage,
    as_input,
)
from rung.prompts.answer import Asked, ask, conclude, listen
from rung.prompts.select import Selector
from rung.prompts.template.prompt import Prompt
from rung.prompts.template.template import Template


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Chain of thought (Wei et al. 2022, arXiv:2201.11903): reason freely first, answer in a turn of its own.

    The reasoning is never what is scored. ``votes`` > 1 samples that many chains at ``temperature`` and takes the
    majority (self-consistency; Wang et al. 2023, arXiv:2203.11171).
    """

    cue: str = "Think step by step. Write your reasoning in a few short sentences; do not give the final answer yet."
    ask: str = "Now give only the final answer."
    max_tokens: int = 96
    votes: int = 1
    temperature: float = 0.7
    top_p: float = 0.95


@dataclass(frozen=True, slots=True)
class Options:
    """How a prompt program answers, apart from the words of the prompt."""

    form: ResponseFormat = ResponseFormat()
    fields: tuple[str, ...] = ("text",)
    sampling: Sampling = Sampling(max_tokens=64)
    overflow: Literal["truncate", "fail"] = "fail"
    reasoning: Reasoning | None = None

    @classmethod
    def of(cls, task: Task) -> Options:
        return cls(task.form, task.fields, Sampling(max_tokens=task.max_tokens), task.overflow)


LONG = 2000
"""Characters of an input from which on examples are chosen and the prompt is made in a thread: others wait in the
loop."""


class PromptProgram:
    """Answers with one prompt. ``weights`` is what the model is read from (a tuned rung's GGUF, or an adapter's
    folder), if any."""

    kind = "prompt"

    def __init__(
        self,
        prompt: Prompt | Template,
        model: Model,
        options: Options,
        selector: Selector | None = None,
        weights: Path | None = None,
    ) -> None:
        self.prompt, self.options, self.selector, self.weights = prompt, options, selector, weights
        self._model = model

    @property
    def model(self) -> Model:
        return self._model

    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {
            "template" if isinstance(self.prompt, Template) else "prompt": encode(self.prompt),
            "options": encode(self.options),
            # Weights that travel with the program are named by their file, wherever the folder is carried.
            "model": f"{self._model.name.partition(':')[0]}:" if self.weights else self._model.name,
        }
        if self.weights is not None:
            spec["weights"] = self.weights.name
        if self.selector is not None:
            spec["select"] = self.selector.spec()
        return spec

    def files(self) -> Mapping[str, Path | bytes]:
        weights: dict[str, Path] = {}
        if self.weights is not None and self.weights.is_dir():
            weights = {f"{self.weights.name}/{file.name}": file for file in self.weights.iterdir() if file.is_file()}
        elif self.weights is not None:
            weights = {self.weights.name: self.weights}
        return {**weights, **(self.selector.files() if self.selector is not None else {})}

    @classmethod
    def load(cls, spec: Mapping[str, Any], folder: Path, resources: Resources) -> PromptProgram:
        weights = inside(folder, spec["weights"]) if "weights" in spec else None
        name = model_name(spec["model"])
        model = resources.model(f"{name}{weights}" if weights is not None else name)
        selector = Selector.load(spec["select"], folder, resources) if "select" in spec else None
        prompt = decode(Template, spec["template"]) if "template" in spec else decode(Prompt, spec["prompt"])
        options = decode(Options, spec["options"])
        if options.form.kind == "labels" and not options.form.labels:
            raise ValueError("the answer is one of no labels")
        return cls(prompt, model, options, selector, weights)

    def messages(self, input: Input | str) -> tuple[Message, ...]:
        """The exact messages that the first call sends for ``input`` (before any cut that the overflow policy
        makes)."""
        value = as_input(input, self.options.fields)
        return self.prompt.render(value, self.selector(value) if self.selector is not None else ())

    def forecast(self, input: Input | str) -> tuple[Usage, tuple[Message, ...]]:
        """What an answer to ``input`` will use (new tokens at their limit) and the first call's messages; asks
        nothing."""
        messages = self.messages(input)
        tokens, options = self._model.count(messages), self.options
        scored = options.form.kind == "labels" and self._model.capabilities.score
        new = 0 if scored else options.sampling.max_tokens
        if (reasoning := options.reasoning) is None:
            return Usage(calls=1, prompt_tokens=tokens, completion_tokens=new), messages
        votes, chain = reasoning.votes, reasoning.max_tokens
        return Usage(2 * votes, votes * (2 * tokens + chain), votes * (chain + new)), messages

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        messages, complaint = await self._ready(input)
        if complaint is not None:
            return Answer(None, steps=(Step("prompt", messages),), failure=complaint)
        reasoning = self.options.reasoning
        if reasoning is None:
            return conclude([await self._ask(messages, repeat)])
        if reasoning.votes == 1:
            return conclude(await self._reason(messages, reasoning, repeat))
        chains = await asyncio.gather(
            *(self._reason(messages, reasoning, repeat * reasoning.votes + vote) for vote in range(reasoning.votes))
        )
        return _vote(chains)

    async def stream(self, input: Input | str, *, repeat: int = 0) -> AsyncGenerator[str | Answer]:
        """Pieces of the output as the model writes them, then the Answer that a call would have given.

        Only free text comes in pieces: a closed form must be whole to be parsed, and a reasoned answer to be found.
        """
        if self.options.form.closed or self.options.reasoning is not None:
            yield await self(input, repeat=repeat)
            return
        messages, complaint = await self._ready(input)
        if complaint is not None:
            yield Answer(None, steps=(Step("prompt", messages),), failure=complaint)
            return
        async with aclosing(listen(self._model, messages, self._sampling(repeat), repeat=repeat)) as heard:
            async for piece in heard:
                yield piece if isinstance(piece, str) else conclude([piece])

    def _sampling(self, repeat: int) -> Sampling:
        return replace(self.options.sampling, seed=(self.options.sampling.seed or 0) + repeat)

    async def _ask(self, messages: tuple[Message, ...], repeat: int, name: str = "answer") -> Asked:
        sampling = self._sampling(repeat)
        return await ask(self._model, messages, self.options.form, sampling, name=name, repeat=repeat)

    async def _reason(self, messages: tuple[Message, ...], reasoning: Reasoning, repeat: int) -> list[Asked]:
        """Two calls: the reasoning, then the answer in the task's form with the reasoning before it."""
        several = reasoning.votes > 1
        sampling = Sampling(
            temperature=reasoning.temperature if several else 0.0,
            top_p=reasoning.top_p if several else 1.0,
            max_tokens=reasoning.max_tokens,
            seed=repeat,
        )
        last = messages[-1]
        think = (*messages[:-1], replace(last, content=f"{last.content}\n\n{reasoning.cue}"))
        try:
            reply = (await self._model.generate([Request(think, sampling, repeat=repeat)]))[0]
        except ModelError as error:
            return [Asked(None, "", Step("reason", think), Failure.of(error))]
        thought = Step("reason", think, reply.text, usage=reply.usage)
        if reply.finish == "error":
            return [Asked(None, "", replace(thought, reply=""), Failure.of_reply(reply))]
        final = (*think, Message("assistant", reply.text), Message("user", reasoning.ask))
        return [Asked(None, "", thought), await self._ask(final, repeat)]

    async def _ready(self, input: Input | str) -> tuple[tuple[Message, ...], Failure | None]:
        value = as_input(input, self.options.fields)
        if sum(map(len, value.values())) > LONG:
            return await asyncio.to_thread(self._fit_window, value)
        return self._fit_window(value)

    def _fit_window(self, value: Input) -> tuple[tuple[Message, ...], Failure | None]:
        """Choose examples and render; when the prompt is longer than the window, drop examples and then cut the longest
        field, or fail."""
        examples = self.selector(value) if self.selector is not None else ()
        try:
            messages = self.prompt.render(value, examples)
        except InputError as error:  # a value that the template's variable cannot take
            return (), Failure("program", error.message)
        reserve = self.options.sampling.max_tokens
        if self.options.reasoning is not None:
            reserve += self.options.reasoning.max_tokens + 64
        window = self._model.capabilities.context - reserve
        # A token is at least one byte: short prompts need no counting.
        if sum(len(message.content) + 16 for message in messages) * 4 < window:
            return messages, None
        tokens = self._model.count(messages)
        if tokens <= window:
            return messages, None
        if self.options.overflow == "fail":
            said = f"the prompt has {tokens:,} tokens and {reserve} are reserved for the answer; the window holds {self._model.capabilities.context:,}"
            return messages, Failure("overflow", said)
        kept = list(examples)
        while kept and tokens > window:
            kept.pop(0)
            messages = self.prompt.render(value, kept)
            tokens = self._model.count(messages)
        while tokens > window:
            longest = max(value, key=lambda name: len(value[name]))
            text = value[longest]
            cut = int(len(text) * min(0.95, window / tokens))
            if cut < 1 or len(text) < 2:
                return messages, Failure("overflow", "the prompt does not fit the window even without its input")
            value = {**value, longest: text[:cut]}
            messages = self.prompt.render(value, kept)
            tokens = self._model.count(messages)
        return messages, None


def _vote(chains: Sequence[Sequence[Asked]]) -> Answer:
    """Majority over the chains that gave an answer; the earliest wins a tie. Fails only when every chain failed."""
    answers = [conclude(chain) for chain in chains]
    steps = tuple(step for answer in answers for step in answer.steps)
    usage = sum((answer.usage for answer in answers), Usage())
    valid = [answer for answer in answers if answer.failure is None]
    if not valid:
        return Answer(None, answers[0].raw, steps, usage, answers[0].failure)
    keys = [canonical(answer.output) for answer in valid]
    winner, count = Counter(keys).most_common(1)[0]
    chosen = valid[keys.index(winner)]
    return Answer(chosen.output, chosen.raw, steps, usage, None, count / len(answers))
