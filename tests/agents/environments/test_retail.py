"""A shop's customer service: what its tools do, what a scripted customer says, how an episode is judged."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rung.agents.environments.benchmarks.retail.retail import TauRetail
from rung.agents.environments.benchmarks.retail.tools import TOOLS
from rung.agents.environments.environment import Environment
from rung.agents.loop.episode import Episode
from rung.agents.loop.move import Call
from rung.agents.loop.toolset import Toolset
from rung.agents.policies.given.scripted import Scripted
from rung.agents.program.program import AgentProgram, make_environment
from rung.core.errors import InputError
from rung.core.types.trail import MemoryTrail

PARAMETERS = {
    "find_user_id_by_email": ("email",),
    "find_user_id_by_name_zip": ("first_name", "last_name", "zip"),
    "get_user_details": ("user_id",),
    "get_order_details": ("order_id",),
    "get_product_details": ("product_id",),
    "calculate": ("expression",),
    "think": ("thought",),
    "transfer_to_human_agents": ("summary",),
    "cancel_pending_order": ("order_id", "reason"),
    "modify_pending_order_address": ("order_id", "address1", "address2", "city", "state", "country", "zip"),
    "modify_pending_order_payment": ("order_id", "payment_method_id"),
    "modify_pending_order_items": ("order_id", "item_ids", "new_item_ids", "payment_method_id"),
    "modify_user_address": ("user_id", "address1", "address2", "city", "state", "country", "zip"),
    "exchange_delivered_order_items": ("order_id", "item_ids", "new_item_ids", "payment_method_id"),
    "return_delivered_order_items": ("order_id", "item_ids", "payment_method_id"),
    "list_all_product_types": (),
}
HOME = {"address1": "1 Elm", "address2": "", "city": "Bath", "state": "ME", "country": "USA", "zip": "04530"}
CARD, GIFT = "credit_card_0000001", "gift_card_0000002"
RED, BLUE, GONE = "1000000001", "1000000002", "1000000003"


def order(id: str, status: str) -> dict[str, Any]:
    item = {"name": "Mug", "product_id": "9000000001", "item_id": RED, "price": 10.0, "options": {"color": "red"}}
    paid = {"transaction_type": "payment", "amount": 10.0, "payment_method_id": CARD}
    return {"order_id": id, "user_id": "ann_lee_1234", "address": HOME, "items": [item], "fulfillments": [],
            "status": status, "payment_history": [paid]}  # fmt: skip


def action(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "kwargs": arguments}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    user = {
        "name": {"first_name": "Ann", "last_name": "Lee"}, "address": HOME, "email": "ann@example.org",
        "payment_methods": {CARD: {"source": "credit_card", "id": CARD},
                            GIFT: {"source": "gift_card", "id": GIFT, "balance": 3.0}},
        "orders": ["#W0000001", "#W0000002"],
    }  # fmt: skip
    variants = {
        id: {"item_id": id, "options": {"color": color}, "available": there, "price": price}
        for id, color, there, price in ((RED, "red", True, 10.0), (BLUE, "blue", True, 12.5), (GONE, "green", False, 9))
    }
    tools = [
        {"function": {"name": name, "description": name.replace("_", " "), "parameters": {
            "type": "object", "required": list(given),
            "properties": {one: {"type": "array", "items": {"type": "string"}} if one.endswith("item_ids")
                           else {"type": "string"} for one in given}}}}
        for name, given in PARAMETERS.items()
    ]  # fmt: skip
    found = action("find_user_id_by_email", email="ann@example.org")
    told = "You are Ann Lee, ann@example.org, zip 04530."
    dev = [
        {"user_id": "ann_lee_1234", "instruction": f"{told} Cancel #W0000001, you no longer need it.", "outputs": [],
         "actions": [found, action("cancel_pending_order", order_id="#W0000001", reason="no longer needed")]},
        {"user_id": "ann_lee_1234", "instruction": f"{told} What does the blue mug cost?", "outputs": ["12.5"],
         "actions": [found]},
    ]  # fmt: skip
    test = [
        {"user_id": "ann_lee_1234", "instruction": f"{told} Return the mug of #W0000001.", "outputs": [],
         "actions": [action("return_delivered_order_items", order_id="#W0000001", item_ids=[RED],
                            payment_method_id=CARD)]},
    ]  # fmt: skip
    (tmp_path / "orders.json.gz").write_bytes(
        gzip.compress(json.dumps({id: order(id, status) for id, status in
                                  (("#W0000001", "pending"), ("#W0000002", "delivered"))}).encode())
    )  # fmt: skip
    (tmp_path / "users.json").write_text(json.dumps({"ann_lee_1234": user}))
    products = {"9000000001": {"name": "Mug", "product_id": "9000000001", "variants": variants}}
    (tmp_path / "products.json").write_text(json.dumps(products))
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    for name, tasks in (("dev", dev), ("test", test)):
        (tmp_path / f"tasks_{name}.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    (tmp_path / "policy_wiki.md").write_text("# Rules\nBe kind.")
    return tmp_path


@pytest.fixture
def world(folder: Path) -> TauRetail:
    made = TauRetail(str(folder))
    made.reset("dev-0")
    return made


def changed(world: TauRetail, id: str) -> Any:
    return world.state()["orders"].get(id)


def test_the_contract(folder: Path, world: TauRetail) -> None:
    assert set(PARAMETERS) == set(TOOLS)
    made = make_environment(f"tau-retail:{folder}")
    assert isinstance(made, Environment)
    assert [made.scenarios(split, 9) for split in ("train", "dev", "test")] == [[], ["dev-0", "dev-1"], ["test-0"]]
    assert "Be kind." in made.reset("dev-0").text
    assert not made.judge(None).solved
    other = made.fork()
    for call in made.oracle():
        assert Toolset((), made).complaint(call) == ""
        other.step(call)
    assert other.judge("").solved
    assert not made.judge("").solved
    for bad in ("", "dev", "dev-2", "train-0", "dev--1", "x-0"):
        with pytest.raises(InputError):
            made.reset(bad)


def test_writes_keep_to_the_rules(world: TauRetail) -> None:
    pending, delivered = "#W0000001", "#W0000002"
    refused = [
        Call("exchange_delivered_order_items", {"order_id": pending, "item_ids": [RED], "new_item_ids": [BLUE],
                                                "payment_method_id": CARD}),
        Call("exchange_delivered_order_items", {"order_id": delivered, "item_ids": [RED, RED],
                                                "new_item_ids": [BLUE, BLUE], "payment_method_id": CARD}),
        Call("exchange_delivered_order_items", {"order_id": delivered, "item_ids": [RED], "new_item_ids": [GONE],
                                                "payment_method_id": CARD}),
        Call("modify_pending_order_items", {"order_id": pending, "item_ids": [RED], "new_item_ids": [],
                                            "payment_method_id": CARD}),
        Call("modify_pending_order_payment", {"order_id": pending, "payment_method_id": GIFT}),
        Call("modify_pending_order_payment", {"order_id": pending, "payment_method_id": CARD}),
        Call("return_delivered_order_items", {"order_id": delivered, "item_ids": [], "payment_method_id": CARD}),
        Call("cancel_pending_order", {"order_id": pending, "reason": "bored"}),
        Call("cancel_pending_order", {"order_id": "#W9", "reason": "no longer needed"}),
        Call("modify_user_address", {"user_id": "bob", **HOME}),
    ]  # fmt: skip
    for call in refused:
        assert world.step(call).refused, call
    assert world.state()["orders"] == world.state()["users"] == {}
    assert len(world.judge("").attempted) == len(refused)


def test_changing_items_pays_the_difference(world: TauRetail) -> None:
    given = {"order_id": "#W0000001", "item_ids": [RED], "new_item_ids": [BLUE], "payment_method_id": GIFT}
    assert not world.step(Call("modify_pending_order_items", given)).refused
    assert changed(world, "#W0000001")["items"][0]["price"] == 12.5
    assert changed(world, "#W0000001")["payment_history"][-1] == {
        "transaction_type": "payment", "amount": 2.5, "payment_method_id": GIFT}  # fmt: skip
    assert world.state()["users"]["ann_lee_1234"]["payment_methods"][GIFT]["balance"] == 0.5
    assert world.step(Call("cancel_pending_order", {"order_id": "#W0000001", "reason": "no longer needed"})).refused
    verdict = world.judge("")
    assert not verdict.solved
    assert verdict.harms == ("orders #W0000001 was changed", "users ann_lee_1234 was changed")


def test_a_change_to_what_it_was_is_none(world: TauRetail) -> None:
    assert not world.step(Call("modify_user_address", {"user_id": "ann_lee_1234", **HOME})).refused
    assert world.state()["users"] == {}


def test_what_must_be_told_and_what_is_wrong(world: TauRetail) -> None:
    world.reset("dev-1")
    assert not world.judge("It costs 10.00.").solved
    assert world.judge("It costs 10.00.").wrong == ("10.00",)
    world.step(Call("message_user", {"text": "The blue mug is 12.5 dollars."}))
    assert world.judge(None).solved
    verdict = world.judge("Order #W0000009 of ann@example.org")
    assert (verdict.claims, verdict.wrong) == (2, ("#W0000009",))


def test_a_scripted_customer_says_what_is_asked(folder: Path) -> None:
    world = TauRetail(str(folder), user="scripted", policy=False)
    request = world.reset("dev-0").text
    for hidden in ("ann@example.org", "#W0000001"):
        assert hidden not in request

    def said(text: str) -> str:
        return world.step(Call("message_user", {"text": text})).text

    assert said("What is your email?") == "email: ann@example.org"
    assert "#W0000001" in said("Which order is it?")
    assert said("Shall I proceed?") == "Yes, please go ahead."
    assert said("How tall are you?") == "I don't know."


def test_right_calls_that_are_refused_are_listed(folder: Path, world: TauRetail) -> None:
    ((scenario, call, why),) = world.audit()
    assert scenario == "test-0"
    assert call.startswith("return_delivered_order_items")
    assert "is pending, not delivered" in why


async def test_an_episode_is_judged_by_the_state(folder: Path) -> None:
    choice = {"name": "tau-retail", "folder": str(folder)}
    for policy, solved in ((Scripted(), True), (Scripted(calls=(), output="All is done, it is cancelled."), False)):
        program = AgentProgram(policy, environment=choice)
        view = await Episode(program.agent(), "e", MemoryTrail()).run(program.start({"scenario": "dev-0"}))
        assert view.ended is not None
        assert view.ended["verdict"]["solved"] is solved


def test_folders_that_hold_something_else(folder: Path, tmp_path: Path) -> None:
    for bad in ("", str(tmp_path / "nowhere")):
        with pytest.raises(InputError):
            TauRetail(bad)
    with pytest.raises(InputError):
        TauRetail(str(folder), user="rude")  # type: ignore[arg-type]
