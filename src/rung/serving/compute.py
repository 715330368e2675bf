"""Work that takes the processor: in threads, so that the event loop goes on answering and a deadline can fire.

A thread cannot be ended from outside: what runs on after its deadline keeps its slot until it ends, and the threads are
daemons, so that it does not hold up the end of the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar
from weakref import WeakKeyDictionary

from rung.core.machine import cores
from rung.core.protocols import Program
from rung.core.types import Answer, Input

T = TypeVar("T")

SHORT = 2000
"""Characters that are worked on where they are: a thread would take longer."""

QUICK = 0.005
"""Seconds that the event loop may be held up."""

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def compute(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread; at most one for each core at once. Raises what it raises."""
    loop = asyncio.get_running_loop()
    slots = _slots.setdefault(loop, asyncio.Semaphore(max(2, cores())))
    await slots.acquire()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        slots.release()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = context.run(work)
        except BaseException as error:
            failure = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="rung-compute", daemon=True).start()
    return await future


class Pace:
    """How long a program that asks no model takes: one that is quick with a short input answers at once, others in a thread."""

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
