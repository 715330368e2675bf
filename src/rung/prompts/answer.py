"""From messages to a parsed output: constrained where the model can, parsed where it cannot, a counted failure where
both fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import exp
from typing import Any

from rung.core.errors import ModelError
from rung.core.protocols import Model
from rung.core.text.reasoning import Listener, closed_alone
from rung.core.text.reply import read_reply
from rung.core.types import (
    Answer,
    Failure,
    Message,
    Reply,
    Request,
    ResponseFormat,
    Sampling,
    ScoreRequest,
    Step,
    Usage,
)

_inside: set[str] = set()
"""Models whose prompts open the reasoning that their replies close: known once a reply has shown it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one question to a model: parsed ``output`` or ``failure``, and the step that shows how."""

    output: Any
    raw: str
    step: Step
    failure: Failure | None = None
    confidence: float | None = None


async def ask(
    model: Model,
    messages: tuple[Message, ...],
    form: ResponseFormat,
    sampling: Sampling,
    *,
    name: str = "answer",
    repeat: int = 0,
) -> Asked:
    """Ask for an answer of the given form.

    A label set is scored from one prefill where the model can score and decoding is greedy; another closed form is
    decoded under constraint where the model can; otherwise the reply is free and parsed. Model errors become failures.
    """
    try:
        if form.kind == "labels" and model.capabilities.score and sampling.temperature == 0:
            scores = (await model.score([ScoreRequest(messages, form.labels)]))[0]
            label = form.labels[scores.best]
            step = Step(name, messages, label, note="labels scored", usage=scores.usage)
            return Asked(label, label, step, confidence=_probability(scores.logprobs[scores.best]))
        constrained = form if form.kind in model.capabilities.forms else ResponseFormat()
        reply = (await model.generate([Request(messages, sampling, constrained, repeat=repeat)]))[0]
    except ModelError as error:
        return Asked(None, "", Step(name, messages), Failure.of(error))
    note = f"{form.kind} constrained" if constrained.closed else ""
    step = Step(name, messages, reply.text, note=note, usage=reply.usage)
    if reply.finish == "error":
        return Asked(None, "", replace(step, reply=""), Failure.of_reply(reply))
    if closed_alone(reply.text):
        _inside.add(model.name)
    output, complaint = read_reply(form, reply.text)
    if reply.finish == "length":
        if not complaint and not constrained.closed and _may_go_on(form, output, reply.text):
            output, complaint = None, f"expected a whole {form.kind.removesuffix('s')}, got the beginning of one"
        if complaint:
            complaint += f" (cut off at {sampling.max_tokens} tokens)"
    return Asked(output, reply.text, step, Failure("parse", complaint) if complaint else None)


def _may_go_on(form: ResponseFormat, output: Any, text: str) -> bool:
    """Whether a reply that was cut off ends within its answer: "12" may have become "123", "refund" "refund policy"."""
    if form.kind == "labels":
        longer = any(label != output and label.casefold().startswith(str(output).casefold()) for label in form.labels)
        return longer and text.rstrip().casefold().endswith(str(output).casefold())
    return form.kind == "number" and text[-1:].isdigit()


async def listen(
    model: Model, messages: tuple[Message, ...], sampling: Sampling, *, name: str = "answer", repeat: int = 0
) -> AsyncGenerator[str | Asked]:
    """Ask for free text and pass it on as it comes: pieces, then the Asked. The pieces joined are its output.

    Spaces at either end are no part of an output, so they are held back until more text follows; so is reasoning, for
    good. A model that breaks off makes a failure, whatever came before it.
    """
    held, begun, reply = "", False, None
    listener = Listener(inside=model.name in _inside)
    try:
        async with aclosing(model.stream(Request(messages, sampling, repeat=repeat))) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                reply = chunk.reply or reply
                fresh = listener.feed(chunk.text) + (listener.close() if chunk.reply is not None else "")
                piece = held + fresh if begun else fresh.lstrip()
                body = piece.rstrip()
                held = piece[len(body) :]
                if body:
                    begun = True
                    yield body
    except ModelError as error:
        yield Asked(None, "", Step(name, messages), Failure.of(error))
        return
    if reply is None or reply.finish == "error":
        broken = Reply("the model's stream ended before its reply was complete", "error")
        yield Asked(None, "", Step(name, messages), Failure.of_reply(reply or broken))
        return
    output, complaint = read_reply(ResponseFormat(), reply.text)
    if listener.late:
        _inside.add(model.name)
        output, complaint = (
            None,
            "what was streamed is reasoning that the reply ended without having begun it: ask again",
        )
    step = Step(name, messages, reply.text, usage=reply.usage)
    yield Asked(output, reply.text, step, Failure("parse", complaint) if complaint else None)


def conclude(asked: Sequence[Asked]) -> Answer:
    """The answer that a row of questions ends in: the last one's output, with every step and what all of them used."""
    last = asked[-1]
    steps = tuple(item.step for item in asked)
    usage = sum((step.usage for step in steps), Usage())
    return Answer(last.output, last.raw, steps, usage, last.failure, last.confidence)


def _probability(logprob: float) -> float:
    return min(1.0, exp(logprob))
