from __future__ import annotations

import re

import pytest

from rung.core.errors import InputError, ServerError
from rung.core.types import Request
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.dialogue.recipe import Variety, approaches, form, likeness, read_steps

WAYS = [
    "1. Mix flour with eggs\n2. Bake it for an hour\n3. Cool it on a rack",
    "1. Mix flour with eggs\n2. Bake it for one hour\n3. Cool it on the rack",
    "1. Buy one in town\n2. Carry home the box\n3. Light some candles",
    "1. Ask grandmother nicely\n2. Wait until Sunday\n3. Say thanks afterwards",
]


def test_the_form_holds_numbered_steps() -> None:
    pattern = form(2, 4).pattern
    assert re.fullmatch(pattern, "1. Mix it all\n2. Bake it now")
    assert re.fullmatch(pattern, "1. Mix it all\n2. Bake it now\n3. Cool it off\n4. Eat it up")
    for text in ("1. Mix it all", "1. Mix it all\n3. Bake it now", "\n".join(f"{i}. Mix it all" for i in range(1, 6))):
        assert not re.fullmatch(pattern, text)


def test_likeness() -> None:
    lists = [read_steps(way) for way in WAYS]
    assert lists[0] == ("Mix flour with eggs", "Bake it for an hour", "Cool it on a rack")
    assert likeness(lists[0], lists[0]) == 1
    assert likeness(lists[0], lists[1]) > 0.7
    assert likeness(lists[0], lists[2]) == 0


async def test_ways_that_repeat_are_thrown_away_and_the_rest_ranked() -> None:
    said = iter(WAYS)

    def rule(request: Request) -> str:
        text = request.messages[-1].content
        if "Do the steps keep the rule" in text:
            return "yes" if "Light some candles" in text else "no"
        return next(said)

    model = Fake(rule, capabilities=CAPABILITIES.__class__(forms=frozenset({"regex", "labels"})))
    found = await approaches(model, "a cake", constraints=["Nothing is baked."])
    assert len(found.found) == 3
    assert found.rejected == 1
    assert found.closest < 0.5
    assert found.failure is None
    assert found.found[0].steps[0] == "Buy one in town"
    assert [item.score for item in found.found] == [1, 0, 0]
    assert "thrown away" in found.steps[1].note
    seeds = [call.sampling.seed for call in model.calls if isinstance(call, Request) and call.form.kind == "regex"]
    assert seeds == [0, 1, 2, 3]


async def test_a_recipe_that_repeats_a_step_is_none() -> None:
    found = await approaches(Fake(lambda _: "1. Stir it\n2. Stir it\n3. Bake it"), "a cake", Variety(1, attempts=2))
    assert (len(found.found), found.rejected) == (0, 2)
    assert "3 steps, 2 different" in found.steps[0].note


async def test_fewer_than_asked_is_said() -> None:
    found = await approaches(Fake(lambda _: WAYS[0]), "a cake", Variety(2, attempts=4))
    assert len(found.found) == 1
    assert found.rejected == 3
    assert found.failure is not None
    assert "1 of 2" in found.failure.message
    down = await approaches(Fake(failures=[ServerError("down")]), "a cake")
    assert down.failure is not None
    assert down.failure.where == "model"


@pytest.mark.parametrize("bad", [{"n": 0}, {"fewest": 5, "most": 2}, {"alike": 0.0}, {"most": 99}])
async def test_impossible_wishes(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        await approaches(Fake(), "a cake", Variety(**bad))  # type: ignore[arg-type]
