"""The guard around optional dependencies: one call at a room's border, one message that ends in what to type."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import cast

from rung.core.errors import InputError, MissingExtra

QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""Environment variables that switch reporting off: huggingface_hub's, the one of several libraries, ray's."""

FIRST = {"usearch": "openvino_genai"}
"""Packages before which another has to be loaded: the process dies by a segmentation fault where openvino_genai comes
after usearch, which puts numkong's symbols before everybody's."""


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import ``module`` or raise MissingExtra naming the extra that brings it and ``why`` it is needed.

    A package that is there and fails to import (a broken install, or a dependency of its own that is missing) raises
    its own error: "not installed" would send the user the wrong way. Raises InputError where the process would die (see
    FIRST).
    """
    _order(module.partition(".")[0])
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise MissingExtra(
            f"{why} needs the Python package {error.name!r}, which is not installed",
            remedy=f"type: pip install 'rung[{extra}]'",
        ) from None


def _order(package: str) -> None:
    """Load what has to come before ``package``; refuse to load it too late."""
    if package in sys.modules:
        return
    if package in FIRST:
        with suppress(ImportError):
            import_module(FIRST[package])
    for second, first in FIRST.items():
        if package == first and second in sys.modules:
            raise InputError(
                f"{first} cannot be loaded any more: this process has loaded {second}, and the two crash in this order",
                remedy=f"import {first} before {second}",
                code="import-order",
            )


def opt_out() -> None:
    """Keep libraries from reporting home; called when ``rung`` is imported, so before any of them is.

    openvino brings ``openvino_telemetry``, which looks up an analytics host and leaves a client id in the home folder
    when openvino is imported: an entry of None makes its import fail, and then openvino goes on with a stub of its own.
    The others read the environment. What a user has set stays.
    """
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("openvino_telemetry", None)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
