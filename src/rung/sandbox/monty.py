"""``monty``: an interpreter of a part of Python, written in Rust, in a pool of processes (pydantic-monty).

It knows no files, no network, no processes and no environment: what the code may do outside is what it is handed. Every
limit that the interpreter has is set. Generators, most modules and much of classes are not there: such code ends in an
error that says so.

A run may be paused where the code calls a function of the host: ``begin`` and ``go_on`` give a ``Paused`` with the call
and a state of a few kilobytes, from which another process can go on. Such a state is only as trustworthy as where it
was kept: load none of strangers.
"""

from __future__ import annotations

import ast
import atexit
import re
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from rung.core.errors import Unsupported
from rung.core.system.extras import require
from rung.core.system.machine import cores
from rung.sandbox.outcome import QUOTA, Ended, Outcome, Quota, check_code, check_files

CALLS = 1000
"""Calls of the host in one run."""
LARGEST = 16 << 20
"""Bytes of memory at most, whatever the quota: an error's message or a call's argument of that size comes to this
process, and takes some three times as much here."""
DEPTH = 500
"""Frames of a recursion."""
GRACE = 0.3
"""Seconds that a process has to end a run by itself before it is killed."""
LONGEST_VALUE, LONGEST_MESSAGE = 64_000, 8_000
"""Characters of a value and of an error's message."""
_RECYCLED = 200
"""Runs of one process of the pool."""


@dataclass(frozen=True, slots=True)
class Paused:
    """The code waits for the host to answer ``function(*arguments, **named)``. ``state`` goes on from here; ``printed``
    is what was written since the last pause."""

    function: str
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    state: bytes = field(repr=False)
    printed: str = ""


class Monty:
    """The sandbox ``monty``. The processes begin with the first run and end with ``close``, or with this process."""

    name = "monty"

    def __init__(self) -> None:
        self._room: Any = require("pydantic_monty", "sandbox", "the sandbox monty")
        self._binary = _binary()
        self._pool: Any = None
        self._lock = threading.Lock()

    def run(
        self, code: str, *, files: Mapping[str, bytes] | None = None, quota: Quota = QUOTA, collect: bool = False
    ) -> Outcome:
        if collect:
            raise Unsupported(
                "the sandbox monty gives no files back", remedy="use the sandbox bubblewrap", code="no-sandbox"
            )
        source = _shown(code)
        with _mounted(self._room, check_files(files, quota)) as mount:
            found = self._turn(
                quota, lambda session, sink: session.feed_start(source, print_callback=sink, mount=mount)
            )
        assert isinstance(found, Outcome), "there is no function to pause at"
        return found

    def begin(self, code: str, functions: Collection[str], *, quota: Quota = QUOTA) -> Outcome | Paused:
        """Run ``code`` up to its first call of one of the host's ``functions``."""
        source, known = _shown(code), dict.fromkeys(functions, _nobody)

        def start(session: Any, sink: Any) -> Any:
            return session.feed_start(source, print_callback=sink, external_lookup=known)

        return self._turn(quota, start, functions)

    def go_on(
        self, state: bytes, functions: Collection[str], *, result: Any = None, error: str = "", quota: Quota = QUOTA
    ) -> Outcome | Paused:
        """Go on from a pause: the call returns ``result``, or raises RuntimeError with ``error`` where that is not
        empty."""
        reply = {"exc_type": "RuntimeError", "message": error} if error else {"return_value": result}
        known = dict.fromkeys(functions, _nobody)

        def start(session: Any, sink: Any) -> Any:
            return session.load_snapshot(state, print_callback=sink, external_lookup=known).resume(reply)

        return self._turn(quota, start, functions)

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            atexit.unregister(self.close)
            pool.__exit__(None, None, None)

    def _opened(self) -> Any:
        with self._lock:
            if self._pool is None:
                pool = self._room.Monty(
                    binary_path=self._binary, min_processes=1, max_processes=max(2, cores()),
                    checkout_timeout=60.0, max_checkouts_per_worker=_RECYCLED,
                    feed_duration_limit_grace=GRACE, turn_duration_limit_grace=GRACE,
                )  # fmt: skip
                self._pool = pool.__enter__()
                atexit.register(self.close)
            return self._pool

    def _turn(self, quota: Quota, start: Any, functions: Collection[str] = ()) -> Outcome | Paused:
        """Drive a session until it ends or calls one of the functions."""
        room = self._room
        sink = _Sink(quota.output)
        limits = {
            "max_feed_duration_secs": quota.seconds, "max_turn_duration_secs": quota.seconds,
            "max_memory": min(quota.memory << 20, LARGEST), "max_recursion_depth": DEPTH, "max_suspensions": CALLS,
            "max_total_sleep_secs": quota.seconds,
        }  # fmt: skip
        policy = {"sleep": "zero", "random_start": {"seed": 0}}
        started = time.monotonic()
        try:
            with self._opened().checkout(limits=limits, os_policy=policy) as session:
                at = start(session, sink)
                while not isinstance(at, room.MontyComplete):
                    if isinstance(at, room.FunctionSnapshot) and at.function_name in functions:
                        return Paused(at.function_name, tuple(at.args), dict(at.kwargs), at.dump(), sink.text())
                    at = at.resume_auto()  # a name that is not there, or the default for the operating system: refused
                value = at.output
        except room.MontyError as error:
            return _failed(room, error, sink, time.monotonic() - started)
        except TimeoutError:
            return Outcome("seconds", sink.text(), error="no process was free", seconds=time.monotonic() - started)
        text = "" if value is None else str(value)[: quota.output]
        return Outcome("done", sink.text(), text, seconds=time.monotonic() - started)


