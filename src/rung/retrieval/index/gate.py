"""Many readers or one writer. A writer that waits goes before readers that come later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._lock = threading.Condition(self._mutex)
        self._readers = 0
        self._writers = 0
        self._writing = threading.RLock()

    def enter(self) -> None:
        """Begin to read; ``leave`` ends it."""
        # The lock itself where nobody waits: a Condition's own enter and exit cost a microsecond a search.
        with self._mutex:
            if not self._writers:
                self._readers += 1
                return
        with self._lock:
            while self._writers:
                self._lock.wait()
            self._readers += 1

    def leave(self) -> None:
        with self._mutex:
            self._readers -= 1
            if not self._readers and self._writers:
                self._lock.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self._writing:
            with self._lock:
                self._writers += 1
                while self._readers:
                    self._lock.wait()
            try:
                yield
            finally:
                with self._lock:
                    self._writers -= 1
                    self._lock.notify_all()
