"""A server that was started by a supervisor: it says when it is ready, and does not outlive it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rung.serving.http.app import State
    from rung.serving.http.process.server import Server

READY = "RUNG_READY_FD"
PARENT = "RUNG_SUPERVISOR"
_PR_SET_PDEATHSIG = 1


def watch_parent() -> None:
    """End when the supervisor ends, however it ends (Linux)."""
    parent = os.environ.get(PARENT)
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        raise SystemExit(1)


async def tell_ready(server: Server, state: State) -> None:
    """Tell the supervisor, once, that requests can come."""
    while READY in os.environ and (not server.started or state.warm):  # noqa: ASYNC110 - uvicorn tells nobody when it has started
        await asyncio.sleep(0.01)
    say_ready()


def say_ready() -> None:
    """Tell the supervisor, once, that this process is at work."""
    given = os.environ.pop(READY, "")
    if given:
        with suppress(OSError):
            os.write(int(given), b"ready\n")
            os.close(int(given))
