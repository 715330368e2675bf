"""Ctrl-C and SIGTERM while an episode is driven."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rung.agents.loop.episode import Episode

GRACE = 1.5
"""Seconds that a step has to end by itself."""


@contextmanager
def stopping(episode: Episode) -> Iterator[None]:
    """Within the block the first signal stops the episode at the end of its step, and where that takes longer than
    GRACE, in the midst of it: it is done again when the episode goes on. Only a call that must not be made twice is
    waited for. The second signal stops at once.

    The handlers are the process's, not the loop's: a tool that keeps the loop busy does not keep them from answering.
    """

    def stop(number: int, _: Any) -> None:
        if episode.leave:
            leave(number)
        episode.leave = True
        typer.echo(f"rung: stopping at the end of this step\n  → go on later: rung agent resume {episode.id}", err=True)
        timer = threading.Timer(GRACE, late, (number,))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def late(number: int) -> None:
        open_, tools = list(episode.view.open.values()), episode.agent.tools
        if any(call.tool in tools.tools and tools.effect(call.tool) == "once" for call in open_):
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
