"""A customer without a model: what they know is what the right calls need, and they say it when they are asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rung.agents.loop.move import Call

_SLOTS: dict[str, tuple[str, ...]] = {
    "email": ("email",),
    "first_name": ("name",),
    "last_name": ("name",),
    "zip": ("zip", "postal", "address"),
    "order_id": ("order id", "order number", "which order"),
    "reason": ("reason", "why"),
    "address1": ("address",),
    "address2": ("address",),
    "city": ("address", "city"),
    "state": ("address", "state"),
    "country": ("address", "country"),
    "payment_method_id": ("payment", "refund", "card"),
}
"""What a question must have a word of, by the argument that it asks for."""

_HIDDEN = ("email", "first_name", "last_name", "zip", "order_id", "address1", "address2")
_CONFIRM = re.compile(r"\b(?:confirm|proceed|go ahead|correct|yes|okay|ok)\b", re.IGNORECASE)
_UNTOLD = "(ask me)"


def known(instruction: str, calls: Sequence[Call]) -> dict[str, list[str]]:
    """What the customer can tell: arguments of the right calls that stand in their instruction."""
    told: dict[str, list[str]] = {}
    for call in calls:
        for name, value in call.arguments.items():
            if name in _SLOTS and isinstance(value, str) and value and value.casefold() in instruction.casefold():
                values = told.setdefault(name, [])
                values += [value] if value not in values else []
    return told


def hide(instruction: str, told: Mapping[str, Sequence[str]]) -> str:
    """The instruction without what must be asked for."""
    for value in sorted({value for name in _HIDDEN for value in told.get(name, ())}, key=len, reverse=True):
        instruction = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _UNTOLD, instruction, flags=re.IGNORECASE)
    return instruction


def reply(text: str, told: Mapping[str, Sequence[str]]) -> str:
    """What the customer says to a message: what is asked for, yes to a request to confirm, else that they do not
    know."""
    lower = text.casefold()
    found: dict[str, Any] = {
        name: values for name, values in told.items() if any(word in lower for word in _SLOTS[name])
    }
    if found:
        return "; ".join(f"{name.replace('_', ' ')}: {', '.join(values)}" for name, values in found.items())
    return "Yes, please go ahead." if _CONFIRM.search(text) else "I don't know."
