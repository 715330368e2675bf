"""Long work in a thread that can be told to stop, so that a person who gives up gets the prompt back at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
GRACE = 1.5
"""Seconds that cancelled work is waited for. What cannot stop in the meantime (a library that compiles a model) is left
behind, so it must write every file whole or not at all."""


async def detached(work: Callable[[], T]) -> T:
    """Await ``work`` in a thread of its own, for which neither a cancelled caller nor the end of the program waits."""
    return await run_stoppable(lambda _: work(), grace=0.0)


async def run_stoppable(work: Callable[[threading.Event], T], *, grace: float = GRACE) -> T:
    """``work(stop)`` in a thread of its own. Cancelling sets ``stop`` and waits for at most ``grace`` seconds."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def settle(how: Callable[[Any], None], value: Any) -> None:
        def put() -> None:
            if not done.done():
                how(value)

        with suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(put)

    def target() -> None:
        try:
            result = work(stop)
        except BaseException as error:
            settle(done.set_exception, error)
        else:
            settle(done.set_result, result)

    # A daemon, unlike the threads of asyncio.to_thread, does not keep the process alive.
    threading.Thread(target=contextvars.copy_context().run, args=(target,), daemon=True).start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([done], timeout=grace)
        if done.done() and not done.cancelled():
            done.exception()  # looked at, so that asyncio does not complain of it
        raise
