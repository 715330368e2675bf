"""Cleaning: one filter after another over a stream of rows, what each dropped and why, and the same result after kill
-9.

Beside ``OUT`` lies a folder with what is kept and dropped so far, and a checkpoint that says how far that is. The
rows are written first, then the checkpoint: a run that was killed goes on from there, and a longer file is cut back
to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.settings import Settings
from rung.core.system.lock import file_lock
from rung.data.clean.filters import agreement
from rung.data.clean.filters.duplicates import Exact, Leak, Near, batches
from rung.data.clean.filters.language import LanguageFilter
from rung.data.clean.filters.privacy import Private
from rung.data.clean.filters.size import Length, drop_empty
from rung.data.clean.filters.toxic import Toxic, open_filter
from rung.data.clean.options import CleanOptions
from rung.data.clean.report import FORMAT, Drop, Report, RowFilter
from rung.data.read import stream
from rung.data.rows.length import TokenCounter, open_counter
from rung.data.rows.lines import disk_errors, line, pack, replacing, unpack
from rung.data.rows.records import Record

BATCH = 2000
KEPT, DROPPED, CHECKPOINT = "kept.jsonl", "dropped.jsonl", "checkpoint.json"


def clean(
    source: Path,
    out: Path,
    options: CleanOptions | None = None,
    *,
    counter: TokenCounter | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Filter ``source`` into ``out`` (replaced in one step at the end), with ``OUT.report.json``, ``OUT.report.txt``
    and ``OUT.dropped.jsonl`` beside it. Called again after a kill with the same arguments, it goes on where it was.

    ``counter`` counts tokens where there is a bound on them (default: the model of the options or settings);
    ``progress`` is told how many rows are done. Raises InputError for a source that cannot be read or holds no row,
    and when another process cleans into ``out``."""
    options = options or CleanOptions()
    if not source.exists():
        remedy = "make it: rung data import SOURCES --to FILE.jsonl"
        raise InputError(f"there is no {source}", remedy=remedy, code="not-found")
    if out.exists() and out.samefile(source):
        raise InputError(
            "a file cannot be cleaned into itself", file=source, remedy="name another: --to OUT.jsonl", code="same-file"
        )
    if counter is None and (options.min_tokens or options.max_tokens):
        counter = open_counter(options.model, Settings())
    work = out.with_name(f".{out.name}.cleaning")
    with disk_errors(out):
        work.mkdir(parents=True, exist_ok=True)

    def busy(_: float) -> None:
        raise InputError(
            f"another process is cleaning into {out}", remedy="wait for it, or name another file", code="busy"
        )

    with file_lock(work / "lock", busy):
        report = _Cleaning(source, out, work, options, counter).run(progress)
    shutil.rmtree(work, ignore_errors=True)
    return report


