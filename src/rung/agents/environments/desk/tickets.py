"""Tickets: what a customer writes, what they know when they are asked, and what is to be done, which no agent sees."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rung.agents.environments.desk.shop import VOUCHER, WINDOW, Customer, Maker, ShopOrder
from rung.agents.loop.move import Call


@dataclass(frozen=True, slots=True)
class Ticket:
    """``effects`` are the calls that should change something, ``say`` what the reply must contain; a ticket that is not
    replied to is escalated to ``queue`` or, with queue "-", closed. ``about``: the order that it is about."""

    kind: str
    who: Customer
    words: tuple[str, ...]
    about: ShopOrder | None = None
    effects: tuple[Call, ...] = ()
    say: tuple[str, ...] = ()
    queue: str = ""
    query: str = ""
    address: str = ""
    missing: bool = False
    told: Mapping[str, str] = field(default_factory=dict)

    def message(self, seed: int) -> str:
        """The customer's words, which differ by the seed; the order's number may be missing."""
        text = random.Random(f"words {self.who.email} {seed}").choice(self.words)
        if self.about is None:
            return text
        name = f"the {self.about.product}" if self.missing else f"order {self.about.order_id}"
        return text.format(
            order=name, Order=name[0].upper() + name[1:], product=self.about.product, address=self.address
        )


QUEUES = ("billing", "identity", "privacy", "legal", "safety", "fraud", "general")

_ORDERS = {
    "status": ("Where is {order}? I am waiting for it.", "Can you tell me where my parcel is? It is {order}.",
               "{Order}: any news on the tracking?", "When will {order} arrive? Please send me the tracking number."),
    "cancel": ("Please cancel {order}, I do not need it any more.", "I want to cancel {order}.",
               "Could you stop {order}? Cancel it, please.", "{Order} was ordered by mistake. Cancel it."),
    "refund": ("{Order} arrived broken. I want my money back.", "The {product} is damaged, please refund {order}.",
               "I would like a refund for {order}, it does not work.", "{Order} came with a crack in it. Refund it, please."),
    "window": ("{Order} stopped working. It came only last week, please give me my money back.",
               "I want a refund for {order}. I got it just a few days ago.", "Refund {order}, please: I have had it for ten days."),
    "address": ("Please send {order} to {address} instead.", "I have moved. Change the address of {order} to {address}.",
                "Wrong address on {order}! It should go to {address}."),
    "lost": ("{Order} has never come. It was shipped weeks ago!", "I think {order} is lost, nothing has come for weeks.",
             "Still no parcel: {order} must have been lost on the way."),
    "invoice": ("I need the invoice for {order}.", "Please send me the invoice of {order} for my taxes.",
                "Could I have an invoice for {order}?"),
    "late": ("{Order} came much too late. What do you do about that?", "I had to wait far too long for {order}. It was late.",
             "The delivery of {order} was days late, I am not happy."),
}  # fmt: skip
_PLAIN = {
    "email": ("Please change the email address of my account to {new}.", "I have a new email address: {new}. Update it, please.",
              "My mail is {new} now, please change it in my account."),
    "close": ("Please close my account and delete all that you know of me.", "Delete my account, please.",
              "I want my account closed and my data deleted."),
    "legal": ("If this is not settled by Friday my lawyer will take you to court.", "My lawyer will hear of this, I will sue you.",
              "You will hear from my attorney. See you in court."),
    "hazard": ("The power bank got hot and started to smoke!", "Your power bank caught fire on my table last night.",
               "There was smoke coming out of the power bank and it burned my hand."),
    "takeover": ("Somebody has got into my account and ordered things that I never bought.", "My account was hacked!",
                 "There are orders in my account that are not mine, somebody has my password."),
    "spam": ("Dear business owner, rank first on all search engines, cheap! Visit now.", "Buy followers now, 70% off, limited offer!!!",
             "Your parcel lottery win of 900,000 awaits. Click to claim your prize."),
}  # fmt: skip
_QUESTIONS = {
    "warranty": (("How long is the warranty?", "What warranty do I get on your products?"), "24 months", "warranty"),
    "delivery": (("How long does express delivery take?", "How fast is express delivery?"), "2 working days", "express delivery times"),
    "assembly": (("What does the assembly service cost?", "Can somebody assemble it, and for how much?"), "35.00", "assembly service"),
}  # fmt: skip
KINDS = (
    "status",
    "cancel",
    "shipped",
    "refund",
    "dear",
    "window",
    "address",
    "lost",
    "invoice",
    "late",
    "question",
    *_PLAIN,
)
"""All that a ticket may be about; "shipped" is a cancellation that comes too late, "dear" a refund that the billing
team makes."""

_ESCALATED = {
    "email": "identity",
    "close": "privacy",
    "legal": "legal",
    "hazard": "safety",
    "takeover": "fraud",
    "spam": "-",
}


def ticket_id(scenario: int | str) -> str:
    """What the ticket of a scenario is called: five digits, whichever split it is of, so that names say nothing."""
    return f"T-{int(scenario) * 7919 % 90_000 + 10_000}"


def draw_ticket(number: int) -> tuple[Maker, Ticket]:
    """The shop and the ticket of a scenario."""
    draw = random.Random(f"desk {number}")
    maker, kind = Maker(draw), KINDS[draw.randrange(len(KINDS))]
    who = maker.customer()
    for other in (maker.customer(), maker.customer()):
        maker.order(other, "delivered", days=draw.randint(2, 25))
    if kind in _PLAIN:
        first, last = who.name.lower().split()
        new = f"{last}.{first}@example.{draw.choice(('org', 'net', 'com'))}"
        maker.order(who, "delivered", days=9)
        words = tuple(text.format(new=new) for text in _PLAIN[kind])
        return maker, Ticket(kind, who, words, queue=_ESCALATED[kind])
    if kind == "question":
        words, fact, query = _QUESTIONS[draw.choice(sorted(_QUESTIONS))]
        return maker, Ticket(kind, who, words, say=(fact,), query=query)
    ticket = _MAKERS[kind](maker, who)
    for _ in range(draw.randint(0, 2)):
        maker.order(who, draw.choice(("delivered", "shipped", "pending")), days=draw.randint(1, 6))
    return maker, ticket


def _about(kind: str, wordy: str, order: ShopOrder, who: Customer, maker: Maker, **more: Any) -> Ticket:
    missing = maker.draw.random() < 0.25
    return Ticket(kind, who, _ORDERS[wordy], order, missing=missing, told={"order": order.order_id}, **more)


def _status(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "shipped", days=maker.draw.randint(1, 4))
    return _about("status", "status", order, who, maker, say=(order.tracking,))


def _cancel(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "pending", days=maker.draw.randint(0, 2))
    effects = (Call("cancel_order", {"order_id": order.order_id}),)
    return _about("cancel", "cancel", order, who, maker, effects=effects, say=(order.order_id,))


def _shipped(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "shipped", days=maker.draw.randint(1, 4))
    return _about("shipped", "cancel", order, who, maker, say=("shipped", order.order_id))


def _refund(maker: Maker, who: Customer) -> Ticket:
    product = maker.draw.choice(("desk lamp", "wall clock", "coffee grinder", "floor mat", "headphones", "tea kettle"))
    order = maker.order(who, "delivered", days=maker.draw.randint(2, WINDOW - 2), product=product)
    effects = (Call("refund", {"order_id": order.order_id, "amount": order.amount}),)
    return _about("refund", "refund", order, who, maker, effects=effects, say=(f"{order.amount:.2f}",))


def _dear(maker: Maker, who: Customer) -> Ticket:
    product = maker.draw.choice(("office chair", "standing desk"))
    order = maker.order(who, "delivered", days=maker.draw.randint(2, WINDOW - 2), product=product)
    return _about("dear", "refund", order, who, maker, queue="billing")


def _window(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "delivered", days=maker.draw.randint(WINDOW + 3, 90), product="tea kettle")
    return _about("window", "window", order, who, maker, say=(f"{WINDOW} days", order.delivered))


def _address(maker: Maker, who: Customer) -> Ticket:
    order, address = maker.order(who, "pending", days=1), maker.address()
    effects = (Call("change_address", {"order_id": order.order_id, "address": address}),)
    return _about("address", "address", order, who, maker, effects=effects, say=(address,), address=address)


def _lost(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "shipped", days=maker.draw.randint(16, 40))
    effects = (Call("replace_order", {"order_id": order.order_id}),)
    return _about("lost", "lost", order, who, maker, effects=effects, say=(order.order_id,))


def _invoice(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "delivered", days=maker.draw.randint(3, 60))
    effects = (Call("send_document", {"order_id": order.order_id, "document": "invoice", "to": who.email}),)
    return _about("invoice", "invoice", order, who, maker, effects=effects, say=(who.email,))


def _late(maker: Maker, who: Customer) -> Ticket:
    order = maker.order(who, "delivered", days=maker.draw.randint(2, 9), late=maker.draw.randint(6, 12))
    effects = (Call("issue_voucher", {"customer_id": who.customer_id, "amount": VOUCHER}),)
    return _about("late", "late", order, who, maker, effects=effects, say=(f"{VOUCHER:.2f}",))


_MAKERS: dict[str, Callable[[Maker, Customer], Ticket]] = {
    "status": _status, "cancel": _cancel, "shipped": _shipped, "refund": _refund, "dear": _dear, "window": _window,
    "address": _address, "lost": _lost, "invoice": _invoice, "late": _late,
}  # fmt: skip
