"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rung.core.errors import FetchError

FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What the systems say of a folder that may not be written to."""


def under(folder: Path, name: str) -> Path:
    """A path that a file in ``folder`` names: from there, unless it is whole; ~ is the home."""
    path = Path(name).expanduser()
    return path if path.is_absolute() else folder / path


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A place beside ``path`` to write to: when the block ends well it is brought to the disk and takes the place of
    ``path`` in one step; otherwise it goes, and ``path`` is as it was. Not ``durable``: for what can be made again, the
    step alone."""
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


@contextmanager
def cache_errors(where: Path) -> Iterator[None]:
    """Turns what the disk of the cache folder ``where`` refuses into a FetchError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(where) from None
        raise FetchError(
            f"cannot write to {where}: {error.strerror}",
            remedy="make the folder writable, or name another: RUNG_CACHE=/path",
        ) from None


def disk_full(where: Path) -> FetchError:
    return FetchError(
        f"the disk of {where} is full",
        remedy="free some space, or name a folder on another disk: RUNG_CACHE=/path/on/another/disk",
    )