class _Cleaning:
    """One run over one file. ``place`` is how many lines of the source are done."""

    def __init__(
        self, source: Path, out: Path, work: Path, options: CleanOptions, counter: TokenCounter | None
    ) -> None:
        self._source, self._out, self._work, self._options = source, out, work, options
        given = (source, *map(Path, (*options.against, options.toxic_words, options.harmful, options.harmless)))
        files = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in given if p.is_file()]
        self._key = digest([FORMAT, files, options, counter.name if counter else ""])
        self._kept, self._dropped = work / KEPT, work / DROPPED
        self.report, self._place, self._sizes = self._resume()
        if counter is not None:
            self.report.notes.append(f"Tokens are those of {counter.name}.")
        self._memory: list[Exact | Near] = [Exact()] if options.exact else []
        if options.near:
            self._memory.append(Near(options.near))
        self._filters = [*self._open_filters(counter), *self._memory]

    def _open_filters(self, counter: TokenCounter | None) -> Iterator[RowFilter]:
        """The filters that look at one row, in order; those that remember rows follow."""
        options = self._options
        yield drop_empty
        if counter is not None:
            yield Length(counter, options.min_tokens, options.max_tokens)
        if options.language:
            yield LanguageFilter(options.language)
        if options.pii != "off":
            yield Private(options.private, drop=options.pii == "drop")
        if options.toxic != "off":
            yield Toxic(open_filter(options), drop=options.toxic == "drop")
        if options.against and options.leak:
            yield Leak([Path(path) for path in options.against], options.leak, self.report)

    def run(self, progress: Callable[[int], None] | None) -> Report:
        with disk_errors(self._out), self._kept.open("ab") as kept, self._dropped.open("ab") as dropped:
            for file, size in zip((kept, dropped), self._sizes, strict=True):
                file.truncate(size)
                file.seek(size)  # else tell() goes on from where the file once ended
            if self._place:
                self._remember()
            problems = Problems()
            for batch in self._batches(problems):
                self._filter(batch, kept, dropped)
                self.report.take(problems)
                self._save((kept, dropped))
                if progress is not None:
                    progress(self.report.read)
            self.report.take(problems)
        if not self.report.read:
            why = f": {self.report.problems[0].message}" if self.report.problems else ""
            raise InputError(
                f"holds no row to clean{why}", file=self._source, remedy="name a file of rows", code="no-rows"
            )
        self._finish()
        return self.report

    def _batches(self, problems: Problems) -> Iterator[list[Record]]:
        """Rows from ``place`` on. A line of several records is never cut: what follows of it comes along."""
        rows = stream(self._source, problems, skip=self._place)
        ahead = next(rows, None)
        while ahead is not None:
            batch: list[Record] = []
            while ahead is not None and (len(batch) < BATCH or ahead[0] == self._place):
                self._place = ahead[0]
                batch.append(ahead[1])
                ahead = next(rows, None)
            yield batch

    def _filter(self, records: list[Record], kept: IO[bytes], dropped: IO[bytes]) -> None:
        self.report.read += len(records)
        for one in self._filters:
            left = []
            for record, verdict in zip(records, one(records, self.report), strict=True):
                if isinstance(verdict, Drop):
                    self.report.drop(record, verdict)
                    dropped.write(_drop_line(record, verdict))
                else:
                    left.append(verdict)
            records = left
        for record in records:
            kept.write(line(pack(record)))
        self.report.kept += len(records)

    def _remember(self) -> None:
        """Give the filters back what they had seen of the rows that a killed run had done."""
        for batch in batches(_read(self._kept)):
            for one in self._memory:
                one.remember(batch)
        # What was dropped as nearly the same had been seen by the filter of exact duplicates before.
        for batch in batches(_read(self._dropped, "near-duplicate")):
            for one in self._memory:
                if isinstance(one, Exact):
                    one.remember(batch)

    def _save(self, files: tuple[IO[bytes], IO[bytes]]) -> None:
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        document = {
            "key": self._key, "place": self._place, "sizes": [file.tell() for file in files],
            "report": self.report.document(),
        }  # fmt: skip
        with replacing(self._work / CHECKPOINT) as out:
            out.write(line(document))

    def _resume(self) -> tuple[Report, int, tuple[int, int]]:
        """What a killed run had done, when it had the same work to do."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            saved = json.loads((self._work / CHECKPOINT).read_bytes())
            kept, dropped = saved["sizes"]
            whole = self._kept.stat().st_size >= kept and self._dropped.stat().st_size >= dropped
            if saved["key"] == self._key and whole:
                return Report.restore(saved["report"]), saved["place"], (kept, dropped)
        return Report(), 0, (0, 0)

    def _finish(self) -> None:
        """What can only be said of all rows together; then the files take their places."""
        flags = agreement.compare(lambda: _read(self._kept), self._options, self.report)
        out, report = self._out, self.report
        with replacing(out.with_name(f"{out.name}.dropped.jsonl")) as bad, replacing(out) as good:
            with self._dropped.open("rb") as before:
                shutil.copyfileobj(before, bad)
            for place, record in enumerate(_read(self._kept)):
                if (why := flags.get(place)) is not None:
                    report.drop(record, why)
                    report.kept -= 1
                    bad.write(_drop_line(record, why))
                else:
                    good.write(line(pack(record)))
        document = json.dumps(report.document(), indent=1, ensure_ascii=False)
        for suffix, text in (("json", document), ("txt", report.text())):
            with replacing(out.with_name(f"{out.name}.report.{suffix}")) as file:
                file.write(f"{text}\n".encode("utf-8", "surrogatepass"))


def _drop_line(record: Record, why: Drop) -> bytes:
    return line({"reason": why.reason, "detail": why.detail, "row": pack(record)})


def _read(path: Path, reason: str = "") -> Iterator[Record]:
    """Records of a file of this run: kept ones, or those dropped for ``reason``."""
    with path.open("rb") as rows:
        for raw in rows:
            found = json.loads(raw)
            if not reason:
                yield unpack(found)
            elif found["reason"] == reason:
                yield unpack(found["row"])
