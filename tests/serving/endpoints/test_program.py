"""A served agent: a conversation is one episode, kept in the trail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rung.agents.policies.llm import Llm
from rung.agents.program.program import AgentProgram
from rung.core.types import ToolCall
from rung.core.types.trail import MemoryTrail
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.endpoints.local import Opened
from rung.serving.endpoints.program import ProgramEndpoint
from tests.agents.script import Script


def served(program: AgentProgram, trail: MemoryTrail) -> ProgramEndpoint:
    opened = Opened("helper", Path(), program, program.fields, "f", {}, None)
    return ProgramEndpoint(opened, 0, trail=trail)


async def ask(endpoint: ProgramEndpoint, *texts: str, live: bool = False, **more: Any) -> tuple[str, Any]:
    messages = [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]
    request = ChatRequest.model_validate({"model": "rung/helper", "messages": messages, "rung": True, **more})
    events = [event async for event in endpoint.reply(request, live=live)]
    assert isinstance(events[-1], ChatChoice)
    assert not live or isinstance(events[0], Piece)
    assert len(endpoint.heard(request)) == (1 if "input" in more else len(texts))
    return events[-1].text, events[-1].extension


@pytest.mark.parametrize("live", [False, True])
async def test_a_conversation_goes_on_in_one_episode(live: bool) -> None:
    trail = MemoryTrail()
    endpoint = served(AgentProgram(Llm(Script(["hello", "you said hi"]))), trail)
    assert (await ask(endpoint, "hi", live=live))[0] == "hello"
    text, extension = await ask(endpoint, "hi", "hello", "what did I say?", live=live)
    assert text == "you said hi"
    assert len(trail._events) == 1
    assert len(extension["steps"]) > 2


async def test_an_input_of_its_own_is_an_episode_of_its_own() -> None:
    trail = MemoryTrail()
    endpoint = served(AgentProgram(Llm(Script(["one", "two"]))), trail)
    assert (await ask(endpoint, "x", input="do it"))[0] == "one"
    assert next(iter(trail._events.values()))[-1].kind == "ended"


async def test_an_agent_that_waits_for_a_person_says_so(tmp_path: Path) -> None:
    policy = Llm(Script([ToolCall("1", "nothing", {})] * 3))

    class Asks(AgentProgram):
        async def converse(self, messages: Any, *, owner: str = "") -> Any:
            from rung.core.types import Answer, Failure

            return Answer(None, failure=Failure("waiting", "may I?", "waiting"))

    with pytest.raises(Refused) as refused:
        await ask(served(Asks(policy), MemoryTrail()), "hi")
    assert (refused.value.status, refused.value.code) == (409, "waiting_for_a_person")
