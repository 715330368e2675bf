"""A model that plays an environment in words: turns, returns, groups, and the same environment that agents are measured in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from rung.agents.environments.classes.gridworld import Gridworld
from rung.agents.environments.desk.intake import TURN, DeskIntake
from rung.alignment.runs.player import Drawing
from rung.alignment.runs.scene import TURNS, WRONG, Moves, ScenePlayer
from rung.core.types import Message, Reply, Request


@dataclass
class Scripted:
    """Says what it is told to, turn by turn; each character is a token."""

    lines: Sequence[str]
    asked: list[Request] = field(default_factory=list)
    key: str = "k"

    @property
    def model(self) -> Scripted:
        return self

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        return [ord(letter) for message in messages for letter in message.content]

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        self.asked += requests
        said = [self.lines[min((len(r.messages) - 2) // 2, len(self.lines) - 1)] for r in requests]
        return [Reply(text, ids=tuple(map(ord, text)), logprobs=(-1.0,) * len(text)) for text in said]


def player(environment: object, *lines: str, replies: int = 2) -> tuple[ScenePlayer, Scripted]:
    sampler = Scripted(lines)
    drawing = Drawing(prompts=2, replies=replies, max_tokens=8)
    return ScenePlayer(sampler, environment, ["3", "5"], ["1000001"], drawing), sampler  # type: ignore[arg-type]


async def test_each_reply_is_credited_with_what_came_from_it_on() -> None:
    made, _ = player(DeskIntake(), "Hello!", "Your order, email, address and name, please?")
    batch = await made.play(0)
    assert len(batch) == 2 * 2 * 2
    first, second = batch[0], batch[1]
    assert first.rewards[:-1] == (0.0,) * 5
    assert second.total == pytest.approx(1 - TURN)
    assert first.total == pytest.approx(1 - 2 * TURN)
    assert first.parts == {"return": pytest.approx(1 - 2 * TURN), "solved": 1.0, "turns": 2.0, "wrong": 0.0}
    assert {one.group for one in batch} == {0, 1, TURNS, TURNS + 1}
    assert len(second.context) > len(first.context)
    assert all(one.sampled == (-1.0,) * len(one.actions) for one in batch)


async def test_words_that_are_no_move_cost_and_change_nothing() -> None:
    made, _ = player(Gridworld(size=3, map=1), "what?")
    batch = await made.play(0)
    assert max(one.parts["wrong"] for one in batch) == TURNS
    assert batch[0].total == TURNS * WRONG
    assert await made.gold() == [TURNS * WRONG]
    assert made.length == TURNS * len("what?")


def test_the_first_move_that_is_named_is_made() -> None:
    moves = Moves(Gridworld())
    found = [moves.read(text) for text in ("Go South, then east.", "EAST", "upwards", "")]
    assert [call and call.arguments["to"] for call in found] == ["south", "east", None, None]
    assert Moves(DeskIntake()).read("  ") is None


async def test_seeds_differ_between_replies_and_are_the_same_again() -> None:
    made, sampler = player(DeskIntake(), "order?", replies=3)
    await made.play(4)
    seeds = [request.sampling.seed for request in sampler.asked]
    sampler.asked.clear()
    await made.play(4)
    assert [request.sampling.seed for request in sampler.asked] == seeds
    assert len(set(seeds[:6])) == 6
