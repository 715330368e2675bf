"""What an agent may call, a file a tool. ``names`` lists them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Tool


def open_tools(entry: str | Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools of one entry of a ``tools:`` list: ``calculator``, ``sql:FILE``, or a mapping with ``name``, ``target``
    and the tool's options.

    What follows the first colon is the target. Raises InputError for an unknown tool, a target that is not there, or
    options that it does not take.
    """
    if isinstance(entry, str):
        name, _, target = entry.strip().partition(":")
        options: dict[str, Any] = {}
    else:
        options = dict(entry)
        name, target = str(options.pop("name", "")), str(options.pop("target", ""))
    opener = registry.load("tool", name)
    try:
        opened = opener(target, **options)
    except TypeError as error:
        known = [item for item in getattr(opener, "__annotations__", {}) if item not in ("target", "return", "options")]
        raise InputError(
            f"tool {name}: {str(error).rpartition('() ')[2]}", remedy=f"its options: {', '.join(known) or 'none'}"
        ) from None
    return (opened,) if isinstance(opened, Tool) else tuple(opened)
