"""Cleaning: one filter after another over a stream of rows, what each dropped and why, and the same result after kill -9.

Beside ``OUT`` lies a folder with what is kept and dropped so far and how far that is. It is written first, then the note of how far:
a run that was killed goes on from the note, and a longer file is cut back to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.lock import file_lock
from rung.data.clean import language, minhash, noise
from rung.data.rows.lines import Count, line, pack, replacing, stream, told, unpack
from rung.data.rows.records import Record
from rung.safety import private
from rung.tasks.identity import identity

BATCH = 2000
EXAMPLES = 5
"""Examples that the report shows a reason."""
PIECE, SHARE = 4000, 0.1
"""Characters in which harmful text is looked for at once, and the share of such pieces above which a row is harmful."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Options:
    """What is filtered. ``near`` and ``leak`` are Jaccard similarities (None: off); ``leak`` is measured between inputs, against the rows of
    ``against``. Tokens are counted by the counter given to ``clean``; 0 is no bound. ``languages`` empty keeps all.
    ``pii`` are kinds of rung.safety.private that are looked for."""

    exact: bool = True
    near: float | None = 0.8
    against: tuple[Path, ...] = ()
    leak: float | None = 0.8
    min_tokens: int = 0
    max_tokens: int = 0
    languages: tuple[str, ...] = ()
    pii: Literal["mask", "drop", "off"] = "mask"
    kinds: tuple[str, ...] = private.KINDS
    toxic: Literal["drop", "list", "off"] = "drop"
    labels: Literal["drop", "list", "off"] = "list"
    style: Literal["drop", "list", "off"] = "list"


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a row is not kept: a word that is counted, and what exactly."""

    reason: str
    detail: str = ""


@dataclass(slots=True)
class Tally:
    """How often, and some examples: the row's id, what exactly, the beginning of its text (with private things masked)."""

    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, record: Record, detail: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            text = record.whole[:400]
            shown = " ".join(private.mask(text, private.find(text)).split())[:100]
            self.examples.append({"id": record.id, "why": detail[:200], "text": shown})


