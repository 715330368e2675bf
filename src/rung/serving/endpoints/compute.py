"""Work that takes the processor: in threads, so that the event loop goes on answering and a deadline can fire.

A thread cannot be ended from outside. One whose caller has gone (a deadline, a client that left) is told to stop:
Python raises an exception in it at its next step. What does not hear it within PATIENCE gives its slot to another, and
STUCK of those are the most there may be: then more work is refused (503) until one ends. The threads are daemons, so
none holds up the process's end.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rung.core.protocols import Program
from rung.core.system.machine import cores
from rung.core.types import Answer, Input
from rung.serving.apis.wire.refused import Refused

T = TypeVar("T")

SHORT = 2000
"""Characters that are worked on where they are: a thread would take longer."""

QUICK = 0.005
"""Seconds that the event loop may be held up."""

PATIENCE = 2.0
"""Seconds in which a thread that was told to stop keeps its slot."""

STUCK = 4
"""Threads that do not stop, at most."""


class _Stop(BaseException):
    """Raised in a thread whose result nobody waits for any more."""


class Threads:
    """The threads of one event loop: at most one for each core at work."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(max(2, cores()))
        self.stuck: list[threading.Thread] = []

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``. Raises what it raises, and Refused when too many threads do not stop."""
        self.stuck = [thread for thread in self.stuck if thread.is_alive()]
        if len(self.stuck) >= STUCK:
            said = f"{len(self.stuck)} computations go on after their deadline and cannot be ended"
            raise Refused(503, said, code="overloaded", retry_after=60)
        await self.slots.acquire()
        held = True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self.slots.release()

        def end(result: Any, error: BaseException | None) -> None:
            release()
            if not future.done():
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result)

        def run() -> None:
            result, failure = None, None
            try:
                result = context.run(work)
            except BaseException as error:
                failure = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(end, result, failure)

        def give_up() -> None:
            if held and thread.is_alive():
                self.stuck.append(thread)
            release()

        thread = threading.Thread(target=run, name="rung-compute", daemon=True)
        thread.start()
        try:
            return await future
        except asyncio.CancelledError:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Stop))
            loop.call_later(PATIENCE, give_up)
            raise


_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()


async def compute(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread of the running loop. Raises what it raises."""
    loop = asyncio.get_running_loop()
    if loop not in _threads:
        _threads[loop] = Threads()
    return await _threads[loop].run(work)


class Pace:
    """How long a program that asks no model takes: one that is quick with a short input answers at once, others in a
    thread."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def answer(self, program: Program, input: Input) -> Answer:
        if program.model is not None:
            return await program(input)
        if size(input) > SHORT or self.seconds > QUICK:
            return await compute(lambda: self._timed(program, input))
        began = time.perf_counter()
        answer = await program(input)
        self.seconds = time.perf_counter() - began
        return answer

    def _timed(self, program: Program, input: Input) -> Answer:
        began = time.thread_time()
        answer = asyncio.run(_await(program, input))
        if size(input) <= SHORT:
            self.seconds = time.thread_time() - began
        return answer


async def _await(program: Program, input: Input) -> Answer:
    return await program(input)


def size(input: Mapping[str, str]) -> int:
    """Characters of an input."""
    return sum(map(len, input.values()))
