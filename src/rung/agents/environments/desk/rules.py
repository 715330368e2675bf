"""What the designer of an agent for the desk knows: how a ticket is told by its words, and what is done about it unless
somebody has taught better. Some of that is wrong, as a new employee's guesses are: refusals and reviews teach it."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from rung.agents.environments.desk.shop import LATE, LOST, MOST, TODAY, VOUCHER, WINDOW
from rung.agents.loop.move import Call

_WORDS = (
    ("spam", r"search engines|followers|limited offer|prize"),
    ("hazard", r"\bsmok|\bfire\b|\bburn"),
    ("takeover", r"hacked|got into my account|not mine|my password"),
    ("legal", r"lawyer|attorney|\bcourt\b|\bsue\b"),
    ("close", r"(?:close|delete) my (?:account|data)|account closed"),
    ("email", r"email address of my account|new email|my mail is"),
    ("address", r"\binstead\b|change the address|wrong address"),
    ("cancel", r"\bcancel|\bstop\b"),
    ("invoice", r"invoice"),
    ("lost", r"never come|\blost\b|still no parcel"),
    ("late", r"\blate\b|wait far too long"),
    ("refund", r"refund|money back"),
    ("status", r"\bwhere\b|tracking|arrive\b"),
)
"""Kinds of tickets by words, the first that fits."""

_NAIVE = {
    "spam": "close", "hazard": "escalate:general", "takeover": "escalate:general", "legal": "escalate:general",
    "close": "close_account", "email": "change_email", "address": "address", "cancel": "cancel", "shipped": "tell:shipped",
    "invoice": "invoice", "lost": "tell:status", "late": "tell:sorry", "refund": "refund", "dear": "refund", "window": "refund",
    "status": "tell:status", "question": "tell:article",
}  # fmt: skip

ADVICE: Mapping[str, Mapping[str, Any]] = {
    kind: {"text": text, "rule": {"kind": kind, "do": do}}
    for kind, do, text in (
        ("hazard", "escalate:safety", "Products that smoke or burn go to the safety team."),
        ("takeover", "escalate:fraud", "Accounts that somebody else has got into go to the fraud team."),
        ("legal", "escalate:legal", "Threats of court go to the legal team."),
        ("close", "escalate:privacy", "Accounts are closed by the privacy team: escalate to privacy."),
        ("email", "escalate:identity", "Email addresses are changed by the identity team: escalate to identity."),
        ("lost", "replace", f"A parcel that has not come {LOST} days after it was shipped is sent again."),
        ("late", "voucher", f"For a parcel that came {LATE} or more days late a voucher of {VOUCHER:.2f} is given."),
        (
            "dear",
            "escalate:billing",
            f"Refunds of more than {MOST:.2f} are made by the billing team: escalate to billing.",
        ),
        (
            "window",
            "tell:window",
            f"Money is given back within {WINDOW} days of delivery; after that, tell the customer so.",
        ),
    )
}
"""What a reviewer says of a ticket of a kind that was handled wrongly: the rule, nothing of the ticket."""


class DeskDomain:
    """A belief is {ticket, email, message, customer, orders, articles, refused, rules, over, acted}."""

    def believe(self, belief: Any, call: Call | None, percept: Any) -> Any:
        if belief is None:
            return {
                "ticket": percept["ticket"],
                "email": percept["email"],
                "orders": {},
                "refused": [],
                "rules": {},
                "acted": [],
            }
        new = {
            **belief,
            "orders": dict(belief["orders"]),
            "refused": list(belief["refused"]),
            "rules": dict(belief["rules"]),
            "acted": list(belief["acted"]),
        }
        tool, found = percept.get("tool", ""), percept.get("found")
        if percept.get("refused"):
            new["refused"].append(tool)
            if rule := percept.get("rule"):
                new["rules"][rule["kind"]] = rule["do"]
        elif tool == "read_ticket":
            new["message"] = found["message"]
        elif tool == "find_customer":
            new["customer"] = found
        elif tool == "get_order":
            new["orders"][found["order_id"]] = found
        elif tool == "search_articles":
            new["articles"] = [one["text"] for one in found] if isinstance(found, list) else []
        elif tool in ("reply", "escalate", "close_ticket"):
            new["over"] = True
        elif tool:
            new["acted"].append(tool)
        return new

    def teach(self, belief: Any, lesson: Mapping[str, Any]) -> Any:
        """The belief with what an earlier episode taught."""
        rule = lesson.get("rule")
        return (
            {**belief, "rules": {**belief["rules"], rule["kind"]: rule["do"]}} if isinstance(rule, Mapping) else belief
        )

    def react(self, percept: Any) -> Call | None:
        """Without memory: read the ticket, then hand it to somebody by its words alone."""
        if "ticket" in percept:
            return Call("read_ticket", {"ticket": percept["ticket"]})
        if percept.get("tool") != "read_ticket":
            return None
        ticket, kind = percept["found"]["ticket"], _kind(percept["found"]["message"])
        if kind == "spam":
            return Call("close_ticket", {"ticket": ticket})
        return Call("escalate", {"ticket": ticket, "queue": "general", "reason": f"it is about: {kind}"})

    def explore(self, belief: Any) -> Call | None:
        if belief.get("over"):
            return None
        if "message" not in belief:
            return Call("read_ticket", {"ticket": belief["ticket"]})
        kind = _kind(belief["message"])
        wanted = kind in ("address", "cancel", "invoice", "lost", "late", "refund", "status")
        if (
            "customer" not in belief
            and "find_customer" not in belief["refused"]
            and (wanted or kind in ("close", "email"))
        ):
            return Call("find_customer", {"email": belief["email"]})
        order = None
        if wanted:
            order, look = self._order(belief)
            if look is not None:
                return look
            if order is None:
                return _escalate(belief, "general", "no order fits")
            kind = _closer(kind, order)
        return self._do(belief, kind, order)

    def _order(self, belief: Any) -> tuple[Any, Call | None]:
        """The order that the message is about, or the call that finds out."""
        mine = belief.get("customer", {}).get("order_ids", [])
        named = [id for id in re.findall(r"O-\d{5}", belief["message"]) if id in mine]
        for id in named[:1] or mine:
            if id not in belief["orders"]:
                return None, Call("get_order", {"order_id": id})
        if named:
            return belief["orders"][named[0]], None
        return next(
            (one for one in belief["orders"].values() if one["product"] in belief["message"].casefold()), None
        ), None

    def _do(self, belief: Any, kind: str, order: Any) -> Call | None:
        does = belief["rules"].get(kind) or _NAIVE[kind]
        name, _, more = does.partition(":")
        if name == "close":
            return Call("close_ticket", {"ticket": belief["ticket"]})
        if name == "escalate":
            return _escalate(belief, more, f"it is about: {kind}")
        if name == "tell":
            return _tell(belief, more, order)
        tool, call = _EFFECTS[name](belief, order)
        if tool in belief["refused"]:
            return _escalate(belief, "general", f"{tool} was refused")
        if tool in belief["acted"]:
            return _tell(belief, name, order)
        return call

    def options(self, belief: Any) -> list[Call]:
        """What the rules say, and nothing else: nobody guesses at a customer's expense."""
        call = self.explore(belief)
        return [] if call is None else [call]

    def predict(self, belief: Any, call: Call) -> list[tuple[float, Any]]:
        """Calls end the ticket, or are done; what a look-up will show is not known."""
        over = call.tool in ("reply", "escalate", "close_ticket")
        return [(1.0, {**belief, "over": over or belief.get("over", False), "acted": [*belief["acted"], call.tool]})]

    def reached(self, belief: Any) -> bool:
        return bool(belief.get("over"))

    def worth(self, belief: Any) -> float:
        return float(self.reached(belief)) - 0.01 * len(belief["acted"])

    def key(self, belief: Any) -> Hashable:
        return (
            tuple(belief["acted"]),
            bool(belief.get("over")),
            "message" in belief,
            "customer" in belief,
            tuple(belief["orders"]),
        )

    def features(self, percept: Any) -> str:
        tool = percept.get("tool", "")
        return f"{tool} {_kind(percept['found']['message'])}" if tool == "read_ticket" else tool


