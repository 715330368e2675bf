"""Research: a second search asks for what the first found, and every citation is characters of a document."""

from __future__ import annotations

import re

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.log import Agent
from rung.agents.loop.toolset import Toolset
from rung.agents.policies.given.research import Research
from rung.agents.tools.function import tool
from rung.core.errors import InputError
from rung.core.types.trail import MemoryTrail
from tests.agents.script import Script

DOCUMENTS = {
    "bridge.txt": "The old bridge was built in 1871.\nIts engineer was Marta Lindqvist. It is 240 metres long.",
    "people.txt": "Nobody knows much of her youth. Marta Lindqvist was born in Falun, a town of copper mines.",
    "other.txt": "Apples are harvested in autumn.",
}


def index_search(query: str, count: int = 5) -> str:
    """Search the documents."""
    words = set(re.findall(r"\w{4,}", query.casefold()))
    found = [name for name, text in DOCUMENTS.items() if words & set(re.findall(r"\w{4,}", text.casefold()))]
    shown = [(name, re.sub(r"\s", " ", DOCUMENTS[name][5:])) for name in found]
    return "\n".join(f"[{at}] {name} 5-{5 + len(text)}: {text}" for at, (name, text) in enumerate(shown, 1))


@pytest.mark.parametrize(("hops", "found"), [(1, False), (2, True)])
async def test_the_second_search_finds_what_the_first_only_names(hops: int, found: bool) -> None:
    agent = Agent(Research(hops=hops), Toolset([tool(index_search)]))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("Where did the engineer of the bridge grow up?"))
    assert view.ended is not None
    output = view.ended["output"]
    assert ("Falun" in output) == found
    body, _, sources = output.partition("\n\n")
    said = re.findall(r"(.*?) \[(\d+)\]\s?", body)
    cited = {
        number: (name, int(start), int(end))
        for number, name, start, end in re.findall(r"\[(\d+)\] (\S+) (\d+)-(\d+)", sources)
    }
    assert len(said) == len(cited) > 0
    for sentence, number in said:
        name, start, end = cited[number]
        assert re.sub(r"\s", " ", DOCUMENTS[name][start:end]) == sentence


@pytest.mark.parametrize(
    ("said", "answer"),
    [("falun.\nIt is a town", "falun [1]\n\n[1] people.txt"), ("Paris", "Marta Lindqvist was born in")],
)
async def test_a_models_words_are_taken_where_a_cited_sentence_has_them(said: str, answer: str) -> None:
    model = Script([said])
    agent = Agent(Research(model=model), Toolset([tool(index_search)]))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("Where did the engineer of the bridge grow up?"))
    assert view.ended is not None
    assert answer in view.ended["output"]
    assert "Paris" not in view.ended["output"]
    assert "Falun" in model.requests[0].messages[0].content


async def test_nothing_found_and_no_tool() -> None:
    agent = Agent(Research(), Toolset([tool(index_search)]))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("Xyzzy?"))
    assert view.ended is not None
    assert view.ended["output"] == "Nothing was found."
    with pytest.raises(InputError):
        await Episode(Agent(Research(), Toolset()), "f", MemoryTrail()).run(Start("Xyzzy?"))
