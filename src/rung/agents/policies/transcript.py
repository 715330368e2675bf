"""A view as messages to a model, within what the model and the limits take; and asking with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace

from rung.agents.calls.call import called
from rung.agents.loop.move import Spent
from rung.agents.loop.view import EpisodeTurn, View
from rung.agents.memory.short import WHOLE, Window, shorten
from rung.core.codec import digest, encode
from rung.core.errors import InputError, ModelError
from rung.core.protocols import Model
from rung.core.types import Message, Reply, Request, ResponseFormat, Sampling, ToolCall, ToolSpec


def lessons(view: View) -> str:
    """What earlier episodes taught, as lines."""
    return "\n".join(f"- {lesson['text']}" for lesson in view.lessons)


def opening(view: View, instruction: str) -> tuple[Message, ...]:
    """The system message and the request."""
    taught = lessons(view)
    system = f"{instruction}\n\nLearned before:\n{taught}" if taught else instruction
    return Message("system", system), Message("user", view.request)


def turn_messages(turn: EpisodeTurn) -> list[Message]:
    """What was said before a decision, the decision, and its results, as calls of tools and their answers."""
    heard = [Message("user", "\n".join(turn.heard))] if turn.heard else []
    if not turn.calls:
        return [*heard, Message("assistant", turn.reply or turn.thought)] if turn.reply or turn.thought else heard
    calls = tuple(ToolCall(f"call_{turn.seq}_{at}", call.tool, call.arguments) for at, call in enumerate(turn.calls))
    out = [*heard, Message("assistant", turn.thought, calls)]
    out += [
        Message("tool", call.text or "", tool_call_id=made.id) for call, made in zip(turn.calls, calls, strict=True)
    ]
    return out


def staged_opening(view: View, instruction: str, others: Sequence[tuple[str, str, float]]) -> tuple[Message, ...]:
    """The same for a model that calls in stages, with the tools: what does not change comes first, so that it is
    computed once."""
    lines = "\n".join([listed(view.tools), *(f"- {name}: {about}" for name, about, _ in others)])
    system, request = opening(
        view, f"{instruction}\n\nReply with the name of a tool and, under it, its arguments as JSON. Tools:\n{lines}"
    )
    return system, request


def staged_turn(turn: EpisodeTurn, tools: Sequence[ToolSpec], learn: Container[int] | None = None) -> list[Message]:
    """A decision and its results for a model that calls in stages. ``learn``: the calls that are learnt, by their
    events; None: all."""
    out = [Message("user", text) for text in turn.heard]
    for call in turn.calls:
        said = called(call.tool, encode(call.arguments), tools)
        out.append(Message("assistant", said, learn=learn is None or call.seq in learn))
        out.append(Message("user", call.text or ""))
    return out if turn.calls or not turn.thought else [*out, Message("user", turn.thought)]


def joined(said: Iterable[Message]) -> tuple[Message, ...]:
    """Messages in which people do not speak twice in a row."""
    out: list[Message] = []
    for message in said:
        if out and out[-1].role == message.role == "user":
            out[-1] = Message("user", f"{out[-1].content}\n{message.content}")
        else:
            out.append(message)
    return tuple(out)


def messages(
    view: View,
    first: tuple[Message, ...],
    model: Model,
    room: int,
    window: Window = WHOLE,
    block: Callable[[EpisodeTurn], list[Message]] = turn_messages,
) -> tuple[Message, ...]:
    """The whole episode after ``first``; where that is more than the window, or leaves less than ``room`` tokens of the
    model's context, without a part of it: the request and the last turns stay. What was said since the last decision
    comes last."""
    said = [text for text in view.said if text != view.request]
    last = (Message("user", "\n".join(said)),) if said else ()
    blocks = [block(turn) for turn in view.turns]
    most = model.capabilities.context - room
    most = min(most, window.tokens) if window.tokens else most
    whole = (*first, *(message for block in blocks for message in block), *last)
    if len(blocks) <= 1 or model.count(whole) <= most:
        return whole
    if window.keep == "recent":
        return _recent(first, blocks, last, model, most)
    texts = ["\n".join(shown_message(message) for message in block) for block in blocks]
    query = " ".join([view.request, *said, texts[-1]])
    room = most - model.count((*first, *last))
    while True:
        kept, lines = shorten(
            texts, max(0, room), window.keep, query, lambda text: model.count((Message("user", text),))
        )
        head = first
        if lines:
            earlier = "\n".join(f"- {line}" for line in lines)
            head = (Message("system", f"{first[0].content}\n\nEarlier in this episode:\n{earlier}"), *first[1:])
        whole = (*head, *(message for at in kept for message in blocks[at]), *last)
        if model.count(whole) <= most or room <= 0:
            return whole
        room -= max(16, room // 8)  # a message costs more than its text


def _recent(
    first: tuple[Message, ...], blocks: list[list[Message]], last: tuple[Message, ...], model: Model, most: int
) -> tuple[Message, ...]:
    while True:
        whole = (*first, *(message for block in blocks for message in block), *last)
        if len(blocks) <= 1 or model.count(whole) <= most:
            return whole
        blocks = blocks[max(1, len(blocks) // 4) :]  # in blocks, so that a cached beginning lives for some turns


def shown_message(message: Message) -> str:
    """A message as text: what it says and what it calls."""
    calls = " ".join(
        f"{call.name} {json.dumps(encode(call.arguments), ensure_ascii=False)}" for call in message.tool_calls
    )
    return f"{message.content} {calls}".strip()


async def ask(
    view: View,
    model: Model,
    said: tuple[Message, ...],
    sampling: Sampling,
    *,
    offer: ResponseFormat | Sequence[ToolSpec] = (),
    closing: bool = False,
) -> tuple[Reply, str]:
    """One reply, and the digest of what was sent. ``offer`` is the form that the reply must have, or tools.
    ``closing``: the tokens that are set aside for the end may be used.

    Raises Spent where the prompt alone is more than the limits leave, ModelError where the model cannot answer.
    """
    allowance = view.limits.allowance(view)
    if allowance is not None:
        left = allowance + (view.limits.reserve if closing else 0) - model.count(said)
        if left < 1:
            raise Spent("tokens")
        sampling = replace(sampling, max_tokens=min(sampling.max_tokens, left))
    form, tools = (offer, ()) if isinstance(offer, ResponseFormat) else (ResponseFormat(), tuple(offer))
    request = Request(said, sampling, form, tools)
    reply = (await model.generate([request]))[0]
    if reply.finish == "error" and reply.code != "tool-call":
        raise ModelError(reply.text, code=reply.code)
    return reply, digest([encode(request), model.fingerprint])


def listed(tools: Sequence[ToolSpec]) -> str:
    """Tools as lines for a prompt."""
    return "\n".join(
        f"- {tool.name}({', '.join(tool.schema.get('properties', {}))}): {tool.description}" for tool in tools
    )


def shown(turn: EpisodeTurn) -> str:
    """A decision and its results as lines for a prompt."""
    calls = "\n".join(
        f"{call.tool} {json.dumps(encode(call.arguments), ensure_ascii=False)} -> {call.text}" for call in turn.calls
    )
    return f"{turn.thought}\n{calls}".strip()


def needed(model: Model | None, policy: str) -> Model:
    """The model of a policy that cannot go on without one. Raises InputError where there is none."""
    if model is None:
        raise InputError(f"policy {policy} needs a model for this", remedy="name one: -m openvino:smollm2-135m")
    return model
