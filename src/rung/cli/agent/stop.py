"""Ctrl-C and SIGTERM while an episode or a workflow is driven."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer

GRACE = 1.5
"""Seconds that a step has to end by itself."""


class Leaving(Protocol):
    """What is driven: with ``leave`` it stops at the end of its step, and goes on another time."""

    leave: bool


@contextmanager
def stopping(driven: Leaving, unknown: Callable[[], bool], again: str) -> Iterator[None]:
    """Within the block the first signal stops what is ``driven`` at the end of its step, and where that takes longer
    than GRACE, in the midst of it: it is done again when it goes on, by the command ``again``. Only a call that must
    not be made twice is waited for (``unknown``: one is open). The second signal stops at once.

    The handlers are the process's, not the loop's: a tool that keeps the loop busy does not keep them from answering.
    """

    def stop(number: int, _: Any) -> None:
        if driven.leave:
            leave(number)
        driven.leave = True
        typer.echo(f"rung: stopping at the end of this step\n  → go on later: {again}", err=True)
        timer = threading.Timer(GRACE, late, (number,))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def late(number: int) -> None:
        if unknown():
            typer.echo("rung: a call that cannot be made again is waited for; once more stops at once", err=True)
            return
        leave(number)

    def leave(number: int) -> None:
        typer.echo("rung: stopped within a step, which is done again", err=True)
        sys.stdout.flush()
        os._exit(128 + number)  # at once: a model may be busy in a thread. What was decided is in the trail

    timers: list[threading.Timer] = []
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
