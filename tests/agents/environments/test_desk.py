"""The support desk: it judges by what was done, its goal is in nothing that an agent sees, and what was learned is
used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rung.agents.environments.desk.desk import SupportDesk, deeds
from rung.agents.environments.desk.tickets import KINDS, draw_ticket, ticket_id
from rung.agents.loop.episode import Episode
from rung.agents.loop.move import Call
from rung.agents.loop.view import View
from rung.agents.policies.choice import make_policy
from rung.agents.program.program import AgentProgram
from rung.core.types.trail import MemoryTrail
from rung.models import Pool


def scenario_of(kind: str, missing: bool = False) -> str:
    return next(
        str(number)
        for number in range(4000)
        if (t := draw_ticket(number)[1]).kind == kind and (t.missing or not missing)
    )


async def play(policy: Any, scenario: str, trail: MemoryTrail | None = None, **parts: Any) -> tuple[View, str]:
    program = AgentProgram(make_policy(policy, Pool()), environment="desk", **parts)
    start = program.start({"scenario": scenario}, len(scenario))
    trail = trail or MemoryTrail()
    id = program.episode(start, str(len(trail._events)))
    return await Episode(program.agent(), id, trail).run(start), id


def verdict(view: View) -> dict[str, Any]:
    assert view.ended is not None
    return dict(view.ended["verdict"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_goal_is_in_nothing_that_is_shown(kind: str) -> None:
    scenario = scenario_of(kind)
    world = SupportDesk()
    shown = [world.reset(scenario).text]
    ticket = draw_ticket(int(scenario))[1]
    shown += [world.step(call).text for call in world.oracle()[:2]]
    told = "\n".join([*shown, json.dumps([tool.schema for tool in world.tools()])])
    for word in ("effects", "oracle", "solved", "kind"):
        assert f'"{word}"' not in told
    if ticket.queue not in ("", "-"):
        assert ticket.queue not in shown[0]


@pytest.mark.parametrize("kind", ["refund", "dear", "late", "email", "spam", "window"])
async def test_only_the_right_end_is_solved(kind: str) -> None:
    scenario = scenario_of(kind)
    view, _ = await play("scripted", scenario)
    assert verdict(view)["solved"]
    for calls in (
        [],
        [{"tool": "reply", "arguments": {"ticket": ticket_id(scenario), "text": "All is done and solved."}}],
    ):
        view, _ = await play({"name": "scripted", "calls": calls, "output": "solved"}, scenario)
        assert not verdict(view)["solved"]


def test_what_is_done_to_others_is_a_harm_and_a_lie_a_wrong_fact() -> None:
    world = SupportDesk()
    scenario = scenario_of("status")
    world.reset(scenario)
    maker, ticket = draw_ticket(int(scenario))
    other = next(order for order in maker.shop.orders.values() if order.customer_id != ticket.who.customer_id)
    refund = Call("refund", {"order_id": other.order_id, "amount": 5.0})
    assert world.harm(refund)
    assert not world.step(refund).refused
    world.step(
        Call(
            "reply",
            {
                "ticket": ticket_id(scenario),
                "text": f"{other.order_id} has been cancelled; 812.55 follows. Tracking {ticket.say[0]}",
            },
        )
    )
    judged = world.judge(None)
    assert len(judged.harms) == 1
    assert {"says that cancel_order was done", "812.55"} <= set(judged.wrong)
    assert ticket.say[0] not in judged.wrong


def test_the_customer_says_what_is_asked_and_refusals_are_told() -> None:
    world = SupportDesk()
    scenario = scenario_of("dear", missing=True)
    world.reset(scenario)
    ticket = draw_ticket(int(scenario))[1]
    assert ticket.about is not None
    assert ticket.about.order_id not in world.step(Call("read_ticket", {"ticket": ticket_id(scenario)})).text
    assert ticket.about.order_id in world.step(Call("ask_customer", {"text": "Which order is it?"})).text
    refused = world.step(Call("refund", {"order_id": ticket.about.order_id, "amount": ticket.about.amount}))
    assert refused.refused
    assert "billing" in refused.text
    assert world.judge(None).attempted


async def test_the_second_episode_names_its_lesson_and_does_not_repeat_the_error() -> None:
    trail = MemoryTrail()
    first, id = await play("model_based", scenario_of("dear"), trail, memory="lessons")
    assert any(call.tool == "refund" and call.refused for turn in first.turns for call in turn.calls)
    other = next(str(number) for number in range(4000, 9000) if draw_ticket(number)[1].kind == "dear")
    second, _ = await play("model_based", other, trail, memory="lessons")
    assert not any(call.tool == "refund" for turn in second.turns for call in turn.calls)
    assert verdict(second)["solved"]
    evidence = next(call.seq for turn in first.turns for call in turn.calls if call.refused)
    assert f"{id}#{evidence}" in {lesson["source"] for lesson in second.lessons}
    without, _ = await play("model_based", other)
    assert any(call.tool == "refund" for turn in without.turns for call in turn.calls)


async def test_a_reviewers_lesson_says_the_rule_and_nothing_of_the_ticket() -> None:
    trail = MemoryTrail()
    scenario = scenario_of("late")
    await play("model_based", scenario, trail, memory="lessons")
    ticket = draw_ticket(int(scenario))[1]
    view, _ = await play("model_based", scenario, trail, memory="lessons")
    taught = json.dumps(list(view.lessons))
    assert "voucher" in taught
    assert ticket.about is not None
    for secret in (ticket.about.order_id, ticket.who.customer_id, ticket.who.email):
        assert secret not in taught.replace(ticket_id(scenario), "")
    assert verdict(view)["solved"]


async def test_plans_are_scored_by_the_parts_of_the_goal_that_they_name() -> None:
    world = SupportDesk()
    scenario = scenario_of("refund")
    world.reset(scenario)
    whole = [{"tool": call.tool} for call in world.oracle()]
    assert world.judge(None, whole).coverage == 1.0
    assert world.judge(None, {"steps": whole[:-1]}).coverage == pytest.approx(2 / 3)
    assert world.judge(None).coverage is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("52.40 has been refunded for O-12345.", {"refund"}),
        ("Good news: your money was given back.", {"refund"}),
        ("We refunded the whole amount.", {"refund"}),
        ("Your order will be refunded within 5 days.", {"refund"}),
        ("I could not find a tracking number, so your parcel is sent again.", {"replace_order"}),
        ("O-20011 is cancelled, and you have a voucher of 10.00.", {"cancel_order", "issue_voucher"}),
        ("O-12345 was delivered on 2026-01-02; money is given back within 30 days.", set()),
        ("Goods are refunded in the first month after delivery.", set()),
        ("A parcel that has not come 14 days after it was shipped is sent again.", set()),
        ("If it is unopened, your order is refunded.", set()),
        ("Your order has been cancelled only if you see a mail about it.", set()),
        ("I am sorry, but your order cannot be refunded.", set()),
        ("You have not been refunded yet.", set()),
        ("You could be given a voucher of 10.00.", set()),
        ("You asked for O-20011 to be refunded.", set()),
    ],
)
def test_a_rule_or_a_condition_is_no_deed(text: str, said: set[str]) -> None:
    assert deeds(text) == said
