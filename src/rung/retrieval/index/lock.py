"""Many readers or one writer. A writer that waits goes before readers that come later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """A thread that writes may write again inside; it may not read inside, nor write inside a read."""

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
