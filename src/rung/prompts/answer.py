"""From messages to a parsed output: constrained where the model can, parsed where it cannot, a counted failure where both fail."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import exp
from typing import Any

from rung.core.errors import ModelError
from rung.core.protocols import Model
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

NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?")


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

    A label set is scored from one prefill where the model can score and decoding is greedy; another closed form is decoded
    under constraint where the model can; otherwise the reply is free and parsed. Model errors become failures.
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
    output, complaint = parse(form, reply.text)
    if complaint and reply.finish == "length":
        complaint += f" (cut off at {sampling.max_tokens} tokens)"
    return Asked(output, reply.text, step, Failure("parse", complaint) if complaint else None)


async def listen(
    model: Model, messages: tuple[Message, ...], sampling: Sampling, *, name: str = "answer", repeat: int = 0
) -> AsyncGenerator[str | Asked]:
    """Ask for free text and pass it on as it comes: pieces, then the Asked. The pieces joined are its output.

    Spaces at either end are no part of an output, so they are held back until more text follows. A model that breaks off
    makes a failure, whatever came before it.
    """
    held, begun, reply = "", False, None
    try:
        async with aclosing(model.stream(Request(messages, sampling, repeat=repeat))) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                reply = chunk.reply or reply
                piece = held + chunk.text if begun else chunk.text.lstrip()
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
    output, complaint = parse(ResponseFormat(), reply.text)
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


def parse(form: ResponseFormat, text: str) -> tuple[Any, str]:
    """Read a reply as ``form``. Returns (output, "") or (None, why it cannot be read)."""
    text = text.strip()
    if form.kind == "labels":
        return _parse_label(form.labels, text)
    if form.kind == "json":
        return _parse_json(form, text)
    if form.kind == "number":
        found = NUMBER.findall(text)
        if not found:
            return None, f"expected a number, got {_short(text)}"
        return found[-1].replace(",", "").replace("$", "").lstrip("+"), ""
    if form.kind == "regex":
        if re.fullmatch(form.pattern, text):
            return text, ""
        if match := re.search(form.pattern, text):
            return match[0], ""
        return None, f"expected text matching {form.pattern}, got {_short(text)}"
    if not text:
        return None, "the reply is empty"
    return text, ""


def _parse_label(labels: tuple[str, ...], text: str) -> tuple[str | None, str]:
    plain = text.strip(" .\"'`*\n").casefold()
    for label in labels:
        if plain == label.casefold():
            return label, ""
    # The longest label is tried first, so that "card_payment_fee" is not read as "card_payment".
    named = [
        label
        for label in sorted(labels, key=len, reverse=True)
        if re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", text, re.IGNORECASE)
    ]
    distinct = [label for label in named if not any(label != other and label in other for other in named)]
    if len(distinct) == 1:
        return distinct[0], ""
    return None, f"expected one of {len(labels)} labels, got {_short(text)}"


def _parse_json(form: ResponseFormat, text: str) -> tuple[Any, str]:
    import jsonschema

    start = text.find("{")
    if start < 0:
        return None, f"expected a JSON object, got {_short(text)}"
    try:
        value, _ = json.JSONDecoder().raw_decode(text[start:])
    except (json.JSONDecodeError, RecursionError) as error:
        return None, f"not valid JSON: {error}"
    if form.schema:
        problem = next(iter(jsonschema.Draft202012Validator(dict(form.schema)).iter_errors(value)), None)
        if problem is not None:
            where = "/".join(map(str, problem.absolute_path)) or "the object"
            return None, f"JSON breaks the schema at {where}: {problem.message}"
    return value, ""


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
