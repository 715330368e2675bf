"""Arguments of a call against a tool's schema, before anything leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.core.errors import InputError
from rung.core.reply import offence


def demand(name: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    """Raises InputError (code ``arguments``, or ``slow-pattern``) for arguments that the schema refuses or cannot be held against."""
    found = offence(schema, dict(arguments))
    if found is not None:
        where = ".".join(map(str, found.path))
        raise InputError(
            f"{name}: {where + ': ' if where else ''}{found.message}",
            remedy=f"its arguments: {', '.join(schema.get('properties', {})) or 'none'}",
            code="arguments",
        )
