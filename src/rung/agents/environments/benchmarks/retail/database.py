"""Orders, users and products of the retail domain: read once, changed in copies."""

from __future__ import annotations

import copy
import gzip
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rung.core.errors import InputError

Record = dict[str, Any]


class RefusedCall(Exception):
    """A tool changes nothing; the message says why."""


@dataclass(frozen=True)
class RetailData:
    """What stands in the folder. ``tools`` are function schemas as they are there, ``tasks`` by split."""

    orders: dict[str, Record]
    users: dict[str, Record]
    products: dict[str, Record]
    tools: list[Record]
    tasks: dict[str, list[Record]]
    policy: str


@dataclass
class RetailState:
    """The data and what was changed since: ``changed`` holds whole records, so that two equal ones mean equal
    worlds."""

    data: RetailData
    changed: dict[str, dict[str, Record]] = field(default_factory=lambda: {"orders": {}, "users": {}})

    def order(self, id: str) -> Record:
        return self._record("orders", id, "order")

    def user(self, id: str) -> Record:
        return self._record("users", id, "user")

    def product(self, id: str) -> Record:
        if id not in self.data.products:
            raise RefusedCall(f"There is no product {id!r}.")
        return self.data.products[id]

    def item(self, product: str, item: str) -> Record:
        """A variant of a product that can be had. Raises RefusedCall."""
        variant: Record | None = self.product(product)["variants"].get(item)
        if variant is None or not variant["available"]:
            raise RefusedCall(f"Item {item!r} is no available variant of the product.")
        return variant

    def payment(self, user: str, id: str) -> Record:
        found: Record | None = self.user(user)["payment_methods"].get(id)
        if found is None:
            raise RefusedCall(f"The customer has no payment method {id!r}.")
        return found

    def change_order(self, id: str) -> Record:
        """The order's record, to be changed in place."""
        return self._change("orders", id, self.order(id))

    def change_user(self, id: str) -> Record:
        return self._change("users", id, self.user(id))

    def pay(self, user: str, payment: str, amount: float) -> None:
        """Take an amount from a gift card (a negative one is put back); other methods have no balance here."""
        if self.payment(user, payment)["source"] == "gift_card" and amount:
            card = self.change_user(user)["payment_methods"][payment]
            card["balance"] = round(card["balance"] - amount, 2)

    def fork(self) -> RetailState:
        return RetailState(self.data, copy.deepcopy(self.changed))

    def differences(self) -> dict[str, dict[str, Record]]:
        """The records that are not as they were in the beginning."""
        first = {"orders": self.data.orders, "users": self.data.users}
        return {
            kind: {id: record for id, record in sorted(records.items()) if record != first[kind][id]}
            for kind, records in self.changed.items()
        }

    def _record(self, kind: str, id: str, word: str) -> Record:
        first = self.data.orders if kind == "orders" else self.data.users
        if id not in first:
            raise RefusedCall(f"There is no {word} {id!r}.")
        return self.changed[kind].get(id) or first[id]

    def _change(self, kind: str, id: str, record: Record) -> Record:
        return self.changed[kind].setdefault(id, copy.deepcopy(record))


@lru_cache(maxsize=4)
def read_data(folder: Path) -> RetailData:
    """Read the folder: ``orders``, ``users``, ``products``, ``tools`` (.json or .json.gz), ``tasks_dev.jsonl``,
    ``tasks_test.jsonl`` and ``policy_wiki.md``. Raises InputError for what is missing or something else."""
    try:
        read = {name: json.loads(_text(folder, f"{name}.json")) for name in ("orders", "users", "products", "tools")}
        tasks = {
            split: [json.loads(line) for line in _text(folder, f"tasks_{split}.jsonl").splitlines() if line.strip()]
            for split in ("dev", "test")
        }
        tools = [tool.get("function", tool) for tool in read["tools"]]
        if not all({"name", "parameters"} <= tool.keys() for tool in tools) or not all(
            {"user_id", "instruction", "actions"} <= task.keys() for split in tasks.values() for task in split
        ):
            raise ValueError("a tool without name and parameters, or a task without user_id, instruction and actions")
        return RetailData(
            read["orders"], read["users"], read["products"], tools, tasks, _text(folder, "policy_wiki.md")
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} holds no data of the retail domain: {error}", remedy="give the folder of tau-bench's retail data"
        ) from None


def _text(folder: Path, name: str) -> str:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            data = path.read_bytes()
            return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    raise InputError(f"there is no {name} in {folder}", remedy="give the folder of tau-bench's retail data")
