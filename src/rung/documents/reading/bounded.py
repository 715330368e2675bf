"""Reading within bounds: plain text here, every other format in a worker process that is replaced when a file ends
it."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from rung.core.errors import InputError
from rung.core.parts.problem import Problem, Problems
from rung.core.types import Document
from rung.documents.reading import worker as process
from rung.documents.reading.worker import BOUNDS, Bounds, Produce, ReadingProcess
from rung.documents.source import Source, parse

_HERE = frozenset({"text"})
"""Kinds that are read in this process: nothing is parsed, so time and memory are those of the file's size."""
_AHEAD = 64
"""Sources that a worker is asked for before they are taken: their requests fit into a pipe."""
_idle: list[ReadingProcess] = []
_lock = threading.Lock()


def read(source: Source, troubles: list[Problem] | None = None) -> Iterator[Document]:
    """The documents of a source, in the file's order; ids begin with the source's id and are unique within it.

    Time and memory are bounded (see worker.Bounds): a file that takes more, or that ends the process which reads it, is
    told like any other that cannot be read. What cannot be read is added to ``troubles`` and the rest goes on: an error
    where something is lost, a warning where it was read in a way that somebody should know about. Without that list the
    first error is raised as InputError. A missing optional package is always raised (MissingExtra): it is not the
    file's fault.
    """
    for _, item in read_all([source]):
        if isinstance(item, Document):
            yield item
        elif item is not None and troubles is not None:
            troubles.append(item)
        elif item is not None and item.level == "error":
            remedy = item.remedy or "mend the file, or leave it out"
            raise InputError(item.message, remedy=remedy, file=source.path, line=item.line, code=item.code)


def read_all(sources: Sequence[Source], bounds: Bounds = BOUNDS) -> Iterator[tuple[int, Document | Problem | None]]:
    """What is read of many sources, in their order: the place of a source with each of its documents, then with each of
    its problems, then with None. The worker reads ahead. Raises MissingExtra."""
    worker: ReadingProcess | None = None
    asked: deque[int] = deque()
    ahead = 0
    try:
        for place, source in enumerate(sources):
            if source.kind in _HERE or not sys.executable:
                problems = Problems()
                yield from ((place, document) for document in parse(source, problems))
                yield from ((place, problem) for problem in problems.close())
                yield place, None
                continue
            if worker is None or not worker.good:
                worker = _take(worker)
                asked.clear()
                ahead = place
            while len(asked) < _AHEAD and ahead < len(sources):
                if sources[ahead].kind not in _HERE:
                    worker.ask(sources[ahead], bounds)
                    asked.append(ahead)
                ahead += 1
            for item in worker.answer(source, bounds):
                yield place, item
            asked.popleft()
            yield place, None
    finally:
        if worker is not None and worker.good and not asked:
            with _lock:
                _idle.append(worker)
        elif worker is not None:
            worker.close()


def read_apart(source: Source, produce: Produce, problems: Problems, bounds: Bounds = BOUNDS) -> Iterator[Any]:
    """What ``produce`` makes of a source in a worker process, within bounds; in this one where it is a worker, or none
    can be started. Problems are added to ``problems``, those of the bounds too. Raises MissingExtra."""
    if process.apart or not sys.executable:
        yield from produce(source, problems)
        return
    worker, there = _take(None), str(source.path.absolute())
    worker.ask(source, bounds, produce)
    try:
        with closing(cast(Generator[Any, None, None], worker.answer(source, bounds))) as items:
            for item in items:
                if isinstance(item, Problem):
                    problems.counts[item.level] += 1
                    problems.found.append(replace(item, file=str(source.path)) if item.file == there else item)
                else:
                    yield item
    finally:
        if worker.good:
            with _lock:
                _idle.append(worker)
        else:
            worker.close()


def is_packed(file: Path, kind: str) -> bool:
    """Whether a file can hold far more than its size says, and so is read in a process with bounds."""
    if process.apart or file.is_dir():
        return False
    if kind in ("parquet", "arrow") or file.suffix.lower() == ".gz":
        return True
    with file.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


def table_of(file: Path) -> Source:
    """A table as a source."""
    about = file.stat()
    return Source(file, "table", about.st_size, about.st_mtime_ns, str(file))


def _take(spent: ReadingProcess | None) -> ReadingProcess:
    if spent is not None:
        spent.close()
    with _lock:
        return _idle.pop() if _idle else ReadingProcess()


def _end() -> None:
    while _idle:
        _idle.pop().close()


def _forked() -> None:
    """The pipes of a forked process are its parent's."""
    global _lock
    _lock = threading.Lock()
    _abandoned.extend(_idle)
    _idle.clear()


_abandoned: list[ReadingProcess] = []
atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
