"""Who may write a collection: one thread of one process at a time."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rung.core.errors import StoreError
from rung.core.system.files import atomic_write
from rung.core.system.lock import file_lock


class Writer:
    """``wait`` is how many seconds a write waits for another one before it gives up."""

    def __init__(self, folder: Path, wait: float) -> None:
        self.folder, self.wait = folder, wait
        self.held = False
        self._lock = threading.RLock()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the writer during the block. Raises StoreError while another is, and for a folder that cannot be
        written."""
        if not self._lock.acquire(timeout=self.wait):
            raise self._taken()
        try:
            if self.held:  # a write inside a write of this thread
                yield
                return
            try:
                with file_lock(self.folder / "lock", self._pause):
                    self.held = True
                    try:
                        yield
                    finally:
                        self.held = False
            except OSError as error:
                raise no_room(self.folder, error) from error
        finally:
            self._lock.release()

    def offer(self, settle: Callable[[], None], save: Callable[[], None]) -> None:
        """Save a side file after a reader's replay, if nobody is writing; a disk without room is no error here."""
        if self.held:
            return
        try:
            with Writer(self.folder, 0.0).lock():
                settle()
                save()
        except (OSError, StoreError):
            return

    def _pause(self, waited: float) -> None:
        if waited >= self.wait:
            raise self._taken()
        time.sleep(min(0.02, self.wait))

    @contextmanager
    def said(self, what: str) -> Iterator[None]:
        """Tell other processes what is being done meanwhile."""
        note = self.folder / "writer.json"
        try:
            with atomic_write(note, durable=False) as part:
                part.write_text(json.dumps({"process": os.getpid(), "what": what, "since": time.time()}))
        except OSError as error:
            raise no_room(self.folder, error) from error
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def _taken(self) -> StoreError:
        try:
            note = json.loads((self.folder / "writer.json").read_text())
            since = time.strftime("%H:%M:%S", time.localtime(note["since"]))
            who = f" (process {note['process']}, {note['what']} since {since})"
        except (OSError, ValueError, KeyError, TypeError):
            who = ""
        return StoreError(
            f"the collection {self.folder.name} is being written by another process or thread{who}",
            remedy="wait until it has ended and run the same again; searching goes on meanwhile",
        )


def no_room(folder: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write in {folder}: {error.strerror or error}; what was committed before is whole",
        remedy="free some space (or name a folder you may write to) and run the same again",
    )
