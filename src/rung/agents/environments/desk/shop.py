"""The shop behind the desk: customers, orders, the articles with its rules, and what was done to them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from rung.core.codec import encode

TODAY = date(2026, 3, 2)
WINDOW, MOST, LOST, LATE, VOUCHER = 30, 150.0, 14, 5, 10.0
"""Days in which money is given back; up to how much without the billing team; days after which a parcel is lost; days
by which one is late; and what is given for that."""

PRODUCTS = {
    "desk lamp": 39.5, "office chair": 189.0, "wall clock": 24.9, "standing desk": 429.0, "coffee grinder": 64.0,
    "floor mat": 31.25, "bookshelf": 119.0, "headphones": 89.9, "power bank": 45.0, "tea kettle": 52.4,
}  # fmt: skip
_FIRST = ("Anna", "Boris", "Chen", "Dalia", "Emeka", "Farah", "Goran", "Hana", "Ivo", "Jamila", "Kofi", "Lena")
_LAST = ("Adler", "Brandt", "Costa", "Dube", "Ek", "Fischer", "Garcia", "Hoang", "Ito", "Jansen", "Khan", "Lind")
_STREETS = ("Mill Lane", "Harbour Road", "Station Street", "Church Hill", "Elm Avenue", "Quarry Close")
_TOWNS = ("Aberford 4410", "Brookton 2207", "Cliffe 9031", "Dunmore 5518", "Eastholm 3306")

ARTICLES = {
    "refunds": f"Refunds are given within {WINDOW} days of delivery. Refunds of more than {MOST:.2f} are made by the billing team.",
    "cancelling": "Orders can be cancelled while they are pending. An order that has shipped cannot be cancelled.",
    "addresses": "The address of an order can be changed while it is pending.",
    "lost parcels": f"A parcel that has not come {LOST} days after it was shipped is sent again.",
    "late parcels": f"For a parcel that came {LATE} or more days late a voucher of {VOUCHER:.2f} is given.",
    "invoices": "Invoices are sent to the email address on file and to no other.",
    "warranty": "The warranty on all products is 24 months.",
    "delivery times": "Standard delivery takes 5 working days. Express delivery takes 2 working days.",
    "assembly": "An assembly service can be booked for 35.00 when ordering.",
    "accounts": "Email addresses are changed by the identity team. Accounts are closed by the privacy team.",
    "emergencies": "Products that smoke or burn go to the safety team, threats of court to the legal team, accounts that somebody "
    "else has got into to the fraud team.",
}
"""What the shop's rules are, by title."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody with an account."""

    customer_id: str
    name: str
    email: str
    address: str


@dataclass(frozen=True, slots=True)
class ShopOrder:
    """One order of one product. ``note`` was written by the customer; empty dates have not come yet."""

    order_id: str
    customer_id: str
    product: str
    amount: float
    status: str
    placed: str
    promised: str
    shipped: str
    delivered: str
    tracking: str
    address: str
    note: str = ""

    @property
    def age(self) -> int:
        """Days since it was delivered; -1: it has not been."""
        return (TODAY - date.fromisoformat(self.delivered)).days if self.delivered else -1


@dataclass
class Shop:
    """Customers and orders by id, and every effect in order: what the state of the world is."""

    customers: dict[str, Customer] = field(default_factory=dict)
    orders: dict[str, ShopOrder] = field(default_factory=dict)
    done: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def fork(self) -> Shop:
        return Shop(dict(self.customers), dict(self.orders), list(self.done))

    def state(self) -> Any:
        return {"orders": encode(list(self.orders.values())), "customers": encode(list(self.customers.values())),
                "done": [[tool, arguments] for tool, arguments in self.done]}  # fmt: skip

    def of(self, customer: str) -> list[ShopOrder]:
        return [order for order in self.orders.values() if order.customer_id == customer]

    def change(self, order: str, **fields: Any) -> None:
        self.orders[order] = replace(self.orders[order], **fields)


class Maker:
    """Draws customers and orders; ids are not given twice."""

    def __init__(self, draw: random.Random) -> None:
        self.draw, self.shop = draw, Shop()
        self._names = draw.sample([(first, last) for first in _FIRST for last in _LAST], 20)
        self._numbers = draw.sample(range(10_000, 99_999), 60)

    def address(self) -> str:
        return f"{self.draw.randint(1, 120)} {self.draw.choice(_STREETS)}, {self.draw.choice(_TOWNS)}"

    def customer(self) -> Customer:
        first, last = self._names.pop()
        email = f"{first.lower()}.{last.lower()}@example.{self.draw.choice(('org', 'net', 'com'))}"
        made = Customer(f"C-{self._numbers.pop() % 9000 + 1000}", f"{first} {last}", email, self.address())
        self.shop.customers[made.customer_id] = made
        return made

    def order(self, who: Customer, status: str, *, days: int = 3, late: int = 0, product: str = "") -> ShopOrder:
        """An order that was placed, shipped or delivered ``days`` ago, ``late`` days after it was promised."""
        number = self._numbers.pop()
        product = product or self.draw.choice(
            [name for name in PRODUCTS if all(o.product != name for o in self.shop.of(who.customer_id))]
        )
        last = TODAY - timedelta(days)
        shipped = last - timedelta(4) if status == "delivered" else last if status == "shipped" else None
        placed = (shipped or last + timedelta(2)) - timedelta(2)
        promised = last - timedelta(late) if status == "delivered" else placed + timedelta(7)
        made = ShopOrder(
            f"O-{number}", who.customer_id, product, PRODUCTS[product], status, str(placed), str(promised), str(shipped or ""),
            str(last) if status == "delivered" else "", f"TRK-{number * 7919 % 10**8:08}" if shipped else "", who.address,
        )  # fmt: skip
        self.shop.orders[made.order_id] = made
        return made
