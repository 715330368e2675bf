"""Case-based decisions: what was right in the most similar past episode is done again, with what was read this time in
its place (Aamodt and Plaza 1994: retrieve, reuse)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rung.agents.loop.move import AgentPolicy, Call, Concluding, Decision, finish
from rung.agents.loop.view import Pending, View
from rung.agents.memory.episodic import fields, plain_words, spellings, words_of
from rung.agents.memory.memory import ranked
from rung.agents.policies.given.lexical import Lexical


@dataclass(frozen=True)
class Recalled:
    """Follows the case (memory ``episodic``) that began with the same tools and read most like this one; without such a
    case, or where its call cannot be made, ``inner`` decides."""

    name: ClassVar[str] = "recalled"

    inner: AgentPolicy = field(default_factory=Lexical)

    async def decide(self, view: View) -> Decision:
        done = [call for turn in view.turns for call in turn.calls if not call.refused]
        cases = [lesson for lesson in view.lessons if "case" in lesson]
        found = _nearest(cases, done, view.request)
        if found is None:
            return await self.inner.decide(view)
        calls = found["case"]["calls"]
        if len(calls) <= len(done):
            return finish(view.last_result, f"that was all in {found.get('source', 'a case')}")
        call = _again(calls[len(done)], view.request, done)
        failed = any(
            one.refused and one.tool == call.tool and one.arguments == call.arguments
            for turn in view.turns
            for one in turn.calls
        )
        if failed or view.complaint(call):
            return await self.inner.decide(view)
        return Decision((call,), thought=f"as in {found.get('source', 'a case')}")

    async def conclude(self, view: View) -> Any:
        return await self.inner.conclude(view) if isinstance(self.inner, Concluding) else view.last_result


def _nearest(cases: Sequence[Mapping[str, Any]], done: Sequence[Pending], request: str) -> Mapping[str, Any] | None:
    """The case that begins with the same tools and read what is most like what was read now."""
    same = [
        one
        for one in cases
        if len(one["case"]["calls"]) >= len(done)
        and all(step["tool"] == call.tool for step, call in zip(one["case"]["calls"], done, strict=False))
    ]
    read = " ".join([plain_words(request), *(plain_words(call.text or "") for call in done)])
    texts = [
        " ".join([one["case"]["request"], *(step["read"] for step in one["case"]["calls"][: len(done)])])
        for one in same
    ]
    order = ranked(read, texts)
    return same[order[0]] if order else None


def _again(step: Mapping[str, Any], request: str, done: Sequence[Pending]) -> Call:
    """The call of a case with this episode's values."""
    arguments = dict(step["arguments"])
    for name, origin in step["from"].items():
        if isinstance(origin, Mapping):
            text = arguments[name]
            for old, at, key, form in origin["parts"]:
                new = _value(request, done, at, key)
                text = text if new is None else text.replace(old, spellings(new)[form])
            arguments[name] = text
        elif (value := _value(request, done, *origin)) is not None:
            arguments[name] = value
    return Call(step["tool"], arguments)


def _value(request: str, done: Sequence[Pending], at: int, key: Any) -> Any:
    if at < 0:
        words = words_of(request)
        return words[key] if key < len(words) else None
    if at >= len(done):
        return None
    return next((value for name, value in fields(done[at].text or "") if name == key), None)
