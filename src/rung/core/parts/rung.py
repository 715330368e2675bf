"""A rung by name, with the options that a task file or another rung chose for it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, cast

from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Rung, Traits
from rung.core.types import RungChoice


def make_rung(choice: RungChoice) -> Rung:
    """The registered rung with the choice's options in place of its defaults.

    Raises InputError for an unknown rung or option, or an option's value of the wrong kind.
    """
    found = registry.load("rung", choice.name)
    rung: Any = found() if isinstance(found, type) else found
    if not (isinstance(rung, Rung) and isinstance(rung.traits, Traits)):
        raise InputError(
            f"rung {choice.name} is no Rung: {type(rung).__name__} lacks traits, obstacle or fit",
            remedy="see docs/extending.md",
            code="rung-protocol",
        )
    if not choice.options:
        return rung
    fields = {field.name: field for field in dataclasses.fields(cast(Any, rung))}
    changes: dict[str, Any] = {}
    for name, value in choice.options.items():
        if name not in fields:
            raise InputError(
                f"rung {choice.name} has no option {name!r}",
                remedy=f"its options: {', '.join(fields) or 'none'}",
            )
        default = getattr(rung, name)
        if isinstance(default, tuple) and not isinstance(value, str):
            value = tuple(value) if isinstance(value, list | tuple) else (value,)
        elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not None and type(value) is not type(default):
            raise InputError(
                f"rung {choice.name}: option {name} is {value!r}, expected {type(default).__name__}",
                remedy=f"for example {name}: {json.dumps(encode(default))}",
            )
        changes[name] = value
    try:
        return cast(Rung, dataclasses.replace(cast(Any, rung), **changes))
    except ValueError as error:
        raise InputError(f"rung {choice.name}: {error}", remedy="correct its options in the task file") from None
