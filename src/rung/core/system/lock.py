"""One holder of a file's lock at a time, also between processes. The operating system lets it go when the holder
dies."""

from __future__ import annotations

import errno
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What the systems say when another holds it; anything else (no locks on this file system) is an error."""


@contextmanager
def file_lock(path: Path, pause: Callable[[float], None]) -> Iterator[None]:
    """Hold the lock of the file ``path`` (made if need be) during the block.

    While another holds it, ``pause`` is called again and again with the seconds waited so far: it sleeps a little, says
    so to the user, or raises to give up. Raises OSError when the file cannot be opened or locked at all.
    """
    started = time.monotonic()
    with path.open("a+b") as stream:
        while not _take(stream):
            pause(time.monotonic() - started)
        yield


@asynccontextmanager
async def file_lock_async(path: Path, pause: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
    """``file_lock`` for a coroutine: the waiting is ``pause``'s, so that the event loop goes on."""
    started = time.monotonic()
    with path.open("a+b") as stream:
        while not _take(stream):
            await pause(time.monotonic() - started)
        yield


def _take(stream: IO[bytes]) -> bool:
    """Try once. Closing the stream lets go."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


class ReadWriteLock:
    """Many readers or one writer; a writer that waits goes before readers that come later. A thread that writes may
    write again inside; it may not read inside, nor write inside a read."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._writers = 0
        self._writing = threading.RLock()

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._changed:
            while self._writers:
                self._changed.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self._writing:
            with self._changed:
                self._writers += 1
                while self._readers:
                    self._changed.wait()
            try:
                yield
            finally:
                with self._changed:
                    self._writers -= 1
                    self._changed.notify_all()