def _kind(message: str) -> str:
    return next((kind for kind, words in _WORDS if re.search(words, message, re.IGNORECASE)), "question")


def _closer(kind: str, order: Any) -> str:
    """The kind by what the records say, not by what the customer does."""
    if kind == "cancel" and order["status"] != "pending":
        return "shipped"
    if kind == "refund" and order["amount"] > MOST:
        return "dear"
    if kind == "refund" and order["delivered"] and (TODAY - TODAY.fromisoformat(order["delivered"])).days > WINDOW:
        return "window"
    return kind


def _escalate(belief: Any, queue: str, reason: str) -> Call:
    return Call("escalate", {"ticket": belief["ticket"], "queue": queue, "reason": reason})


def _effect(tool: str, arguments: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Any, Any], tuple[str, Call]]:
    return lambda belief, order: (tool, Call(tool, arguments(belief, order)))


_EFFECTS = {
    "cancel": _effect("cancel_order", lambda belief, order: {"order_id": order["order_id"]}),
    "refund": _effect("refund", lambda belief, order: {"order_id": order["order_id"], "amount": order["amount"]}),
    "address": _effect("change_address", lambda belief, order: {"order_id": order["order_id"], "address": _address(belief)}),
    "invoice": _effect("send_document", lambda belief, order: {"order_id": order["order_id"], "document": "invoice", "to": belief["email"]}),
    "replace": _effect("replace_order", lambda belief, order: {"order_id": order["order_id"]}),
    "voucher": _effect("issue_voucher", lambda belief, order: {"customer_id": belief["customer"]["customer_id"], "amount": VOUCHER}),
    "close_account": _effect("close_account", lambda belief, order: {"customer_id": belief["customer"]["customer_id"]}),
    "change_email": _effect("change_email", lambda belief, order: {"customer_id": belief["customer"]["customer_id"], "email": _email(belief)}),
}  # fmt: skip


