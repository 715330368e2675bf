"""Forgetting a person: what was served to them, what was kept and remembered of it, and the training rows that were
made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.core.system.files import atomic_write
from rung.serving.access.release import mark_stale
from rung.store import Forgotten, Store
from rung.store.people.forgetting import forget


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was deleted in the store, how many items of agents' memories, how many rows of each file, and the adapters
    that were marked."""

    forgotten: Forgotten
    remembered: int = 0
    rows: tuple[tuple[Path, int], ...] = ()
    stale: tuple[Path, ...] = ()

    def lines(self, subject: str, *, dry: bool) -> list[str]:
        """What is told."""
        verb = "would be deleted" if dry else "deleted"
        found = self.forgotten
        out = [
            f"{len(found.served):6}  served requests {verb}, with their scores and corrections",
            f"{found.responses:6}  kept answers {verb}",
            f"{found.results:6}  results of batches, messages and tables {verb}",
            f"{found.signals:6}  things said of answers {verb} (by them, or of theirs)",
            f"{found.decisions:6}  decisions of moderation about their texts {verb}",
            f"{self.remembered:6}  things that agents remember {verb}, with the person's episodes",
        ]
        out += [f"{count:6}  training rows {verb} in {path}" for path, count in self.rows]
        if not found.total and not self.remembered:
            out.append(f"nothing here is known to be about {subject!r} (servers keep whom it is about with --subjects)")
        if self.stale:
            out.append(
                f"stale: {', '.join(map(str, self.stale))}: rung serve refuses them until they are trained again"
            )
        elif any(count for _, count in self.rows):
            out.append(
                "what was trained on these files knows more than it should: name it with --adapter, train it again"
            )
        return [*out, "not reached: backups, other stores, files that were not named, providers that were asked"]


def forget_subject(
    store: Store, subject: str, files: Sequence[Path], adapters: Sequence[Path] = (), *, dry: bool = False
) -> Receipt:
    """Delete what is known of ``subject`` in the store, and the rows in ``files`` (JSONL) that came of it. ``adapters``
    that were trained on those files are marked stale where a row was deleted.

    Rows go first: a file that cannot be read or written stops it all before the store has forgotten which rows they
    are. Raises InputError, StoreError.
    """
    if not subject.strip():  # episodes that name nobody are of nobody: they are not all one person's
        raise InputError("no person is named", remedy="type: rung forget --subject ID", code="no-subject")
    ids = frozenset(store.subjects.forget(subject, dry=True).served)
    rows = tuple((path, _without(path, ids, dry)) for path in files)
    erased = sum(count for _, count in rows)
    stale = tuple(adapters) if erased else ()
    for folder in adapters:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder", remedy="name the adapter's folder: --adapter DIR")
    for folder in stale if not dry else ():
        mark_stale(folder, erased)
    remembered = len(store.episodes.memories.of(subject))
    if not dry:
        remembered = forget(store.database, subject).items
    return Receipt(store.subjects.forget(subject, dry=dry), remembered, rows, stale)


def _without(path: Path, ids: frozenset[str], dry: bool) -> int:
    """Write the file anew without the rows of these served requests. How many they are."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it: {error}", file=path, remedy="name a JSONL file of training rows") from None
    kept = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            raise InputError("not valid JSON", file=path, line=number, remedy="name a JSONL file of rows") from None
        about = row.get("rung") if isinstance(row, dict) else None
        source = about.get("source") if isinstance(about, dict) else None
        if not (isinstance(source, dict) and source.get("served") in ids):
            kept.append(line)
    if len(kept) < len(lines) and not dry:
        with atomic_write(path) as staging:
            staging.write_text("".join(kept), encoding="utf-8")
    return len(lines) - len(kept)
