"""A decision in stages, for a model that does not call tools by itself (see ``agents.calls``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.agents.calls.call import ASK, FINISH, Stages, Staging, besides, callable_tools, free
from rung.agents.calls.relevance import relevance
from rung.agents.calls.seen import Source
from rung.agents.calls.shortlist import lexical
from rung.agents.loop.move import Decision, Spent, finish
from rung.agents.loop.view import View, signature
from rung.agents.memory.memory import ranked
from rung.agents.memory.short import WHOLE, Window
from rung.agents.policies.transcript import ask, joined, messages, shown, staged_opening, staged_turn
from rung.core.codec import canonical, digest, encode
from rung.core.protocols import Model
from rung.core.types import Message, Reply, ResponseFormat, Sampling, ScoreRequest, Scores, ToolSpec

LAST = 4
"""Turns that a small model is shown while it chooses and fills in."""
NEAR = 3
"""Lessons that a small model is shown in a question, those nearest to the request."""
_EAGER = 2.0
"""By how much (natural logarithm) a first call is preferred to none."""


def sources(view: View, instruction: str = "") -> list[Source]:
    """What was seen in an episode: what its maker says, the request, what people said, what calls gave, what the
    environment shows."""
    found: list[Source] = [("instruction", instruction), ("request", view.request)]
    found += [("said", text) for text in view.heard]
    found += [(f"event {call.seq}", call.text or "") for turn in view.turns for call in turn.calls]
    return [*found, ("percept", canonical(view.percept))] if view.percept is not None else found


def known(view: View) -> str:
    """The lessons nearest to the request, as lines."""
    near = ranked(view.request, [lesson["text"] for lesson in view.lessons])[:NEAR]
    return "\n".join(["Learned before:", *(f"- {view.lessons[at]['text']}" for at in near)]) if near else ""


async def decide_staged(
    view: View, model: Model, staging: Staging, instruction: str, sampling: Sampling, window: Window = WHOLE
) -> Decision | None:
    """The next call; None: all is done, or none of the tools is right, and the answer is to be said (one conversation
    says it itself).

    A tool that may not be called any more, whose call was masked, or that would need what was never seen is no choice.
    Arguments that cannot be read are told once; the same again ends the episode without an output, as it would go on
    like that to its limit. Raises Spent where the limits leave too little.
    """
    asked: list[str] = []

    async def say(said: tuple[Message, ...], form: ResponseFormat) -> Reply:
        reply, request = await ask(view, model, said, sampling, offer=form)
        asked.append(request)
        return reply

    async def weigh(requests: Sequence[ScoreRequest]) -> Sequence[Scores]:
        allowance = view.limits.allowance(view)
        if allowance is not None and sum(model.count(request.messages) for request in requests) > allowance:
            raise Spent("tokens")
        asked.extend(digest([encode(request), model.fingerprint]) for request in requests)
        return await model.score(requests)

    seen = sources(view, instruction)
    tools = offered(view, seen)
    turns: tuple[Message, ...] = ()
    if staging.prompt == "turns":
        first = staged_opening(view, instruction, besides(view.tools, staging, 0.0))
        turns = joined(
            messages(view, first, model, sampling.max_tokens, window, lambda turn: staged_turn(turn, view.tools))
        )
    stages = Stages(say, weigh, staging, turns, known(view))
    if staging.none == "words" and view.percept is None and not view.turns and relevance(view.request, tools) < 0:
        return None
    context = "\n".join(shown(turn) for turn in view.turns[-LAST:])
    while tools:
        name = await stages.choose(view.request, tools, context=context, finish=_finish(view, tools))
        if name == ASK:
            question = Message("system", instruction), Message("user", _question(view, context))
            reply = await say(_begun(turns, free(ASK, view.tools)) or question, ResponseFormat())
            return Decision(ask=reply.text.strip() or "What do you want?", request=digest(asked), reply=reply.text)
        if name == FINISH:
            if not turns:
                return None
            reply = await say(_begun(turns, free(FINISH, view.tools)), ResponseFormat())
            return replace(finish(reply.text.strip()), request=digest(asked), reply=reply.text)
        tool = next(tool for tool in tools if tool.name == name)
        chosen = await stages.fill(view.request, tool, seen, context=context)
        if chosen.broken or chosen.call is None:
            again = bool(view.turns) and not view.turns[-1].calls and view.turns[-1].thought == chosen.broken
            return Decision(thought=chosen.broken, request=digest(asked), reply=chosen.reply, finished=again)
        call = chosen.call
        if (signature(call.tool, call.arguments), view.state) not in view.masked:
            return replace(Decision((call,), thought=chosen.thought, reply=chosen.reply), request=digest(asked))
        tools.remove(tool)
    return None


def _begun(turns: tuple[Message, ...], name: str) -> tuple[Message, ...]:
    """The conversation with the first word of the next reply; without one: nothing."""
    return (*turns, Message("assistant", f"{name}\n")) if turns else ()


def offered(view: View, seen: Sequence[Source]) -> list[ToolSpec]:
    """The tools that may be called now: all that they need was seen, and their limits are not reached."""
    most = view.limits.calls
    return [
        tool
        for tool in callable_tools(view.tools, seen)
        if view.calls.get(tool.name, 0) < most.get(tool.name, float("inf"))
    ]


def _finish(view: View, tools: Sequence[ToolSpec]) -> float:
    """What finishing weighs by words. Before the first call that was made: little, where a tool shares a word with the
    request (it was given to be used). Then as much as the best tool, and more after two calls of one tool in a row."""
    made = [call for turn in view.turns for call in turn.calls if not call.refused]
    if not made:
        return first_finish(view.request, tools)
    best = max(lexical(view.request, tools), default=0.0)
    return best + (1.0 if len(made) > 1 and made[-1].tool == made[-2].tool else 0.0)


def first_finish(request: str, tools: Sequence[ToolSpec]) -> float:
    """What finishing weighs by words before the first call."""
    return -_EAGER if max(lexical(request, tools), default=0.0) > 0 else 0.0


def _question(view: View, context: str) -> str:
    return f"{view.request}\n{context}\n\nWhat do you still need to know? Ask one question."
