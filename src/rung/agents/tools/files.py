"""``files:FOLDER``: list, read and search the text files of one folder, and with ``write: true`` write them.

No path leaves the folder. Paths are not checked as text and then opened: every part is opened below the one before it
(``openat`` with ``O_NOFOLLOW``), so that a link put there in the middle of a call is not followed either. A file is one
that is regular, on the folder's own file system, and has one name only (another hard link may lie outside).
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.core.errors import InputError, RungError, Unsupported
from rung.core.parts.place import here

LONGEST = 64_000
"""Bytes of one reading."""
MOST = 500
"""Entries of one listing, lines of one search, and folders that either looks into."""
_PLAIN = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FOLDER = _PLAIN | getattr(os, "O_DIRECTORY", 0)

Name = Annotated[str, Field(description="a path inside the folder, such as notes/a.txt", min_length=1, max_length=400)]


class Jail:
    """A folder that nothing leaves. ``room`` is how many bytes its files may have together after a writing."""

    def __init__(self, folder: Path, room: int) -> None:
        if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
            raise Unsupported(
                "the tool files needs a system that opens files below a folder (Linux, macOS)",
                remedy="leave the tool out",
                code="no-openat",
            )
        try:
            self._root = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise InputError(f"tool files: {folder}: {error.strerror}", remedy="name a folder that is there") from None
        self._device = os.fstat(self._root).st_dev
        self.room = room

    def close(self) -> None:
        os.close(self._root)

    @contextmanager
    def _inside(self, path: str) -> Iterator[tuple[int, str]]:
        """The open folder that holds ``path``'s last part, and that part; the jail itself for ".". Raises
        InputError."""
        parts = [part for part in path.strip("\n ").split("/") if part != "."]
        if path.startswith("/") or "\0" in path or "\\" in path or {"", ".."} & set(parts[:-1]) or parts[-1:] == [".."]:
            raise _refused(path, "it leaves the folder")
        opened = os.dup(self._root)
        try:
            for part in parts[:-1]:
                below = _open(part, _FOLDER, opened, path)
                os.close(opened)
                opened = below
                self._here(opened, path)
            yield opened, parts[-1] if parts and parts[-1] else "."
        finally:
            os.close(opened)

    def _here(self, descriptor: int, path: str) -> os.stat_result:
        found = os.fstat(descriptor)
        if found.st_dev != self._device:
            raise _refused(path, "it is on another file system")
        return found

    def read(self, path: str) -> bytes:
        """The content of a file, up to 16 MB. Raises InputError."""
        with self._inside(path) as (folder, name):
            descriptor = _open(name, _PLAIN, folder, path)
            try:
                self._regular(descriptor, path)
                with os.fdopen(os.dup(descriptor), "rb") as stream:
                    return stream.read(16 << 20)
            finally:
                os.close(descriptor)

    def _regular(self, descriptor: int, path: str) -> None:
        found = self._here(descriptor, path)
        if stat.S_ISDIR(found.st_mode):
            raise _refused(path, "it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "it is no regular file")
        if found.st_nlink > 1:
            raise _refused(path, "it has another name somewhere (a hard link)")

    def write(self, path: str, content: bytes) -> None:
        """Make or replace a file, whole or not at all, and the folders that lead to it. Raises RungError."""
        try:
            self._write(path, content)
        except OSError as error:
            raise RungError(f"{path!r} cannot be written: {error.strerror}", code="disk") from None

    def _write(self, path: str, content: bytes) -> None:
        parts = path.split("/")
        for end in range(1, len(parts)):
            with self._inside("/".join(parts[:end])) as (folder, name), suppress(FileExistsError):
                if name != ".":
                    os.mkdir(name, 0o755, dir_fd=folder)
        with self._inside(path) as (folder, name):
            if name == ".":
                raise _refused(path, "it is a folder")
            with suppress(FileNotFoundError):
                before = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(before.st_mode) or before.st_nlink > 1:
                    raise _refused(path, "it is no regular file with one name")
            used = sum(size for _, size in self.walk())
            if used + len(content) > self.room:
                raise InputError(
                    f"{path}: the folder has {used:,} bytes and may have {self.room:,}, {len(content):,} more do not fit",
                    remedy="write less",
                    code="jail-full",
                )
            part = f".{name[:100]}.{secrets.token_hex(4)}"
            made = os.open(
                part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644, dir_fd=folder
            )
            try:
                with os.fdopen(made, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(part, dir_fd=folder)
                raise

    def walk(self, path: str = ".") -> Iterator[tuple[str, int]]:
        """Regular files below a folder of the jail with their sizes, by path; what is a link or a device is left
        out."""
        with self._inside(path) as (folder, name):
            start = _open(name, _FOLDER, folder, path)
        waiting: list[tuple[str, int]] = [("" if path.strip("./") == "" else path.rstrip("/") + "/", start)]
        seen = 0
        try:
            while waiting and seen < MOST:
                prefix, descriptor = waiting.pop()
                seen += 1
                try:
                    yield from self._entries(prefix, descriptor, waiting)
                finally:
                    os.close(descriptor)
        finally:
            for _, descriptor in waiting:
                os.close(descriptor)

    def _entries(self, prefix: str, descriptor: int, waiting: list[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        with os.scandir(descriptor) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in reversed(found):
            if entry.is_dir(follow_symlinks=False) and len(waiting) < MOST:
                with suppress(OSError):
                    below = os.open(entry.name, _FOLDER, dir_fd=descriptor)
                    waiting.append((f"{prefix}{entry.name}/", below))
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False).st_size


def _open(name: str, flags: int, folder: int, path: str) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        why = {
            errno.ELOOP: "it is a link", errno.ENOENT: "there is no such file", errno.ENOTDIR: "a part of it is no folder",
            errno.ENXIO: "it is no regular file", errno.ENAMETOOLONG: "a name is too long",
        }.get(error.errno or 0, error.strerror or "it cannot be opened")  # fmt: skip
        raise _refused(path, why) from None
    except ValueError as error:
        raise _refused(path, str(error)) from None


def _refused(path: str, why: str) -> InputError:
    return InputError(f"{path!r}: {why}", remedy="list the files to see what is there", code="jail")


def open_files(target: str = "", *, write: bool = False, room: int = 64) -> tuple[FunctionTool, ...]:
    """``target`` is the folder, looked up beside the task's file; ``room`` is how many MB it may hold after a
    writing."""
    if not target:
        raise InputError("the tool files needs a folder", remedy="write files:FOLDER")
    jail = Jail(here().path(target), room << 20)

    async def files_list(folder: Name = ".") -> str:
        """List the files of a folder and of those below it, with their sizes in bytes."""
        return await asyncio.to_thread(_listed, jail, folder)

    async def files_read(path: Name, first: int = 1, lines: Annotated[int, Field(ge=1, le=2000)] = 400) -> str:
        """Read a text file, or some of its lines, beginning with line number `first`."""
        return await asyncio.to_thread(_lines, jail, path, first, lines)

    async def files_search(text: Annotated[str, Field(min_length=1, max_length=200)], folder: Name = ".") -> str:
        """Find the lines that hold a text, in capitals or not, in all files below a folder."""
        return await asyncio.to_thread(_found, jail, text, folder)

    async def files_write(path: Name, content: Annotated[str, Field(max_length=1_000_000)]) -> str:
        """Make or replace a text file."""
        await asyncio.to_thread(jail.write, path, content.encode("utf-8", "replace"))
        return f"{path}: {len(content):,} characters written"

    made = tuple(tool(function, returns="untrusted") for function in (files_list, files_read, files_search))
    return (*made, tool(files_write, effect="keyed")) if write else made


def _listed(jail: Jail, folder: str) -> str:
    found: list[str] = []
    for path, size in jail.walk(folder):
        if len(found) == MOST:
            return "\n".join([*found, f"... and more than these {MOST}"])
        found.append(f"{path} ({size:,} bytes)")
    return "\n".join(found) or "there are no files"


def _text(jail: Jail, path: str) -> str:
    data = jail.read(path)
    if b"\0" in data[:8000]:
        raise InputError(f"{path!r} is no text", remedy="read another file", code="jail")
    return data.decode("utf-8", "replace")


def _lines(jail: Jail, path: str, first: int, lines: int) -> str:
    every = _text(jail, path).splitlines()
    start = max(0, first - 1)
    chosen = "\n".join(every[start : start + lines])
    shown = chosen.encode()[:LONGEST].decode("utf-8", "ignore")
    last = start + shown.count("\n") + 1
    rest = len(every) - last
    return f"{shown}\n[{rest} more lines; go on with first={last + 1}]" if rest > 0 and every else shown


def _found(jail: Jail, text: str, folder: str) -> str:
    wanted = text.casefold()
    found: list[str] = []
    for path, size in jail.walk(folder):
        if size > 4 << 20:
            continue
        with suppress(InputError):
            for number, line in enumerate(_text(jail, path).splitlines(), 1):
                if wanted in line.casefold():
                    found.append(f"{path}:{number}: {line.strip()[:200]}")
        if len(found) >= 100:
            break
    return "\n".join(found[:100]) or f"no line holds {text!r}"
