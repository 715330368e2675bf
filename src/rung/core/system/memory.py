"""Memory that is not needed any more, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from pathlib import Path
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


def peak_memory() -> int:
    """Peak resident bytes of this process so far. Linux counts what a process takes over from the one that started it
    in getrusage's figure, so its own is read there, see proc_pid_status(5)."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # there is none on Windows, where nothing is tuned, but the rest runs

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _trim() -> Any:
    """glibc's malloc_trim, see malloc_trim(3); None elsewhere."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