def _address(belief: Any) -> str:
    found = re.search(r"\bto (\d+ [^.]+?)(?: instead)?\.", belief["message"])
    return found[1] if found else "unknown"


def _email(belief: Any) -> str:
    found = re.search(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.\w+", belief["message"])
    return found[0] if found else str(belief["email"])


def _tell(belief: Any, what: str, order: Any) -> Call:
    if what == "article" and "articles" not in belief:
        return Call("search_articles", {"query": belief["message"]})
    said = _SAYS[what](belief, order)
    return Call("reply", {"ticket": belief["ticket"], "text": said})


_SAYS: dict[str, Callable[[Any, Any], str]] = {
    "article": lambda belief, order: " ".join(belief["articles"]) or "We do not know that, sorry.",
    "status": lambda belief, order: f"Your order {order['order_id']} is {order['status']}. Its tracking number is {order.get('tracking', '')}.",
    "shipped": lambda belief, order: f"Your order {order['order_id']} has shipped and cannot be cancelled any more.",
    "sorry": lambda belief, order: f"We are sorry that {order['order_id']} came late.",
    "window": lambda belief, order: f"{order['order_id']} was delivered on {order['delivered']}; money is given back within {WINDOW} days.",
    "cancel": lambda belief, order: f"Your order {order['order_id']} has been cancelled.",
    "refund": lambda belief, order: f"{order['amount']:.2f} has been refunded for {order['order_id']}.",
    "address": lambda belief, order: f"Your order {order['order_id']} will go to {_address(belief)}.",
    "invoice": lambda belief, order: f"The invoice of {order['order_id']} has been sent to {belief['email']}.",
    "replace": lambda belief, order: f"Your order {order['order_id']} is sent again.",
    "voucher": lambda belief, order: f"We are sorry. You have a voucher of {VOUCHER:.2f} now.",
    "close_account": lambda belief, order: "Your account is closed.",
    "change_email": lambda belief, order: f"The address of your account is {_email(belief)} now.",
}  # fmt: skip
