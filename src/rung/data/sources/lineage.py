"""From training rows, and what was trained on them, back to the traces that they come from: served answers and agents'
episodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.system.files import write_file
from rung.data.read import read
from rung.data.rows.records import Record

FILE = "lineage.json"
"""Beside what was trained: the ids of the traces that its rows come from, and which of them for what people said of
them."""
Find = Callable[[Iterable[str]], set[str]]
"""Those of some traces for which something holds."""


@dataclass(frozen=True, slots=True)
class Descendant:
    """A file of rows, or a folder of weights (``kind``: rows, weights). ``traces`` are what it comes from, ``gone``
    those that were deleted since (of a pair's also those of which nothing is said any more), ``rows`` how many of its
    rows come from those."""

    path: Path
    kind: str
    traces: tuple[str, ...]
    gone: tuple[str, ...] = ()
    rows: int = 0

    def __str__(self) -> str:
        if not self.traces:
            return f"{self.path}: {self.kind} of no traces"
        if not self.gone:
            return f"{self.path}: {self.kind} of {len(self.traces):,} traces, all of them there"
        rows = f", {self.rows:,} of its rows" if self.kind == "rows" else ""
        return f"{self.path}: STALE: {len(self.gone):,} of its {len(self.traces):,} traces were deleted, or what was said of them{rows}"


def traces_of(record: Record) -> tuple[str, ...]:
    """The ids of the traces that a row comes from: of a served answer, of the two of a pair, of an agent's episode."""
    served = record.source.get("served") or ()
    found = [served] if isinstance(served, str) else list(served)
    for place in (record.source, record.extra):
        if isinstance(episode := place.get("episode"), str):
            found.append(episode)
    return tuple(map(str, found))


def write_lineage(folder: Path, data: Sequence[Path], parents: Iterable[Path] = (), traces: Iterable[str] = ()) -> int:
    """Note beside what was trained on ``data``, from what lies in the folders ``parents`` (weights, a learnt reward)
    and on ``traces``, which traces that all comes from. How many; none: nothing is written. Rows that cannot be read
    were not trained on."""
    known, said, parents = set[str](), set[str](), list(parents)
    for record in read(data, problems=Problems()):
        known.update(traces_of(record))
        said.update(traces_of(record) if record.rejected is not None else ())
    found = sorted(known.union(traces, *map(_traces, parents)))
    if found:
        folder.mkdir(parents=True, exist_ok=True)
        spoken = sorted(said.union(*(_traces(parent, "said") for parent in parents)))
        document = {"data": list(map(str, data)), "traces": found, "said": spoken}
        write_file(folder / FILE, (json.dumps(document, indent=1) + "\n").encode())
    return len(found)


def descendants(paths: Iterable[Path], gone: Find, unsaid: Find = lambda _: set()) -> Iterator[Descendant]:
    """What stands under ``paths`` (files of rows, folders of weights), with which of its traces are ``gone``, or, where
    people's word made a pair of them, ``unsaid``. Raises InputError for a path that is not there, or a file that holds
    no rows."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob(FILE)):
                traces = _traces(file.parent)
                lost = gone(traces) | unsaid(_traces(file.parent, "said"))
                yield Descendant(file.parent, "weights", traces, tuple(sorted(lost)))
            for file in sorted(path.rglob("*.jsonl")):
                try:
                    yield _rows(file, gone, unsaid)
                except InputError:
                    continue  # some other file of lines
        elif path.is_file():
            yield _rows(path, gone, unsaid)
        else:
            raise InputError(f"there is no {path}", remedy="name a file of rows, or a folder")


def _traces(folder: Path, key: str = "traces") -> tuple[str, ...]:
    """The traces that what lies in a folder comes from; with ``key`` said those of pairs. Raises InputError for a
    damaged file."""
    file = folder / FILE
    if not file.is_file():
        return ()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return tuple(map(str, document["traces"] if key == "traces" else document.get(key, ())))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read it: {error}", file=file, remedy="train it again") from None


def _rows(file: Path, gone: Find, unsaid: Find) -> Descendant:
    records = list(read([file]))
    by_row = [traces_of(record) for record in records]
    traces = tuple(dict.fromkeys(id for row in by_row for id in row))
    pairs = [id for record, row in zip(records, by_row, strict=True) if record.rejected is not None for id in row]
    lost = gone(traces) | unsaid(pairs)
    return Descendant(file, "rows", traces, tuple(sorted(lost)), sum(any(id in lost for id in row) for row in by_row))