def _binary() -> str:
    """The interpreter that came with pydantic-monty. Raises Unsupported (code ``no-sandbox``) when it is not there."""
    try:
        found = [Path(str(file.locate())) for file in files("pydantic-monty-runtime") or () if file.stem == "monty"]
    except PackageNotFoundError:
        found = []
    for path in found:
        if path.is_file():
            return str(path)
    raise Unsupported(
        "pydantic-monty is here without its interpreter", remedy="type: pip install 'rung[sandbox]'", code="no-sandbox"
    )


def _nobody(*_: Any, **__: Any) -> None:
    """Stands for a function of the host, so that its name is known: calls are answered by whoever paused the run."""
    raise AssertionError("a call of the host is a pause")


class _Sink:
    """Keeps what is printed up to a number of bytes; one that prints more is stopped."""

    def __init__(self, most: int) -> None:
        self._parts: list[str] = []
        self._left = most
        self.full = False

    def __call__(self, stream: str, text: str) -> None:
        size = len(text.encode("utf-8", "replace"))
        self._parts.append(
            text if size <= self._left else text.encode("utf-8", "replace")[: self._left].decode("utf-8", "ignore")
        )
        self._left -= size
        if self._left < 0:
            self.full = True
            raise MemoryError("too much output")

    def text(self) -> str:
        return "".join(self._parts)


def _failed(room: Any, error: Any, sink: _Sink, seconds: float) -> Outcome:
    inner = error.exception()
    ended: Ended = "error"
    if sink.full:
        ended = "output"
    elif isinstance(error, room.MontyCrashedError):
        ended = "seconds" if error.timed_out else "crash"
    elif isinstance(inner, TimeoutError):
        ended = "seconds"
    elif isinstance(inner, MemoryError):
        ended = "memory"
    line = str(error)[:LONGEST_MESSAGE]
    frames = error.traceback()[-20:] if hasattr(error, "traceback") else []
    return Outcome(ended, sink.text(), "", line, "".join([*map(_frame, frames), line]), seconds)


def _frame(frame: Any) -> str:
    where = f" in {frame.function_name}" if frame.function_name else ""
    line = re.sub(r"__last = \((.*)\)$", r"\1", frame.source_line or "")  # as it was before _shown
    return f"line {frame.line}{where}: {line.strip()[:200]}\n"


def _shown(code: str) -> str:
    """The code with its last expression turned into its ``repr``, made inside: no value comes to the host whole,
    however large.

    Raises InputError for code that is too long. What is no Python for this process stays as it is: the interpreter says
    why.
    """
    data = check_code(code)
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    last = body[-1] if body else None
    if not isinstance(last, ast.Expr):
        return f"{code}\nNone"
    lines = [b"", *data.splitlines(keepends=True)]  # ast counts lines from 1, and columns in bytes
    head, line = b"".join(lines[: last.lineno]), lines[last.lineno]
    start = len(head) + last.col_offset
    end = len(b"".join(lines[: last.end_lineno])) + (last.end_col_offset or len(line))
    before, expression = data[:start].decode(), data[start:end].decode()
    return f"{before}__last = ({expression})\nNone if __last is None else repr(__last)[:{LONGEST_VALUE}]"


@contextmanager
def _mounted(room: Any, files: Mapping[str, bytes]) -> Iterator[Any]:
    """The files as a folder /work that can be read; nothing for none."""
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="rung-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with room.MountDir(host_path=folder, virtual_path="/work", mode="read-only") as mount:
            yield mount


def open_monty() -> Monty:
    """Raises MissingExtra where pydantic-monty is not installed."""
    return Monty()
