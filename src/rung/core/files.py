"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A place beside ``path`` to write to: when the block ends well it is brought to the disk and takes the place of ``path``
    in one step; otherwise it goes, and ``path`` is as it was. Not ``durable``: for what can be made again, the step alone."""
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        yield part
        if durable:
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
        part.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a whole file. Raises OSError; then the old one is as it was."""
    with atomic_write(path) as part:
        part.write_bytes(data)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last; systems that cannot open folders sync them by themselves."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
