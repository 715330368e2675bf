"""The guard around optional dependencies: one call at a room's border, one message that ends in what to type."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from rung.core.errors import MissingExtra


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import ``module`` or raise MissingExtra naming the extra that brings it and ``why`` it is needed.

    A package that is there and fails to import (a broken install, or a dependency of its own that is missing) raises its own
    error: "not installed" would send the user the wrong way.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtra(
            f"{why} needs the Python package {error.name!r}, which is not installed",
            remedy=f"type: pip install 'rung[{extra}]'",
        ) from None
