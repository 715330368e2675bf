"""Rows that are there already: exactly, nearly, or as an input of another file that they must be kept apart from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.clean.filters.minhash import Deduplicator
from rung.data.clean.report import Drop, Report
from rung.data.read import stream
from rung.data.rows.records import Record
from rung.tasks.identity import identity

BATCH = 2000


def batches(records: Iterable[Record], size: int = BATCH) -> Iterator[list[Record]]:
    """The records, ``size`` at a time."""
    rest = iter(records)
    while batch := list(islice(rest, size)):
        yield batch


class Exact:
    """Drop rows that are the same as an earlier one (see tasks.identity). Remembers 16 bytes a row."""

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def remember(self, records: Sequence[Record]) -> None:
        for record in records:
            self._seen.setdefault(_key(record), record.id)

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        out: list[Record | Drop] = []
        for record in records:
            key = _key(record)
            if key in self._seen:
                out.append(Drop("duplicate", f"of {self._seen[key]}"))
            else:
                self._seen[key] = record.id
                out.append(record)
        return out


def _key(record: Record) -> bytes:
    # A text of punctuation alone has no words: it is its own key.
    turns = [f"{m.role}\x1f{identity(m.content) or m.content}" for m in record.messages]
    turns = turns or [identity(record.text) or record.text]
    if record.rejected is not None:
        turns.append(f"rejected\x1f{identity(record.rejected) or record.rejected}")
    return hashlib.blake2b("\x1e".join(turns).encode("utf-8", "surrogatepass"), digest_size=16).digest()


_DENIALS = re.compile(
    r"\b(?:not|no|never|without|cannot|nicht|kein\w*|nie|ohne|pas|jamais|sans|non|nunca|sin|não|sem|niet|geen|не|нет|без|ni)\b"
    r"|n['’]t\b|[不没沒非未無]|ない|ません|ไม่|नहीं|ليس|غير",
    re.IGNORECASE,
)


class Near:
    """Drop rows whose words are nearly those of an earlier one. A conversation that denies more or less often than the
    other says something else, however few its other words are."""

    def __init__(self, threshold: float) -> None:
        self._seen, self._ids, self._denials = Deduplicator(threshold), list[str](), list[int]()

    def remember(self, records: Sequence[Record]) -> None:
        self._seen.insert([record.whole for record in records])
        self._ids += [record.id for record in records]
        self._denials += map(_denials, records)

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        same = self._seen.query_insert([record.whole for record in records]).tolist()
        new = [record for record, number in zip(records, same, strict=True) if number < 0]
        self._ids += [record.id for record in new]
        self._denials += map(_denials, new)
        out: list[Record | Drop] = []
        others = []
        for record, number in zip(records, same, strict=True):
            if number >= 0 and _denials(record) == self._denials[number]:
                out.append(Drop("near-duplicate", f"of {self._ids[number]}"))
            else:
                out.append(record)
                others += [record] if number >= 0 else []
        self.remember(others)
        return out


def _denials(record: Record) -> int:
    return len(_DENIALS.findall(record.whole)) if record.messages else 0


class Leak:
    """Drop rows whose input stands in other files, exactly or nearly: what is tested must not be learnt.

    Raises InputError for files that cannot be read or hold no row."""

    def __init__(self, paths: Sequence[Path], threshold: float, report: Report) -> None:
        self._seen, self._ids, self._keys = Deduplicator(threshold), list[str](), dict[str, str]()
        problems = Problems()
        for path in paths:
            for batch in batches(record for _, record in stream(path, problems)):
                texts = [record.question or record.text for record in batch]
                self._seen.insert(texts)
                self._ids += [record.id for record in batch]
                for text, record in zip(texts, batch, strict=True):
                    self._keys.setdefault(identity(text), record.id)
        if not self._ids:
            problems.demand(paths[0])
            raise InputError(
                "the files to keep apart from hold no row", remedy="name a file of rows: --against FILE", code="no-rows"
            )
        if count := problems.counts["error"]:
            report.notes.append(
                f"{count:,} rows of the files to keep apart from could not be read: {problems.found[0]}"
            )

    def __call__(self, records: list[Record], report: Report) -> list[Record | Drop]:
        texts = [record.question or record.text for record in records]
        out: list[Record | Drop] = []
        for record, text, number in zip(records, texts, self._seen.query(texts).tolist(), strict=True):
            same = self._keys.get(identity(text)) or (self._ids[number] if number >= 0 else None)
            out.append(record if same is None else Drop("leak", f"its input is that of {same}"))
        return out
