"""What a collection holds, counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.retrieval.collection.database.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and bytes. ``dead`` are vectors of deleted passages that ``compact`` would remove."""

    documents: int
    passages: int
    dead: int
    generation: int
    embedder: str
    dimensions: int
    chunker: str
    index: str
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def measure(snapshot: Snapshot, meta: Mapping[str, Any], folder: Path) -> Stats:
    """The counts of a snapshot and the sizes of the collection's files."""
    documents, passages = snapshot.count()
    stored = snapshot.stored() if meta["dimensions"] else passages
    files: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path.stat().st_size
        except OSError:  # it went while we looked
            continue
    made = {name: meta[name] for name in ("embedder", "chunker", "index", "dimensions")}
    return Stats(documents, passages, stored - passages, snapshot.generation, files=files, **made)
