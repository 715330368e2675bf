"""Memory that is not needed any more, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from typing import Any

from rung.core.protocols import Resident


def release() -> None:
    """Collect what nothing refers to, and give freed memory back. The C library keeps what it may use again: half a
    gigabyte after a training, whose batches have many shapes, and a machine of 4 GB needs it for what comes next."""
    gc.collect()
    if (trim := _trim()) is not None:
        trim(0)


def rest(model: object) -> None:
    """Let a model that holds memory give it back until it is next asked; nothing is done to others."""
    if isinstance(model, Resident):
        model.rest()


@cache
def _trim() -> Any:
    """glibc's malloc_trim, see malloc_trim(3); None elsewhere."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
