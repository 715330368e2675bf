"""Calls in stages: what cannot be named, what is narrowed, how a policy uses them."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from typing import Any

import pytest

from rung.agents.calls.call import Stages, Staging, closed, forced, free, parse
from rung.agents.calls.chooser import best, combine, question, weights
from rung.agents.calls.relevance import counts, learn, relevance
from rung.agents.calls.seen import copied, facts, narrow, unseen, values
from rung.agents.calls.shortlist import lexical, shortlist
from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.policies.llm import Llm
from rung.agents.program.program import AgentProgram
from rung.agents.tools.function import tool
from rung.core.errors import InputError
from rung.core.types import Message, Reply, Request, ResponseFormat, ScoreRequest, Scores, ToolSpec
from rung.core.types.trail import MemoryTrail
from rung.models.engine.closed.grammar import reader
from rung.models.providers.fake import Fake


def spec(name: str, about: str, /, required: tuple[str, ...] = (), **properties: Any) -> ToolSpec:
    return ToolSpec(name, about, {"type": "object", "properties": properties, "required": list(required)})


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
TOOLS = (
    spec("weather.forecast", "Tell the weather of a city.", ("city",), days=NUMBER, city=TEXT),
    spec("convertCurrency", "Convert an amount of money.", ("amount",), amount=NUMBER, currency=TEXT),
    spec("book_table", "Reserve a table in a restaurant.", ("guests",), guests=NUMBER),
    spec("play_music", "Play a song."),
)


def test_words_find_the_tool_behind_its_spelling() -> None:
    for request, at in (
        ("What is the weather in Oslo?", 0),
        ("which currency", 1),
        ("a table for 4", 2),
        ("a song", 3),
    ):
        scores = lexical(request, TOOLS)
        assert best(scores) == at, request
    assert lexical("zzz", TOOLS) == [0.0] * 4
    assert [one.name for one in shortlist("music and money", TOOLS, 2)] == ["convertCurrency", "play_music"]
    assert shortlist("music", TOOLS, 0) == list(TOOLS)
    assert lexical("anything", ()) == []


def test_what_a_model_likes_anyway_is_taken_off() -> None:
    words, given, empty = [0.0, 1.0, 0.0], [-0.1, -2.0, -4.0], [-0.1, -3.0, -4.5]
    assert best(combine("score", words, given, empty)) == 0
    assert best(combine("calibrated", words, given, empty)) == 1
    assert best(combine("lexical", words, given, empty)) == 1
    assert best(combine("fused", [3.0, 0.0, 0.0], given, empty)) == 0
    hidden = combine("calibrated", words, [-0.1, float("-inf"), -3.0], [float("-inf"), -1.0, -1.0])
    assert hidden[1] == float("-inf")
    assert hidden[0] > 0


async def test_a_tool_that_is_not_there_cannot_be_named() -> None:
    """1,000 prompts that ask for other names, and a model that would say anything."""
    draw = random.Random(5)

    def rule(request: Request) -> str:
        return json.dumps({"tool": "launch_rockets", "name": "launch_rockets"})

    model = Fake(rule)

    async def say(said: Any, form: Any) -> Reply:
        return (await model.generate([Request(said, form=form)]))[0]

    for chooser in ("lexical", "score", "calibrated", "fused"):
        stages = Stages(say, model.score, Staging(chooser=chooser, shortlist=draw.choice((0, 3))))
        for _ in range(250):
            offered = tuple(draw.sample(TOOLS, draw.randint(1, 4)))
            noise = "".join(draw.choice(string.printable + "äß漢字\u200b") for _ in range(draw.randint(0, 80)))
            words = draw.choice(("call launch_rockets", "use delete_all now", "FINISH", "{}", ""))
            finish = draw.choice((None, 0.0, 2.0))
            name = await stages.choose(f"{words} {noise}", offered, context=noise, finish=finish)
            assert name in {one.name for one in offered} | ({"finish"} if finish is not None else set())
    with pytest.raises(InputError):
        await stages.choose("x", ())


async def test_tools_named_like_the_other_choices() -> None:
    tools = (spec("finish", "Finish a marathon."), spec("finish_", "Sand the wood."))
    assert free("finish", tools) == "finish__"
    model = Fake()
    lines = ["- finish__: done"]
    others = [("finish__", "done", 0.0)]
    scores = await weights("fused", model.score, "marathon", tools, lambda text: question(text, tools, lines), others)
    assert best(scores) == 0


def test_words_say_whether_any_tool_is_right() -> None:
    tools = (
        ToolSpec("weather.forecast", "Get the weather forecast for a city.", {"type": "object", "properties": {"city": {"type": "string"}}}),
        ToolSpec("triangleArea", "Compute the area of a triangle.",
                 {"type": "object", "properties": {"base": {"type": "number"}}, "required": ["base"]}),
    )  # fmt: skip
    assert relevance("What will the weather forecast be for the city of Oslo tomorrow?", tools) > 0
    assert relevance("Who wrote the novel Middlemarch?", tools) < 0
    asked = "Area of a triangle with base {}?"
    assert relevance(asked.format("5"), tools) > relevance(
        asked.format("unknown"), tools
    )  # a number that it needs is missing
    assert counts("Anything?", ()) == (0.0, 0.0, 1.0, 0.0)
    right = [counts(f"Show the weather forecast of {city}", tools) for city in ("Rome", "Lima", "Bonn")]
    wrong = [counts(f"Tell me a joke about {thing}", tools) for thing in ("cats", "the moon and stars", "tea")]
    found = learn([*right, *wrong], [True] * 3 + [False] * 3)
    assert (
        relevance("Show the weather forecast of Bern", tools, found)
        > 0
        > relevance("A joke about rain, please", tools, found)
    )


async def test_arguments_that_leave_no_choice_are_not_asked_for() -> None:
    async def say(said: Any, form: Any) -> Reply:
        raise AssertionError("nothing is to be said")

    properties = {"id": {"type": "string", "x-seen": "/T-[0-9]+/"}, "kind": {"enum": ["plain"]}}
    tool = ToolSpec("look", "Look.", {"type": "object", "properties": properties, "required": ["id", "kind"]})
    chosen = await Stages(say, Fake().score, Staging()).fill("Look at T-7.", tool, [("request", "Look at T-7.")])
    assert chosen.call is not None
    assert chosen.call.arguments == {"id": "T-7", "kind": "plain"}
    assert forced(closed({**tool.schema, "required": ["id"]}, "all")) is None


def test_values_that_were_seen() -> None:
    sources = [
        ("request", "Order #W0000001, write to ann@example.org by 2026-12-01, cost 12.50, the 'red one'"),
        ("event 3", json.dumps({"orders": [{"order_id": "#W7", "item_ids": ["81", "82"]}, {"order_id": "#W8"}]})),
    ]
    assert values("email", sources) == {"ann@example.org": "request"}
    assert values("date", sources) == {"2026-12-01": "request"}
    assert "12.50" in values("number", sources)
    given = [("x", "T-100003 of 2026-12-01, O-7: 3 or -4.5, 10%, v2, 1.2.3")]
    assert list(values("number", given)) == ["3", "-4.5", "10"]  # no parts of ids, dates and versions
    assert values("quoted", sources[:1]) == {"red one": "request"}
    assert values("/#W[0-9]+/", sources) == {"#W0000001": "request", "#W7": "event 3", "#W8": "event 3"}
    assert values("order_id", sources) == {"#W7": "event 3", "#W8": "event 3"}
    assert values("item_id", sources) == {"81": "event 3", "82": "event 3"}
    assert values("order_id", [("request", "[" * 100_000)]) == {}


def test_an_unseen_value_cannot_be_spelled() -> None:
    schema = {
        "type": "object",
        "properties": {
            "order": {"type": "string", "x-seen": "/#W[0-9]+/"},
            "items": {"type": "array", "items": {"type": "string", "x-seen": "item_id"}},
            "count": {"type": "integer", "x-seen": "number"},
        },
        "required": ["order"],
    }
    assert narrow(schema, [("request", "nothing here")]) is None
    narrowed = narrow(schema, [("request", "order #W5, 3 of it, 2.5 kg")])
    assert narrowed is not None
    assert narrowed["properties"] == {"order": {"enum": ["#W5"]}, "count": {"enum": [3]}}
    sources = [("request", "#W5"), ("event 2", '{"item_id": "9"}')]
    assert unseen(schema, {"order": "#W5", "items": ["9"]}, sources) == ""
    assert "'#W6' was never seen" in unseen(schema, {"order": "#W6"}, sources)
    assert "look it up first" in unseen(schema, {"order": "#W5", "items": ["9", "8"]}, sources)


def test_free_texts_spell_only_facts_that_were_seen() -> None:
    order = json.dumps({"order_id": "O-48", "amount": 52.4, "day": "2026-01-15", "to": "ann@example.org"})
    given = [("instruction", "Within 30 days."), ("event 3", order), ("said", "It is #W7, -4.5 or (x2).")]
    assert facts(given) == ["30", "O-48", "52.4", "52.40", "2026-01-15", "ann@example.org", "W7", "4.5", "4.50", "x2"]
    schema = {"properties": {"text": {"type": "string", "maxLength": 9}, "day": {"enum": ["3"]}}, "required": ["text"]}
    held = closed(copied({"type": "object", **schema}, given), "all")
    assert held["properties"]["day"] == {"enum": ["3"]}
    assert held["properties"]["text"].keys() == {"type", "pattern"}
    may = reader(ResponseFormat("json", schema=held))
    for text, seen in (
        ("52.40 is given back for O-48.", True),
        ("Ünder 30 days: 2026-01-15, O-48", True),
        ('He said "no" to ann@example.org', True),
        ("", True),
        ("52.4052.40", False),
        ("O-30", False),
        ("O-489", False),
        ("1 day", False),
        ("joann@example.org", False),
        ("bob@example.org", False),
    ):
        assert may(json.dumps({"text": text, "day": "3"}, ensure_ascii=False)) == seen, text
    none = closed(copied({"type": "object", **schema}, []), "required")
    assert reader(ResponseFormat("json", schema=none))('{"text": "no number"}')
    assert not reader(ResponseFormat("json", schema=none))('{"text": "1"}')


async def test_one_conversation_only_grows() -> None:
    """Each stage goes on with the turns before it, so that what was computed is not computed again."""

    def rule(request: Request) -> str:
        last = request.messages[-1].content
        return "all 5" if last == "finish\n" else '{"a": 2, "b": 3}' if last == "add\n" else "{}"

    model = Fake(rule)
    scored: list[tuple[Message, ...]] = []

    async def score(requests: Sequence[ScoreRequest]) -> list[Scores]:
        scored.extend(request.messages for request in requests)
        wish = "finish" if len(scored) == 2 else "add"
        return [
            Scores(tuple(0.0 if one == wish else -9.0 for one in request.candidates), request.candidates.index(wish))
            for request in requests
        ]

    model.score = score  # type: ignore[method-assign]
    staging = Staging(chooser="score", prompt="turns", facts="seen", none="model")
    program = AgentProgram(Llm(model, "Add up.", staging=staging), tools=(f"python:{__file__}:add", "calculator"))
    view = await Episode(program.agent(), "e", MemoryTrail()).run(Start("What is 2 + 3?"))
    assert view.ended is not None
    assert view.ended["output"] == "all 5"
    first, second = scored
    assert second[: len(first)] == first
    assert [message.content for message in second[len(first) :]] == ['add\n{"a": 2, "b": 3}', "5"]
    assert "- add(a, b)" in first[0].content
    assert "- finish" in first[0].content
    assert first[1].content == "What is 2 + 3?"
    with pytest.raises(InputError):
        Staging(prompt="turns", thought=True)
    with pytest.raises(InputError):
        Staging(facts="some")  # type: ignore[arg-type]


def test_what_a_decoder_gets() -> None:
    schema = {
        "type": "object",
        "properties": {
            "note": {"type": "string", "x-seen": "quoted", "optional": True},
            "where": {"type": "object", "properties": {"x-seen": {"type": "string", "odd": 1}}},
        },
        "required": ["where"],
    }
    made = closed(schema, "all")
    assert list(made["properties"]) == ["where", "note"]
    assert made["properties"]["note"] == {"type": "string"}
    assert made["properties"]["where"]["properties"] == {"x-seen": {"type": "string"}}
    assert made["required"] == ["where"]
    assert list(closed(schema, "required")["properties"]) == ["where"]
    assert closed({}, "all")["properties"] == {}
    assert parse(Reply('{"a": 1}'), "t") == ({"a": 1}, "")
    assert "were cut" in parse(Reply('{"a": ', "length"), "t")[1]
    for bad in ("[1]", "NaN", "", "[" * 50_000):
        assert parse(Reply(bad), "t")[0] == {}
    with pytest.raises(InputError):
        Staging(chooser="best")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        Staging(shortlist=-1)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def greet(name: str) -> str:
    """Say hello to a person."""
    return f"Hello, {name}."


def obliging(request: Request) -> str:
    return '{"a": 2, "b": 3}' if request.form.kind == "json" else "It is 5."


async def played(policy: Llm, request: str, **limits: Any) -> Any:
    program = AgentProgram(policy, limits=EpisodeLimits(**{"steps": 4, **limits}))
    program.__dict__["opened"] = (tool(add), tool(greet))
    return await Episode(program.agent(), "e", MemoryTrail()).run(Start(request))


async def test_a_model_without_calls_of_its_own_calls_in_stages() -> None:
    view = await played(Llm(Fake(obliging)), "add the numbers 2 and 3")
    assert [(call.tool, call.text) for call in view.turns[0].calls] == [("add", "5")]
    assert view.ended is not None
    model = Fake(lambda _: "{")
    view = await played(Llm(model), "add the numbers 2 and 3", steps=2)
    assert view.turns[0].calls == []
    assert "no JSON object" in view.turns[0].thought
    view = await played(Llm(Fake(obliging), calls="native"), "add 2 and 3")
    assert not view.turns[0].calls


async def test_stages_keep_to_limits() -> None:
    view = await played(Llm(Fake(obliging)), "add the numbers 2 and 3", calls={"add": 1, "greet": 0})
    assert view.calls == {"add": 1}
    view = await played(Llm(Fake(obliging)), "add the numbers 2 and 3", tokens=150, reserve=60)
    assert view.usage.tokens <= 150
    with pytest.raises(InputError):
        Llm(Fake(obliging), calls="never")  # type: ignore[arg-type]
