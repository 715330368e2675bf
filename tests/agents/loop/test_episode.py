"""The loop: what it writes down and when, what it does after a crash, where it stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import Call, Decision, act, finish
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.tools.function import tool
from rung.agents.trace.replay import replay
from rung.core.errors import BudgetExceeded, InputError, ServerError
from rung.core.parts.meter import metered, report
from rung.core.protocols import Effect
from rung.core.types import Budget, Usage
from rung.core.types.trail import Driver, Event, Fenced, MemoryTrail


@dataclass
class Follow:
    """Does what a function of the view says."""

    rule: Callable[[View], Decision]
    asked: int = 0

    async def decide(self, view: View) -> Decision:
        self.asked += 1
        return self.rule(view)


@dataclass
class World:
    """A ledger with tools of every effect; a key is taken once."""

    entries: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def tools(self, effect: Effect = "keyed") -> Toolset:
        def post(text: str, key: str) -> str:
            self.calls.append(key)
            self.entries.setdefault(key, text)
            return f"posted {text}"

        def look() -> str:
            return str(len(self.entries))

        return Toolset([tool(post, effect=effect), tool(look)])


def counting(n: int) -> Callable[[View], Decision]:
    return lambda view: finish("done") if view.steps >= n else act("post", text=f"entry {view.steps}")


def kinds(events: Sequence[Event]) -> str:
    return " ".join(event.kind for event in events)


async def test_decision_and_call_are_written_before_the_call() -> None:
    trail, world = MemoryTrail(), World()
    seen: list[str] = []
    tools = world.tools()
    inner = tools.call

    async def spy(*given: Any) -> Any:
        seen.append(kinds(trail.read("e")))
        return await inner(*given)

    tools.call = spy  # type: ignore[method-assign, assignment]
    view = await Episode(Agent(Follow(counting(2)), tools), "e", trail).run(Start("go"))
    assert seen == ["begun said called", "begun said called observed said called"]
    assert kinds(trail.read("e")) == "begun said called observed said called observed said ended"
    assert view.ended == {"output": "done", "stopped": "", "verdict": None}
    assert list(world.entries.values()) == ["entry 0", "entry 1"]


async def died_after(n: int, effect: Effect, rule: Callable[[View], Decision]) -> tuple[MemoryTrail, World]:
    """A trail of which a crash has left ``n`` events, and the world as it was left."""
    whole, world = MemoryTrail(), World()
    await Episode(Agent(Follow(rule), world.tools(effect)), "e", whole).run(Start("go"))
    kept = MemoryTrail()
    await kept.append(whole.read("e")[:n], Driver(""))
    return kept, world


@pytest.mark.parametrize("n", [1, 3, 6])
async def test_a_keyed_call_is_made_again_with_its_key_and_nothing_is_asked_again(n: int) -> None:
    trail, world = await died_after(n, "keyed", counting(3))
    policy = Follow(counting(3))
    view = await Episode(Agent(policy, world.tools()), "e", trail).run(Start("go"))
    assert view.ended is not None
    assert list(world.entries.values())[:1] == ["entry 0"]
    assert policy.asked == 4 - (n > 1) - (n > 4)
    made = [event.payload["key"] for event in trail.read("e") if event.kind == "called"]
    assert len(set(made)) == len(made) == 3


async def test_a_call_that_must_not_be_repeated_waits_for_a_person() -> None:
    trail, world = await died_after(3, "once", counting(2))
    before = list(world.calls)
    agent = Agent(Follow(counting(2)), world.tools("once"))
    view = await Episode(agent, "e", trail).run(Start("go"))
    assert "outcome is not known" in view.waiting
    assert world.calls == before
    last = trail.read("e")[-1].seq
    await trail.append([Event("e", last + 1, "steered", {"do": "say", "text": "It was posted."}, 0.0)])
    view = await Episode(agent, "e", trail).run(Start("go"))
    assert view.ended is not None
    assert view.turns[0].calls[0].text == "It was posted."


async def test_a_tool_that_can_tell_is_asked_instead() -> None:
    trail, world = await died_after(3, "once", counting(1))
    tools = world.tools("once")

    async def probe(name: str, key: str) -> str | None:
        return world.entries.get(key)

    tools.probe = probe  # type: ignore[method-assign]
    view = await Episode(Agent(Follow(counting(1)), tools), "e", trail).run(Start("go"))
    assert view.turns[0].calls[0].text == "entry 0"


async def test_an_ended_episode_is_not_begun_again() -> None:
    trail, world = MemoryTrail(), World()
    policy = Follow(counting(1))
    await Episode(Agent(policy, world.tools()), "e", trail).run(Start("go"))
    asked = policy.asked
    view = await Episode(Agent(policy, world.tools()), "e", trail).run(Start("go"))
    assert (view.ended or {})["output"] == "done"
    assert policy.asked == asked


async def test_the_second_of_two_drivers_stops() -> None:
    trail, world = MemoryTrail(), World()

    async def usurp(view: View) -> Decision:
        if view.steps == 1:
            top = trail.read("e")[-1].seq
            await trail.append([Event("e", top + 1, "resumed", {}, 0.0)])
        return counting(3)(view)

    policy = Follow(counting(3))
    policy.decide = usurp  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        await Episode(Agent(policy, world.tools()), "e", trail).run(Start("go"))


@pytest.mark.parametrize(("do", "ended"), [("say", True), ("pause", False), ("stop", True)])
async def test_a_persons_word_takes_back_what_was_decided_without_it(do: str, ended: bool) -> None:
    trail, world = MemoryTrail(), World()
    heard: list[list[str]] = []

    async def decide(view: View) -> Decision:
        heard.append(list(view.said))
        if view.steps == 1:
            top = trail.read("e")[-1].seq
            await trail.append([Event("e", top + 1, "steered", {"do": do, "text": "stop posting"}, 0.0)])
        return finish("obeyed") if "stop posting" in view.said else counting(5)(view)

    policy = Follow(counting(5))
    policy.decide = decide  # type: ignore[method-assign]
    agent = Agent(policy, world.tools())
    view = await Episode(agent, "e", trail).run(Start("go"))
    assert list(world.entries.values()) == ["entry 0"]
    assert (view.ended is not None) is ended
    if do == "pause":
        assert view.paused
        top = trail.read("e")[-1].seq
        await trail.append([Event("e", top + 1, "steered", {"do": "resume"}, 0.0)])
        view = await Episode(agent, "e", trail).run(Start("go"))
        assert view.ended is not None
    assert [event.seq for event in trail.read("e")] == list(range(len(trail.read("e"))))


async def test_seconds_are_a_stopwatch_s_and_go_on_over_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps by a day at every look, a person answers after a week, and the episode ends after its 5 seconds of work."""
    wall, stopwatch = [1e9], [0.0]

    def jump() -> float:
        wall[0] += 86_400 if len(world.entries) % 2 else -86_400
        return wall[0]

    def work(view: View) -> Decision:
        stopwatch[0] += 1.0
        return act("post", text=f"entry {view.steps}")

    trail, world = MemoryTrail(), World()
    monkeypatch.setattr("rung.agents.loop.log.time.time", jump)
    monkeypatch.setattr("rung.agents.loop.log.time.monotonic", lambda: stopwatch[0])
    agent = Agent(Follow(work), world.tools(), limits=EpisodeLimits(seconds=5.0))
    first = Episode(agent, "e", trail, lambda event: setattr(first, "leave", first.view.steps > 2))
    view = await first.run(Start("go"))
    assert view.ended is None
    assert view.seconds == 3.0
    last = trail.read("e")[-1]
    await trail.append([Event("e", last.seq + 1, "steered", {"do": "say", "text": "Go on."}, last.at + 604_800)])
    stopwatch[0] = 7e6
    view = await Episode(agent, "e", trail).run(Start("go"))
    assert view.ended is not None
    assert view.ended["stopped"] == "seconds"
    assert view.seconds == 5.0
    assert len(world.entries) == 5


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_stamps_follow_a_clock_that_is_set_and_the_span_is_no_work(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    clock, stopwatch = [1e9], [0.0]

    def work(view: View) -> Decision:
        stopwatch[0] += 1.0
        clock[0] += 1.0 + (jump if view.steps == 2 else 0.0)
        return act("post", text=f"entry {view.steps}") if view.steps < 4 else finish("done")

    monkeypatch.setattr("rung.agents.loop.log.time.time", lambda: clock[0])
    monkeypatch.setattr("rung.agents.loop.log.time.monotonic", lambda: stopwatch[0])
    trail, world = MemoryTrail(), World()
    agent = Agent(Follow(work), world.tools())
    view = await Episode(agent, "e", trail).run(Start("go"))
    events = trail.read("e")
    assert [event.payload for event in events if event.kind == "resumed"] == [{"clock": jump}]
    assert abs(events[-1].at - clock[0]) < 1
    assert view.seconds == 5.0
    assert await replay(agent, events) is None


@pytest.mark.parametrize("limits", [{"steps": 3}, {"tokens": 300, "reserve": 50}, {"money": 0.25}, {"seconds": 0.0}])
async def test_every_limit_ends_with_what_there_is(limits: dict[str, Any]) -> None:
    def decide(view: View) -> Decision:
        report(Usage(1, 80, 20, money=0.1))
        return act("post", text=str(view.steps))

    @dataclass
    class Closes(Follow):
        async def conclude(self, view: View) -> Any:
            return f"after {view.steps}"

    agent = Agent(Closes(decide), World().tools(), limits=EpisodeLimits(**limits))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    assert view.ended is not None
    assert view.ended["stopped"] == next(iter(limits))
    assert view.ended["output"].startswith("after")
    assert view.usage.tokens <= 300
    assert view.usage.money <= 0.31


async def test_nothing_is_allowed_where_the_limit_is_nothing() -> None:
    policy = Follow(counting(3))
    view = await Episode(Agent(policy, World().tools(), limits=EpisodeLimits(steps=0)), "e", MemoryTrail()).run(
        Start("go")
    )
    assert (view.ended or {})["stopped"] == "steps"
    assert policy.asked == 0
    limits = EpisodeLimits(calls={"post": 1})
    view = await Episode(Agent(Follow(counting(3)), World().tools(), limits=limits), "e", MemoryTrail()).run(
        Start("go")
    )
    assert [call.refused for turn in view.turns for call in turn.calls] == [False, True, True]


@pytest.mark.parametrize(
    "bad", [{"steps": -1}, {"tokens": float("nan")}, {"money": "a"}, {"steps": None}, {"calls": {"x": -1}}]
)
def test_limits_that_are_none_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EpisodeLimits(**bad)


@pytest.mark.parametrize(
    "rule",
    [
        lambda view: act("look"),
        lambda view: act("post", text="ab"[view.steps % 2]),
        lambda view: act("post", text="the very same long sentence again and again, number " + str(view.steps)),
    ],
)
async def test_going_round_in_circles_ends(rule: Callable[[View], Decision]) -> None:
    world = World()
    agent = Agent(Follow(rule), world.tools(), limits=EpisodeLimits(steps=40))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    assert (view.ended or {})["stopped"] == "loop"
    assert view.steps <= 12
    looks = [call for turn in view.turns for call in turn.calls if call.tool == "look" and not call.refused]
    assert len(looks) <= 4


async def test_a_volatile_tool_may_be_asked_again() -> None:
    wait = tool(lambda: "not yet", name="wait", volatile=True)
    agent = Agent(Follow(lambda view: act("wait")), Toolset([wait]), limits=EpisodeLimits(steps=20))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    assert (view.ended or {})["stopped"] == "steps"


async def test_calls_that_cannot_be_are_told_and_not_made() -> None:
    moves = [
        act("pots", text="a"), act("post"), act("post", text=3), act("post", text="a", more=1), act("post", _raw="{"),
    ]  # fmt: skip
    world = World()
    agent = Agent(Follow(lambda view: moves[view.steps] if view.steps < 5 else finish()), world.tools())
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    told = [call.text or "" for turn in view.turns for call in turn.calls]
    assert len(told) == 5
    assert all(call.refused for turn in view.turns for call in turn.calls)
    assert "did you mean post?" in told[0]
    assert world.calls == []


async def test_what_a_tool_does_wrong_is_an_observation() -> None:
    async def never() -> str:
        import asyncio

        await asyncio.sleep(60)
        return ""

    def fails() -> str:
        raise ValueError("no")

    tools = Toolset(
        [tool(never), tool(fails), tool(lambda: "x\x00\ud800" * 50_000, name="much"), tool(lambda: None, name="none")]
    )
    names = ["never", "fails", "much", "none"]
    limits = EpisodeLimits(wait=0.01, bytes=1000)
    agent = Agent(Follow(lambda view: act(names[view.steps]) if view.steps < 4 else finish()), tools, limits=limits)
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    calls = [turn.calls[0] for turn in view.turns[:4]]
    assert [call.refused for call in calls] == [True, True, False, False]
    assert len((calls[2].text or "").encode()) < 1100
    assert "\x00" not in (calls[2].text or "")


async def test_calls_without_effects_are_made_side_by_side() -> None:
    import asyncio

    running, most = 0, 0

    async def slow(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return n

    moves = [Decision(tuple(Call("slow", {"n": n}) for n in range(3))), finish()]
    agent = Agent(Follow(lambda view: moves[view.steps]), Toolset([tool(slow)]))
    view = await Episode(agent, "e", MemoryTrail()).run(Start("go"))
    assert most == 3
    assert [call.text for call in view.turns[0].calls] == ["0", "1", "2"]


async def test_an_outer_budget_and_a_model_that_fails_leave_the_episode_open() -> None:
    def fails(view: View) -> Decision:
        if view.steps == 1:
            raise ServerError("away")
        return counting(2)(view)

    trail, world = MemoryTrail(), World()
    with pytest.raises(ServerError):
        await Episode(Agent(Follow(fails), world.tools()), "e", trail).run(Start("go"))
    view = await Episode(Agent(Follow(counting(2)), world.tools()), "e", trail).run(Start("go"))
    assert view.ended is not None
    assert list(world.entries.values()) == ["entry 0", "entry 1"]

    def spends(view: View) -> Decision:
        from rung.core.parts.meter import check

        check()
        report(Usage(1, 100, 0))
        return act("post", text=str(view.steps))

    with metered(Budget(tokens=150)), pytest.raises(BudgetExceeded):
        await Episode(Agent(Follow(spends), World().tools()), "f", trail).run(Start("go"))


def test_tools_that_cannot_be_are_refused() -> None:
    one = tool(lambda: "", name="same")
    with pytest.raises(InputError) as raised:
        Toolset([one, one])
    assert raised.value.code == "tool-twice"

    @dataclass
    class Odd:
        schema: Any
        name: str = "odd"
        description: str = ""
        effect: Effect = "pure"
        returns: Any = "trusted"
        volatile: bool = False

        async def call(self, arguments: Any, *, key: str) -> str:
            return ""

    for schema in ({"type": dict}, {"type": "array"}, {"type": "object", "properties": 3}):
        with pytest.raises(InputError) as raised:
            Toolset([Odd(schema)])
        assert raised.value.code == "tool-schema"
    loop = {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}
    assert Toolset([Odd(loop)]).complaint(Call("odd", {"a": 1}))
    many = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(200)}}
    assert Toolset([Odd(many)]).complaint(Call("odd", {"p7": "x"})) == ""