@dataclass(slots=True)
class Report:
    """What came of a cleaning. ``dropped`` and ``listed`` by reason (what is listed is kept), ``masked`` by kind, ``faults`` are rows that
    could not be read, ``notes`` what the user should know."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, Tally] = field(default_factory=dict)
    listed: dict[str, Tally] = field(default_factory=dict)
    masked: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    resumed: int = 0

    def document(self) -> dict[str, Any]:
        """As plain JSON."""

        def plain(tallies: Mapping[str, Tally]) -> dict[str, Any]:
            return {name: {"count": tally.count, "examples": tally.examples} for name, tally in sorted(tallies.items())}

        return {
            "format": FORMAT,
            "read": self.read,
            "kept": self.kept,
            "dropped": plain(self.dropped),
            "listed": plain(self.listed),
            "masked": dict(sorted(self.masked.items())),
            "faults": self.faults,
            "notes": self.notes,
        }

    def text(self) -> str:
        """For people."""
        out = [f"{self.read:,} rows read, {self.kept:,} kept, {sum(t.count for t in self.dropped.values()):,} dropped"]
        for title, tallies in (("Dropped", self.dropped), ("Kept, but worth a look", self.listed)):
            if tallies:
                out += ["", f"{title}:"]
            for name, tally in sorted(tallies.items(), key=lambda item: -item[1].count):
                out.append(f"  {tally.count:>7,}  {name}")
                out += [
                    f"           {e['id']}: {e['why'] + ': ' if e['why'] else ''}{e['text']}" for e in tally.examples
                ]
        if self.masked:
            out += ["", "Masked: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.masked.items()))]
        if self.faults:
            out += [
                "",
                f"{len(self.faults):,} rows could not be read:",
                *(f"  {fault}" for fault in self.faults[:EXAMPLES]),
            ]
        return "\n".join([*out, *([""] if self.notes else []), *self.notes])


class Step(Protocol):
    """A filter: for each row the row (perhaps changed) or why it is dropped. ``told`` takes what is listed, ``masked`` what was masked."""

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]: ...


# ---------------------------------------------------------------- the filters


def _empty(records: Sequence[Record]) -> list[Record | Drop]:
    out: list[Record | Drop] = []
    for record in records:
        turns = [message for message in record.messages if message.role == "assistant" and message.learn]
        if record.messages and (not record.answer.strip() or not all(turn.content.strip() for turn in turns)):
            out.append(Drop("empty answer"))
        elif not record.whole.strip() or (record.messages and not record.question.strip()):
            out.append(Drop("empty input" if record.messages else "empty text"))
        else:
            out.append(record)
    return out


class _Length:
    def __init__(self, count: Count, low: int, high: int) -> None:
        self._count, self._low, self._high = count, low, high

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        out: list[Record | Drop] = []
        for record in records:
            tokens = self._count(record)
            if tokens < self._low:
                out.append(Drop("too short", f"{tokens:,} tokens"))
            elif self._high and tokens > self._high:
                out.append(Drop("too long", f"{tokens:,} tokens"))
            else:
                out.append(record)
        return out


class _Language:
    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = frozenset(wanted)

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        found = [language.tell(record.whole, self._wanted) for record in records]
        return [
            record if not code or code in self._wanted else Drop("language", code)
            for record, code in zip(records, found, strict=True)
        ]


class _Private:
    def __init__(self, drop: bool, kinds: Sequence[str], masked: Counter[str]) -> None:
        self._drop, self._kinds, self._masked = drop, frozenset(kinds), masked

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        return [self._one(record) for record in records]

    def _one(self, record: Record) -> Record | Drop:
        texts = [message.content for message in record.messages] if record.messages else [record.text]
        if record.rejected is not None:
            texts.append(record.rejected)
        found = [private.find(text, self._kinds) for text in texts]
        kinds = [item.kind for items in found for item in items]
        if not kinds:
            return record
        if self._drop:
            return Drop("private", ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(kinds).items())))
        self._masked.update(kinds)
        return masked(
            record, [private.mask(text, items) for text, items in zip(texts, found, strict=True)], self._kinds
        )


def masked(record: Record, texts: Sequence[str], kinds: frozenset[str] = frozenset(private.KINDS)) -> Record:
    """The record with these texts (one a message, then the rejected one), and with what its row had besides masked as well."""
    from dataclasses import replace

    rejected = texts[-1] if record.rejected is not None else None
    changed = record.with_texts(tuple(texts[: len(record.messages)] if record.messages else texts[:1]))
    return replace(changed, rejected=rejected, extra=_covered(record.extra, kinds))


def _covered(value: Any, kinds: frozenset[str]) -> Any:
    if isinstance(value, str):
        return private.mask(value, private.find(value, kinds))
    if isinstance(value, Mapping):
        return {key: _covered(item, kinds) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_covered(item, kinds) for item in value]
    return value


class _Toxic:
    def __init__(self, drop: bool, judge: Callable[[str], str], listed: dict[str, Tally]) -> None:
        self._drop, self._judge, self._listed = drop, judge, listed

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        out: list[Record | Drop] = []
        for record in records:
            text = record.whole
            pieces = [text[at : at + PIECE] for at in range(0, max(len(text), 1), PIECE)]
            found = [why for piece in pieces if (why := self._judge(piece))]
            # A whole book is not harmful for one sentence of it.
            if len(found) > SHARE * len(pieces) and self._drop:
                out.append(Drop("toxic", found[0]))
                continue
            if found:
                self._listed.setdefault("toxic", Tally()).add(
                    record, found[0] + (f" and {len(found) - 1} more places" if len(found) > 1 else "")
                )
            out.append(record)
        return out


class _Exact:
    """The same but for case, punctuation and spaces. Remembers 16 bytes a row."""

    def __init__(self) -> None:
        self._seen: dict[bytes, str] = {}

    def remember(self, records: Sequence[Record]) -> None:
        for record in records:
            self._seen.setdefault(self._key(record), record.id)

    @staticmethod
    def _key(record: Record) -> bytes:
        import hashlib

        # A text of signs alone has no words: it is its own key.
        turns = [f"{m.role}\x1f{identity(m.content) or m.content}" for m in record.messages] or [
            identity(record.text) or record.text
        ]
        said = "\x1e".join(
            [*turns, *([f"rejected\x1f{identity(record.rejected)}"] if record.rejected is not None else [])]
        )
        return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        out: list[Record | Drop] = []
        for record in records:
            key = self._key(record)
            if key in self._seen:
                out.append(Drop("duplicate", f"of {self._seen[key]}"))
            else:
                self._seen[key] = record.id
                out.append(record)
        return out


class _Near:
    def __init__(self, threshold: float) -> None:
        self._sieve, self._ids = minhash.Sieve(threshold), list[str]()

    def remember(self, records: Sequence[Record]) -> None:
        self._sieve.add([record.whole for record in records])
        self._ids += [record.id for record in records]

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        same = self._sieve.sift([record.whole for record in records]).tolist()
        self._ids += [record.id for record, number in zip(records, same, strict=True) if number < 0]
        return [
            record if number < 0 else Drop("near-duplicate", f"of {self._ids[number]}")
            for record, number in zip(records, same, strict=True)
        ]


class _Leak:
    """Inputs that stand in other files, exactly or nearly: what is tested must not be learnt."""

    def __init__(self, paths: Sequence[Path], threshold: float, faults: list[str]) -> None:
        self._sieve, self._ids, self._keys = minhash.Sieve(threshold), list[str](), dict[str, str]()
        for path in paths:
            rows = (record for _, record in stream(path, faults))
            while batch := list(islice(rows, BATCH)):
                texts = [record.question or record.text for record in batch]
                self._sieve.add(texts)
                self._ids += [record.id for record in batch]
                for text, record in zip(texts, batch, strict=True):
                    self._keys.setdefault(identity(text), record.id)
        if not self._ids:
            raise InputError("the files to keep apart from hold no row", remedy="name a file of rows: --against FILE")

    def __call__(self, records: Sequence[Record]) -> list[Record | Drop]:
        texts = [record.question or record.text for record in records]
        out: list[Record | Drop] = []
        for record, text, number in zip(records, texts, self._sieve.look(texts).tolist(), strict=True):
            same = self._keys.get(identity(text))
            if same is None and number >= 0:
                same = self._ids[number]
            out.append(record if same is None else Drop("leak", f"its input is that of {same}"))
        return out


# ---------------------------------------------------------------- the work


def clean(
    source: Path,
    out: Path,
    options: Options,
    *,
    count: Count | None = None,
    counter: str = "",
    toxic: Callable[[str], str] | None = None,
    judge: str = "",
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Filter ``source`` into ``out`` (replaced in one step at the end), with ``OUT.report.json``, ``OUT.report.txt`` and
    ``OUT.dropped.jsonl`` beside it. Called again after a kill with the same arguments, it goes on where it was.

    ``count`` counts tokens (``counter`` names it); ``toxic`` says why a text is, or nothing (``judge`` names it). Raises InputError for a
    source that cannot be read or holds no row, and when another process cleans into ``out``.
    """
    if (options.min_tokens or options.max_tokens) and count is None:
        raise ValueError("a bound on tokens needs a counter")
    if not source.exists():
        raise InputError(f"there is no {source}", remedy="make it: rung data import SOURCES --to FILE.jsonl")
    if out.exists() and out.samefile(source):
        raise InputError("a file cannot be cleaned into itself", file=source, remedy="name another: --to OUT.jsonl")
    work = out.with_name(f".{out.name}.cleaning")
    with told(out):
        work.mkdir(parents=True, exist_ok=True)

    def busy(_: float) -> None:
        raise InputError(f"another process is cleaning into {out}", remedy="wait for it, or name another file")

    with file_lock(work / "lock", busy):
        report = _run(source, out, options, work, count, counter, toxic, judge, progress)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _identity(source: Path, options: Options, counter: str, judge: str) -> str:
    files = [
        (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for path in (source, *options.against)
        if path.exists()
    ]
    return digest([FORMAT, files, options, counter, judge])


def _run(
    source: Path,
    out: Path,
    options: Options,
    work: Path,
    count: Count | None,
    counter: str,
    toxic: Callable[[str], str] | None,
    judge: str,
    progress: Callable[[int], None] | None,
) -> Report:
    key = _identity(source, options, counter, judge)
    report, place, sizes = _resume(work, key)
    kept, dropped = work / "kept.jsonl", work / "dropped.jsonl"
    hits: Counter[str] = Counter(report.masked)
    steps: list[Step] = [_empty]
    if options.min_tokens or options.max_tokens:
        assert count is not None
        steps.append(_Length(count, options.min_tokens, options.max_tokens))
    if options.languages:
        steps.append(_Language(options.languages))
    if options.pii != "off":
        steps.append(_Private(options.pii == "drop", options.kinds, hits))
    if options.toxic != "off" and toxic is not None:
        steps.append(_Toxic(options.toxic == "drop", toxic, report.listed))
    if options.against and options.leak is not None:
        steps.append(_Leak(options.against, options.leak, []))
    memory: list[_Exact | _Near] = [
        *([_Exact()] if options.exact else []),
        *([_Near(options.near)] if options.near else []),
    ]
    steps += memory
    with told(out), kept.open("ab") as good, dropped.open("ab") as bad:
        for file, size in ((good, sizes[0]), (bad, sizes[1])):
            file.truncate(size)
            file.seek(size)  # else tell() goes on from where the file once ended
        if place:
            for batch in _batches(_kept(kept)):
                for one in memory:
                    one.remember(batch)
            # What was dropped as nearly the same had been seen by the filter of exact duplicates before.
            for batch in _batches(_dropped_as(dropped, "near-duplicate")):
                for one in memory:
                    if isinstance(one, _Exact):
                        one.remember(batch)
        faults: list[str] = []
        rows = stream(source, faults, skip=place)
        while True:
            batch_rows = list(islice(rows, BATCH))
            report.faults += faults[: max(0, 1000 - len(report.faults))]
            faults.clear()
            if not batch_rows:
                break
            _one(steps, [record for _, record in batch_rows], report, good.write, bad.write)
            place = batch_rows[-1][0]
            # A row of several records is done as one: what follows of it is read before the note is written.
            more = []
            for number, record in rows:
                if number != place:
                    rows = _put_back((number, record), rows)
                    break
                more.append(record)
            if more:
                _one(steps, more, report, good.write, bad.write)
            report.masked = dict(hits)
            _note(work, key, report, place, good, bad)
            if progress is not None:
                progress(report.read)
    if not report.read:
        raise InputError(
            "holds no row to clean" + (f": {report.faults[0]}" if report.faults else ""),
            file=source,
            remedy="name a file of rows",
        )
    _finish(out, kept, dropped, options, report)
    return report


def _put_back(item: tuple[int, Record], rows: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    yield item
    yield from rows


def _one(
    steps: Sequence[Step],
    records: Sequence[Record],
    report: Report,
    keep: Callable[[bytes], Any],
    drop: Callable[[bytes], Any],
) -> None:
    report.read += len(records)
    alive = list(records)
    for step in steps:
        if not alive:
            break
        left = []
        for record, verdict in zip(alive, step(alive), strict=True):
            if isinstance(verdict, Drop):
                report.dropped.setdefault(verdict.reason, Tally()).add(record, verdict.detail)
                drop(_dropped(record, verdict))
            else:
                left.append(verdict)
        alive = left
    for record in alive:
        keep(line(pack(record)))
    report.kept += len(alive)


def _dropped(record: Record, why: Drop) -> bytes:
    return line({"reason": why.reason, "detail": why.detail, "row": pack(record)})


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, BATCH)):
        yield batch


