"""The guard around optional dependencies: one call at a room's border, one message that ends in what to type."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from rung.core.errors import MissingExtra


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import ``module`` or raise MissingExtra naming the extra that brings it and ``why`` it is needed."""
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtra(
            f"{why} needs the Python package {module.partition('.')[0]!r}, which is not installed",
            remedy=f"type: pip install 'rung[{extra}]'",
        ) from None
