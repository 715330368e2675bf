"""What the tools of the retail domain do: written from their schemas and the policy, not from the benchmark's code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rung.agents.environments.benchmarks.retail.database import Record, RefusedCall, RetailState
from rung.core.errors import RungError
from rung.foundations.arithmetic import calculate

Arguments = Mapping[str, Any]
_ADDRESS = ("address1", "address2", "city", "state", "country", "zip")


def run(database: RetailState, name: str, arguments: Arguments) -> str:
    """What a tool gives as text. Raises RefusedCall where it changes nothing."""
    return TOOLS[name](database, arguments)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- reading


def _by_email(database: RetailState, given: Arguments) -> str:
    for id, first in database.data.users.items():
        if first["email"].casefold() == given["email"].casefold():
            return id
    raise RefusedCall("No customer has that email.")


def _by_name(database: RetailState, given: Arguments) -> str:
    wanted = [given[part].casefold() for part in ("first_name", "last_name", "zip")]
    for id in database.data.users:
        user = database.user(id)
        name, zip = user["name"], user["address"]["zip"]
        if [name["first_name"].casefold(), name["last_name"].casefold(), zip.casefold()] == wanted:
            return id
    raise RefusedCall("No customer has that name and zip code.")


def _types(database: RetailState, given: Arguments) -> str:
    return _shown(
        {record["name"]: id for id, record in sorted(database.data.products.items(), key=lambda at: at[1]["name"])}
    )


def _calculate(database: RetailState, given: Arguments) -> str:
    try:
        return calculate(given["expression"])
    except RungError as error:
        raise RefusedCall(error.message) from None


# ---------------------------------------------------------------- writing


def _cancel(database: RetailState, given: Arguments) -> str:
    order = _in_status(database, given["order_id"], "pending")
    if given["reason"] not in ("no longer needed", "ordered by mistake"):
        raise RefusedCall("The reason is none that an order is cancelled for.")
    order = database.change_order(order["order_id"])
    for paid in list(order["payment_history"]):
        amount, method = paid["amount"], paid["payment_method_id"]
        order["payment_history"].append(_payment("refund", amount, method))
        database.pay(order["user_id"], method, -amount)
    order |= {"status": "cancelled", "cancel_reason": given["reason"]}
    return _shown(order)


def _modify_address(database: RetailState, given: Arguments) -> str:
    _in_status(database, given["order_id"], "pending")
    order = database.change_order(given["order_id"])
    order["address"] = {part: given[part] for part in _ADDRESS}
    return _shown(order)


def _modify_user(database: RetailState, given: Arguments) -> str:
    user = database.change_user(given["user_id"])
    user["address"] = {part: given[part] for part in _ADDRESS}
    return _shown(user)


def _modify_payment(database: RetailState, given: Arguments) -> str:
    order = _in_status(database, given["order_id"], "pending")
    method = database.payment(order["user_id"], given["payment_method_id"])
    history = order["payment_history"]
    if len(history) != 1 or history[0]["transaction_type"] != "payment":
        raise RefusedCall("The order was not paid once.")
    amount, before = history[0]["amount"], history[0]["payment_method_id"]
    if before == method["id"]:
        raise RefusedCall("The order is paid in that way already.")
    _enough(method, amount)
    order = database.change_order(order["order_id"])
    order["payment_history"] += [_payment("payment", amount, method["id"]), _payment("refund", amount, before)]
    database.pay(order["user_id"], method["id"], amount)
    database.pay(order["user_id"], before, -amount)
    return _shown(order)


def _modify_items(database: RetailState, given: Arguments) -> str:
    order = _in_status(database, given["order_id"], "pending")
    pairs = _pairs(database, order, given["item_ids"], given["new_item_ids"])
    difference = _difference(pairs)
    method = database.payment(order["user_id"], given["payment_method_id"])
    _enough(method, difference)
    order = database.change_order(order["order_id"])
    if difference:
        kind = "payment" if difference > 0 else "refund"
        order["payment_history"].append(_payment(kind, abs(difference), method["id"]))
        database.pay(order["user_id"], method["id"], difference)
    for old, new in pairs:
        item = next(item for item in order["items"] if item["item_id"] == old["item_id"])
        item |= {part: new[part] for part in ("item_id", "price", "options")}
    order["status"] = "pending (items modified)"
    return _shown(order)


def _exchange(database: RetailState, given: Arguments) -> str:
    order = _in_status(database, given["order_id"], "delivered")
    difference = _difference(_pairs(database, order, given["item_ids"], given["new_item_ids"]))
    _enough(database.payment(order["user_id"], given["payment_method_id"]), difference)
    order = database.change_order(order["order_id"])
    order |= {
        "status": "exchange requested",
        "exchange_items": sorted(given["item_ids"]),
        "exchange_new_items": sorted(given["new_item_ids"]),
        "exchange_payment_method_id": given["payment_method_id"],
        "exchange_price_difference": difference,
    }
    return _shown(order)


def _return(database: RetailState, given: Arguments) -> str:
    order = _in_status(database, given["order_id"], "delivered")
    _held(order, given["item_ids"])
    method = database.payment(order["user_id"], given["payment_method_id"])
    if method["source"] != "gift_card" and method["id"] != order["payment_history"][0]["payment_method_id"]:
        raise RefusedCall("A refund goes to the original payment method or to a gift card.")
    order = database.change_order(order["order_id"])
    order |= {
        "status": "return requested",
        "return_items": sorted(given["item_ids"]),
        "return_payment_method_id": method["id"],
    }
    return _shown(order)


def _in_status(database: RetailState, id: str, status: str) -> Record:
    order = database.order(id)
    if order["status"] != status:
        raise RefusedCall(f"Order {id} is {order['status']}, not {status}.")
    return order


def _held(order: Record, items: Sequence[str]) -> None:
    there = Counter(item["item_id"] for item in order["items"])
    missing = Counter(items) - there
    if missing or not items:
        raise RefusedCall(f"The order has no item {next(iter(missing), 'of none')!r} (or not as often).")


def _pairs(database: RetailState, order: Record, old: Sequence[str], new: Sequence[str]) -> list[tuple[Record, Record]]:
    """Each item of the order with what it is changed to."""
    _held(order, old)
    if len(old) != len(new):
        raise RefusedCall(f"{len(old)} items are to become {len(new)}: give as many.")
    items = {item["item_id"]: item for item in order["items"]}
    return [(items[one], database.item(items[one]["product_id"], other)) for one, other in zip(old, new, strict=True)]


def _difference(pairs: Sequence[tuple[Record, Record]]) -> float:
    return float(round(sum(new["price"] - old["price"] for old, new in pairs), 2))


def _enough(method: Record, amount: float) -> None:
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise RefusedCall("The gift card's balance is too small.")


def _payment(kind: str, amount: float, method: str) -> Record:
    return {"transaction_type": kind, "amount": amount, "payment_method_id": method}


TOOLS: dict[str, Callable[[RetailState, Arguments], str]] = {
    "find_user_id_by_email": _by_email,
    "find_user_id_by_name_zip": _by_name,
    "get_user_details": lambda database, given: _shown(database.user(given["user_id"])),
    "get_order_details": lambda database, given: _shown(database.order(given["order_id"])),
    "get_product_details": lambda database, given: _shown(database.product(given["product_id"])),
    "list_all_product_types": _types,
    "calculate": _calculate,
    "think": lambda database, given: "",
    "transfer_to_human_agents": lambda database, given: "Transferred.",
    "cancel_pending_order": _cancel,
    "modify_pending_order_address": _modify_address,
    "modify_pending_order_payment": _modify_payment,
    "modify_pending_order_items": _modify_items,
    "modify_user_address": _modify_user,
    "exchange_delivered_order_items": _exchange,
    "return_delivered_order_items": _return,
}
WRITES = frozenset(name for name in TOOLS if name.startswith(("cancel", "modify", "exchange", "return")))
