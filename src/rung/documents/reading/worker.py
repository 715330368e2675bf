"""A process that reads documents for another, so that a hostile file costs that process and not the build.

Messages are pickles with their length before them, over the worker's standard input and output. What a worker may use
is set anew for every source: CPU seconds (RLIMIT_CPU) and address space (RLIMIT_AS), by the size of the file. Windows
has neither and macOS only the
first: there the deadline on the clock is all that holds.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import IO, Any

from rung.core.errors import InputError, MissingExtra
from rung.core.parts.problem import Problem, Problems
from rung.core.types import Document
from rung.documents.source import Source, parse
from rung.documents.tables.layout import Row

resource: Any = import_module("resource") if os.name == "posix" else None

_HEAD = struct.Struct("<Q")
_ARROW = {"ARROW_DEFAULT_MEMORY_POOL": "system", "ARROW_IO_THREADS": "1"}
"""Its own pool reserves more address space than a worker has."""
_PART = 1 << 18
"""Characters of documents in one message, about."""
_START = "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); from rung.documents.reading.worker import serve; serve()"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What reading one source may use: ``seconds`` of CPU and ``memory`` in bytes, and more of either for each byte of
    the file."""

    seconds: float = 20.0
    seconds_per_byte: float = 4e-6
    memory: int = 1 << 30
    memory_per_byte: float = 12.0

    def of(self, size: int) -> tuple[float, int]:
        return self.seconds + self.seconds_per_byte * size, int(self.memory + self.memory_per_byte * size)


BOUNDS = Bounds()

Produce = Callable[[Source, Problems], Iterator[Any]]
"""What is made of a source: documents (``parse``), or rows of a table. It travels to the worker by its name."""


class ReadingProcess:
    """One process that reads one source at a time. ``close`` ends it; so does the end of the process that started
    it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the process that asked: it ends this one
            env={**os.environ, **_ARROW},
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self._buffer = bytearray()
        self.good = True
        try:
            pickle.dump(sys.path, self._to)
            self._to.flush()
        except OSError:
            self.good = False

    def ask(self, source: Source, bounds: Bounds = BOUNDS, produce: Produce = parse) -> None:
        """Send a source to be read; those asked for are answered in order. The caller keeps to a few at a time, as
        nobody takes answers while requests are written."""
        there = replace(source, path=source.path.absolute())  # the worker is where this process was when it began
        with suppress(OSError):  # the next answer says so
            _send(self._to, (produce, there, *bounds.of(source.size)))

    def answer(self, source: Source, bounds: Bounds = BOUNDS) -> Iterator[Any]:
        """The documents (or what else is produced) of the source that was asked for first, then its problems; a source
        that the worker did not survive is a problem, and the worker no longer ``good``. Raises MissingExtra."""
        seconds, memory = bounds.of(source.size)
        deadline = time.monotonic() + 6 * seconds + 60  # of the clock, for what waits without computing
        finished = False
        try:
            while not finished:
                kind, value = self._receive(deadline)
                if kind == "missing":
                    finished = True
                    raise MissingExtra(value[0], remedy=value[1])
                finished = kind != "part"
                self.good = kind != "last"  # it used much: another one begins small
                yield from value
        except (OSError, EOFError, TimeoutError) as error:
            why = "it took too long" if isinstance(error, TimeoutError) else self._fate(seconds, memory)
            yield Problem(f"cannot be read: {why}", "leave it out", source.id, None, "error", "too-much")
        finally:
            if not finished:
                self.close()

    def _receive(self, deadline: float) -> tuple[str, Any]:
        alarm = None
        if os.name == "nt":  # pipes cannot be waited for there
            alarm = threading.Timer(max(0.0, deadline - time.monotonic()), self._process.kill)
            alarm.start()
        try:
            size = _HEAD.unpack(self._take(_HEAD.size, deadline))[0]
            received: tuple[str, Any] = pickle.loads(self._take(size, deadline))  # noqa: S301  our own worker wrote it
            return received
        finally:
            if alarm is not None:
                alarm.cancel()

    def _take(self, size: int, deadline: float) -> bytes:
        """The next ``size`` bytes. Raises EOFError when the worker is gone, TimeoutError at the deadline."""
        descriptor = self._from.fileno()
        while len(self._buffer) < size:
            if os.name != "nt" and not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise EOFError
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fate(self, seconds: float, memory: int) -> str:
        """Why the process is gone, in words."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "the process that read it stopped answering"
        if resource is not None and code in (-24, -9):  # SIGXCPU; SIGKILL by the system, for want of memory
            return (
                f"it took more than {seconds:.0f} seconds" if code == -24 else f"it needs more than {memory >> 20:,} MB"
            )
        return f"the process that read it ended (code {code}): it is damaged, or needs more than {memory >> 20:,} MB"

    def close(self) -> None:
        self.good = False
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from):
            with suppress(OSError):
                stream.close()


def _send(stream: IO[bytes], message: Any) -> None:
    body = pickle.dumps(message, protocol=5)
    stream.write(_HEAD.pack(len(body)) + body)
    stream.flush()


# ---------------------------------------------------------------- in the worker


apart = False
"""Whether this process is a worker."""


def serve() -> None:
    """Read what is asked for on standard input until it ends."""
    global apart
    apart = True
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    base = _size()
    while len(head := requests.read(_HEAD.size)) == _HEAD.size:
        produce, source, seconds, memory = pickle.loads(requests.read(_HEAD.unpack(head)[0]))  # noqa: S301  the process that asked wrote it
        _limit(seconds, memory)
        try:
            _answer(produce, source, answers, base + memory // 2)
        except MissingExtra as error:
            _send(answers, ("missing", (error.message, error.remedy)))
        except MemoryError:
            os._exit(137)


def _leave_with(parent: int) -> None:
    """End in the middle of a file when the process that asked was killed, and could not end this one."""
    while os.name == "posix" and os.getppid() == parent:
        time.sleep(0.5)
    if os.name == "posix":
        os._exit(1)


def _answer(produce: Produce, source: Source, answers: IO[bytes], most: int) -> None:
    problems = Problems()
    part: list[Any] = []
    size = 0
    try:
        for item in produce(source, problems):
            part.append(item)
            size += _weight(item)
            if size > _PART:
                _send(answers, ("part", part))
                part, size = [], 0
    except MissingExtra:
        raise
    except InputError as error:
        problems.add(error.message, error.remedy, file=source.id, code=error.code)
    except MemoryError:
        raise
    except Exception as error:  # a reader's fault costs its file and nothing else
        problems.add(f"cannot be read: {type(error).__name__}: {error}"[:300], file=source.id, code="reader-failed")
    _send(answers, ("last" if _size() > most else "end", [*part, *problems.close()]))


def _weight(item: Any) -> int:
    """Characters of an item, about."""
    if isinstance(item, Document):
        return len(item.text) + 200
    values = item.values.values() if isinstance(item, Row) else ()
    return 200 + sum(len(value) if isinstance(value, str) else 100 for value in values)


def _size() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _limit(seconds: float, memory: int) -> None:
    """What the next source may use, beyond what is used already."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    for name, value in (
        (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 1),
        (resource.RLIMIT_AS, _size() + memory if sys.platform == "linux" else resource.RLIM_INFINITY),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard) if value != resource.RLIM_INFINITY else hard
        with suppress(ValueError, OSError):  # the system knows better
            resource.setrlimit(name, (value, hard))
