"""What a command line or a form must know about a field of a dataclass: declared once, where the field is."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    flags: tuple[str, ...] = (),
    metavar: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A dataclass field that is an option for people too. ``help`` is a sentence; ``flags`` are its spellings on the
    command line (default: ``--`` and the field's name); ``low`` and ``high`` bound a number. A tuple is an option that
    may be repeated.
    """
    return field(
        default=default,
        metadata={"help": help, "flags": flags, "metavar": metavar or None, "min": low, "max": high},
    )


def argument(help: str, metavar: str, default: Any = MISSING) -> Any:
    """A dataclass field that is typed without a flag, in its place among the others; needed where it has no default. A
    tuple takes what is left."""
    words = {"help": help, "metavar": metavar, "min": None, "max": None, "argument": True}
    return field(metadata=words) if default is MISSING else field(default=default, metadata=words)
