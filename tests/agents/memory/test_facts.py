"""What people say of themselves is kept in their words, by user, and found again."""

from __future__ import annotations

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.log import Agent
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.memory.episodic import EpisodicMemory, case_of
from rung.agents.memory.facts import FactMemory, facts_in
from rung.agents.policies.given.scripted import Scripted
from rung.core.types.trail import MemoryTrail


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("Hello. My name is Ada Berg. What can I eat?", ["My name is Ada Berg."]),
        ("I am allergic to nuts, please remember that! And I live in Cliffe.", ["I am allergic to nuts, please remember that!", "And I live in Cliffe."]),
        ("My sister's room is blue", []),
        ("Is my name on the list?", []),
        ("What is my name", []),
        ("Send it to bob@x.example. I prefer tea.", ["I prefer tea."]),
        ("", []),
        ("我叫王伟。", []),
    ],
)  # fmt: skip
def test_sentences_about_oneself(text: str, facts: list[str]) -> None:
    found = list(facts_in(text))
    assert [fact for fact, *_ in found] == facts
    assert all(text[begin:end] == fact for fact, begin, end, _ in found)


async def tell(request: str, trail: MemoryTrail, user: str, id: str) -> View:
    agent = Agent(Scripted(calls=(), output="fine"), Toolset(), memory=FactMemory(), identity=id)
    return await Episode(agent, id, trail).run(Start(request, user=user))


async def test_another_agent_knows_what_the_same_user_said_and_nobody_elses() -> None:
    trail = MemoryTrail()
    await tell("My name is Ada. I live in Cliffe.", trail, "ada", "one")
    await tell("My name is Bob.", trail, "bob", "two")
    await tell("My name is Ada Berg. I live in Cliffe.", trail, "ada", "three")
    view = await tell("Where do I live?", trail, "ada", "four")
    assert [lesson["text"] for lesson in view.lessons] == [
        "The user said: I live in Cliffe.",
        "The user said: My name is Ada Berg.",
    ]
    assert [lesson["source"] for lesson in view.lessons] == ["one#0", "three#0"]
    assert (await tell("Who am I?", trail, "eve", "five")).lessons == ()
    assert not any(event.payload.get("text") for event in trail.read("one") if event.kind == "learned")


async def test_facts_are_recalled_within_a_number_those_that_fit_first() -> None:
    trail = MemoryTrail()
    await tell(" ".join(f"I like number{at} things." for at in range(20)) + " I own a boat.", trail, "ada", "one")
    memory = FactMemory(most=3)
    found = memory.retrieve(trail.memories.of("ada", "facts"), "Tell me about my boat")
    assert "boat" in found[-1]["text"]
    assert len(found) == 3
    assert FactMemory(most=0).retrieve(trail.memories.of("ada"), "boat") == []


async def test_only_what_was_solved_becomes_a_case() -> None:
    view = View()
    assert EpisodicMemory().items(view, {"solved": False}, "e") == []
    assert EpisodicMemory().items(view, {"solved": True}, "e") == []
    assert case_of(view, [])["calls"] == []
