"""Past episodes: who keeps them, and what a small model is shown of them."""

from __future__ import annotations

from rung.agents.calls.call import Staging
from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.log import Agent
from rung.agents.loop.move import Call
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.memory.episodic import EpisodicMemory, lesson
from rung.agents.policies.given.scripted import Scripted
from rung.agents.policies.staged import NEAR, decide_staged
from rung.agents.tools.function import tool
from rung.core.types import Sampling
from rung.core.types.trail import MemoryTrail
from tests.agents.script import Script


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def play(memory: EpisodicMemory, trail: MemoryTrail, id: str) -> View:
    policy = Scripted(({"tool": "add", "arguments": {"a": 1, "b": 2}},))
    return await Episode(Agent(policy, Toolset((tool(add),)), memory=memory), id, trail).run(Start("Add one and two."))


async def test_an_agent_that_does_not_learn_recalls_what_others_kept() -> None:
    trail = MemoryTrail()
    first = await play(EpisodicMemory(learns=False), trail, "a")
    await play(EpisodicMemory(), trail, "b")
    second = await play(EpisodicMemory(learns=False), trail, "c")
    assert first.lessons == ()
    (known,) = second.lessons
    assert known["source"].startswith("b#")


async def test_a_small_model_is_shown_the_lessons_nearest_to_the_request() -> None:
    case = {"calls": [{"tool": "add", "arguments": {"a": 1, "b": 2}}]}
    words = ("one apple", "two pears", "three plums", "four grapes", "nothing alike")
    given = tuple(lesson(f"Add {word} to it" if word != "nothing alike" else word, case) for word in words)
    model = Script(['{"a": 4, "b": 4}'])
    view = View((Toolset((tool(add),)).specs), request="Add four grapes to four", lessons=given)
    move = await decide_staged(view, model, Staging(chooser="lexical", none="model"), "", Sampling())
    assert move is not None
    assert move.calls == (Call("add", {"a": 4, "b": 4}),)
    shown = model.requests[0].messages[-1].content
    assert shown.index("Learned before:\n- Once, for a request like 'Add four grapes") < shown.index(
        "Request: Add four"
    )
    assert shown.count("- Once, for a request like") == NEAR
    assert "nothing alike" not in shown
