"""Snapshots of a local index in a folder. ``index.json`` names the current one and is replaced in one step, so that
a crash leaves the old snapshot or the new one. One process writes at a time; any number read what was there when
they opened."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.core.errors import InputError, StoreError
from rung.core.system.files import write_file
from rung.core.system.lock import file_lock

_FORMAT = 3
_PATIENCE = 1.0
"""Seconds that a writer waits for another one."""


def checksum(path: Path) -> str:
    """Of a file's content: its CRC-32 and its size."""
    total = size = 0
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            total, size = zlib.crc32(piece, total), size + len(piece)
    return f"{total:08x}-{size}"


@dataclass(slots=True)
class Folder:
    """``name`` is the index's string form, ``layout`` what its files depend on."""

    path: Path
    name: str
    layout: str
    dimensions: int
    generation: int = 0
    """The snapshot that was read or written last; 0: none."""
    _writer: ExitStack = field(default_factory=ExitStack)

    def lock(self) -> None:
        """Become the writer. Raises StoreError when another is, or the folder cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._writer.enter_context(file_lock(self.path / "lock", self._wait))
        except OSError as error:
            raise self.cannot("write", error) from None

    def unlock(self) -> None:
        self._writer.close()

    def _wait(self, waited: float) -> None:
        if waited > _PATIENCE:
            raise StoreError(
                f"another process is writing to the index at {self.path}",
                remedy="wait until it has finished, or stop it; reading goes on meanwhile",
            )
        time.sleep(0.05)

    def current(self) -> int:
        """The generation of the snapshot on the disk, 0 when there is none."""
        head = self._head()
        return 0 if head is None else int(head["generation"])

    def load(self, read: Callable[[Path], None]) -> None:
        """Give the current snapshot's stem to ``read``, if there is one. Raises InputError when it is of another
        kind of index, StoreError when it is damaged or ``read`` raises OSError or ValueError."""
        for attempt in range(5):
            head = self._head()
            self.generation = 0
            if head is None:
                return
            self._fits(head)
            try:
                if not head["files"]:
                    raise ValueError("index.json names no files")
                for name, total in head["files"].items():
                    # What is damaged is refused here, before a library maps it and reads where nothing is.
                    if Path(name).name != name or checksum(self.path / name) != total:
                        raise ValueError(f"{name} is not what was written")
                read(self.path / str(head["generation"]))
            except FileNotFoundError as error:
                # A writer replaced the snapshot between our reading its name and its files.
                if attempt == 4:
                    raise self._damaged(error) from None
                time.sleep(0.02)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, EOFError, MemoryError,
                    OverflowError) as error:  # fmt: skip
                raise self._damaged(error) from None
            else:
                self.generation = int(head["generation"])
                return

    def save(self, write_files: Callable[[Path], Sequence[Path]]) -> None:
        """Have ``write_files`` write files whose names begin with the stem it is given, and make them the current
        snapshot. Raises StoreError when there is no room; then the old one is current."""
        generation = self.generation + 1
        stem = self.path / str(generation)
        try:
            written = write_files(stem)
            for path in written:
                with path.open("r+b") as stream:
                    os.fsync(stream.fileno())
            head = {
                "format": _FORMAT,
                "name": self.name,
                "layout": self.layout,
                "dimensions": self.dimensions,
                "generation": generation,
                "files": {path.name: checksum(path) for path in written},
            }
            write_file(self.path / "index.json", json.dumps(head).encode())
        except OSError as error:
            self._sweep(self.generation)
            raise self.cannot("flush", error) from None
        self.generation = generation
        self._sweep(generation)

    def _sweep(self, generation: int) -> None:
        """Remove files of other generations; one that a reader holds on Windows goes the next time."""
        for path in self.path.iterdir():
            first = path.name.partition(".")[0]
            if first.isdigit() and int(first) != generation:
                try:
                    path.unlink()
                except OSError:
                    continue

    def _head(self) -> dict[str, Any] | None:
        path = self.path / "index.json"
        try:
            head = dict(json.loads(path.read_text()))
            int(head["generation"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise StoreError(
                f"{path} is damaged", remedy="restore it from a backup, or delete the folder and build the index again"
            ) from None
        return head

    def _fits(self, head: Mapping[str, Any]) -> None:
        if head.get("format") != _FORMAT:
            raise StoreError(
                f"the index at {self.path} has format {head.get('format')!r}, this rung reads {_FORMAT}",
                remedy="open it with the rung that wrote it, or build it again into an empty folder",
            )
        if head.get("dimensions") != self.dimensions:
            raise InputError(
                f"the index at {self.path} has vectors of {head.get('dimensions')} dimensions, got {self.dimensions}",
                remedy="use the embedder that it was built with, or build it again into an empty folder",
            )
        if head.get("layout") != self.layout:
            raise InputError(
                f"the index at {self.path} was built as {head.get('layout')!r}, opened as {self.layout!r}",
                remedy=f"open it as {head.get('name')!r}, or build it again into an empty folder",
            )

    def cannot(self, what: str, error: OSError) -> StoreError:
        return StoreError(
            f"cannot {what} the index at {self.path}: {error.strerror or error}",
            remedy="make room or check the folder's permissions, then do it again; what was flushed before is whole",
        )

    def _damaged(self, error: Exception) -> StoreError:
        return StoreError(
            f"the index at {self.path} is damaged: {error}",
            remedy="restore it from a backup, or delete the folder and build the index again",
        )
