"""Which sandbox runs the code; where there is none, nothing runs."""

from __future__ import annotations

from rung.core.errors import MissingExtra, RungError, Unsupported
from rung.core.parts import registry
from rung.sandbox.outcome import CodeSandbox

AUTO = ("monty", "bubblewrap")
"""Tried in this order when none is named: the safer one first."""


def open_sandbox(name: str = "auto") -> CodeSandbox:
    """The sandbox of that name (registry kind ``sandbox``), or under ``auto`` the first that works here.

    Raises InputError for an unknown name, and Unsupported (code ``no-sandbox``) where it is not there: code is never
    run without.
    """
    if name != "auto":
        return _open(name)
    reasons = []
    for candidate in AUTO:
        try:
            return _open(candidate)
        except RungError as error:
            reasons.append(f"{candidate}: {error.message}")
    raise Unsupported(
        f"no sandbox here, so the code is refused ({'; '.join(reasons)})",
        remedy="type: pip install 'rung[sandbox]' (any system), or on Linux: apt-get install bubblewrap",
        code="no-sandbox",
    )


def _open(name: str) -> CodeSandbox:
    try:
        opened: CodeSandbox = registry.load("sandbox", name)()
    except MissingExtra as error:
        raise Unsupported(error.message, remedy=error.remedy, code="no-sandbox") from None
    return opened