def _kept(path: Path) -> Iterator[Record]:
    with path.open("rb") as rows:
        for raw in rows:
            yield unpack(json.loads(raw))


def _dropped_as(path: Path, reason: str) -> Iterator[Record]:
    with path.open("rb") as rows:
        for raw in rows:
            found = json.loads(raw)
            if found["reason"] == reason:
                yield unpack(found["row"])


def _note(work: Path, key: str, report: Report, place: int, good: Any, bad: Any) -> None:
    for file in (good, bad):
        file.flush()
        os.fsync(file.fileno())
    note = {"key": key, "place": place, "sizes": [good.tell(), bad.tell()], "report": report.document()}
    with replacing(work / "note.json") as stream_out:
        stream_out.write(json.dumps(note, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _resume(work: Path, key: str) -> tuple[Report, int, tuple[int, int]]:
    """What a killed run had done, when it had the same work to do."""
    report = Report()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads((work / "note.json").read_bytes())
        sizes = tuple(note["sizes"])
        there = tuple((work / name).stat().st_size for name in ("kept.jsonl", "dropped.jsonl"))
        if note["key"] == key and there[0] >= sizes[0] and there[1] >= sizes[1]:
            told_before = note["report"]
            report.read, report.kept = told_before["read"], told_before["kept"]
            report.masked, report.faults = told_before["masked"], told_before["faults"]
            for name in ("dropped", "listed"):
                getattr(report, name).update({reason: Tally(**tally) for reason, tally in told_before[name].items()})
            report.resumed = report.read
            return report, note["place"], (sizes[0], sizes[1])
    return Report(), 0, (0, 0)


def _finish(out: Path, kept: Path, dropped: Path, options: Options, report: Report) -> None:
    """What can only be said of all rows together; then the files take their places."""
    doubts: dict[int, Drop] = {}
    for reason, mode, found in _doubts(kept, options, report):
        for doubt in found:
            if mode == "drop":
                doubts.setdefault(doubt.place, Drop(reason, doubt.why))
            else:
                report.listed.setdefault(reason, Tally())
        if mode == "list" and found:
            wanted = {doubt.place: doubt.why for doubt in found}
            for place, record in enumerate(_kept(kept)):
                if place in wanted:
                    report.listed[reason].add(record, wanted[place])
    with replacing(out.with_name(f"{out.name}.dropped.jsonl")) as bad, replacing(out) as good:
        with dropped.open("rb") as before:
            shutil.copyfileobj(before, bad)
        for place, record in enumerate(_kept(kept)):
            if place in doubts:
                why = doubts[place]
                report.dropped.setdefault(why.reason, Tally()).add(record, why.detail)
                report.kept -= 1
                bad.write(_dropped(record, why))
            else:
                good.write(line(pack(record)))
    with replacing(out.with_name(f"{out.name}.report.json")) as file:
        file.write(
            (json.dumps(report.document(), indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        )
    with replacing(out.with_name(f"{out.name}.report.txt")) as file:
        file.write((report.text() + "\n").encode("utf-8", "surrogatepass"))


WHOLE = 200_000
"""Rows that are compared as a whole at most."""


def _doubts(kept: Path, options: Options, report: Report) -> Iterator[tuple[str, str, list[noise.Doubt]]]:
    if options.labels == options.style == "off":
        return
    if report.kept > WHOLE:
        report.notes.append(
            f"Answers are compared with one another up to {WHOLE:,} rows; there are {report.kept:,}: not done."
        )
        return
    questions, answers, places = [], [], []
    for place, record in enumerate(_kept(kept)):
        if record.messages:
            questions.append(record.question)
            answers.append(record.answer)
            places.append(place)

    def placed(found: list[noise.Doubt]) -> list[noise.Doubt]:
        return [noise.Doubt(places[doubt.place], doubt.why) for doubt in found]

    classes = noise.labels(answers)
    if options.labels != "off":
        yield "contradiction", options.labels, placed(noise.contradictions(questions, answers))
        if classes:
            if len(questions) > noise.ROWS:
                report.notes.append(f"Labels of a sample of {noise.ROWS:,} rows were compared with their neighbours'.")
            if len(set(answers)) < 2:
                report.notes.append(f"There is one label, {answers[0][:40]!r}: nothing to tell apart.")
            yield "label", options.labels, placed(noise.suspects(questions, answers))
    if options.style != "off":
        if 0 < len(answers) < noise.FEW:
            report.notes.append(
                f"{len(answers)} rows with answers are too few to tell what is unusual ({noise.FEW} are needed)."
            )
        yield "style", options.style, placed(noise.outliers(answers))
