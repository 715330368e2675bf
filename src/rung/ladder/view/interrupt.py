"""Ctrl-C and SIGTERM while a climb runs: once asks, twice stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from rung.ladder.prepare.observer import Control

QUESTION = "Ctrl-C: s and Enter skips this rung, q stops (Ctrl-C again does too), Enter alone goes on: "


class Interrupts:
    """Handlers on the running event loop, from ``__init__`` until ``close``.

    At a terminal Ctrl-C asks what is meant, on ``say``, while the work goes on (``paused`` is told, so that nothing
    draws over it); elsewhere it stops, as SIGTERM always does. Once more while it stops ends the process at once: a
    library may be busy in a thread, and the store is whole at any moment. Where a shell started the process in the
    background SIGINT is ignored, and stays so.
    """

    def __init__(self, control: Control, say: Callable[[str], None], paused: Callable[[bool], None]) -> None:
        self._control, self._say, self._paused = control, say, paused
        self._asking = self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._signals = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            self._signals.append(signal.SIGINT)
        self._before = {number: signal.getsignal(number) for number in self._signals}
        # Not in another thread than the main one, nor on Windows: there Ctrl-C stops as everywhere in Python.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            self._loop.add_signal_handler(signal.SIGTERM, self._stop)
            if signal.SIGINT in self._signals:
                self._loop.add_signal_handler(signal.SIGINT, self._interrupt)

    def close(self) -> None:
        self._answered()
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in self._signals:
                self._loop.remove_signal_handler(number)
                if callable(before := self._before[number]):
                    signal.signal(number, before)

    def _stop(self) -> None:
        self._answered()
        if self._stopping:
            self._say("stopped at once; what was answered is kept, and the same command goes on from here")
            os._exit(130)
        self._stopping = True
        self._say("stopping ...")
        self._control.stop()

    def _interrupt(self) -> None:
        if self._asking or not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
            self._stop()
            return
        try:
            self._loop.add_reader(sys.stdin.fileno(), self._read)
        except (NotImplementedError, OSError, ValueError):
            self._stop()
            return
        self._asking = True
        self._paused(True)
        self._say(QUESTION)

    def _read(self) -> None:
        said = os.read(sys.stdin.fileno(), 1024).decode(errors="replace").strip().lower()
        if said.startswith("q"):
            self._stop()
            return
        self._answered()
        if said.startswith("s"):
            self._say("skipping this rung ...")
            self._control.skip()

    def _answered(self) -> None:
        if self._asking:
            self._asking = False
            self._loop.remove_reader(sys.stdin.fileno())
            self._paused(False)
