"""Folders watched for change."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.documents.scan import scan
from rung.documents.source import Source


@dataclass(frozen=True, slots=True)
class Change:
    """What happened since the last one: sources that are new or changed, and the ids of those that are gone."""

    changed: tuple[Source, ...]
    gone: tuple[str, ...] = ()


def watch(
    paths: Sequence[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    stop: threading.Event | None = None,
    known: Sequence[Source] | None = None,
) -> Iterator[Change]:
    """Yields a Change after each burst of changes under ``paths``, until ``stop`` is set or Ctrl-C (KeyboardInterrupt).

    The system tells that something happened (watchfiles); what it was is found by scanning again, so that nothing is
    missed when events are dropped. ``known`` is what the caller scanned before it read the files: a change between that
    and the moment at which the system's watch is set up is yielded too. Patterns are those of ``scan``. Raises
    InputError when a path does not exist.
    """
    watchfiles = require("watchfiles", "documents", "watching folders for change")
    if not any(Path(path).exists() for path in paths):
        raise InputError(f"there is no {', '.join(map(str, paths))}", remedy="correct the path")
    roots: dict[str, str] = {}
    before = _scan(paths, include, exclude, roots) if known is None else {source.id: source for source in known}
    begun = False
    folders = {str(path if path.is_dir() else path.parent) for path in map(Path, paths)}
    for events in watchfiles.watch(*folders, stop_event=stop, debounce=400, rust_timeout=500, yield_on_timeout=True):
        if stop is not None and stop.is_set():
            return
        if begun and not events:
            continue
        begun = True  # the first wake, also without an event: from here on nothing goes unseen
        after = _scan(paths, include, exclude, roots)
        changed = tuple(source for id, source in after.items() if before.get(id) != source)
        gone = tuple(id for id in before if id not in after)
        before = after
        if changed or gone:
            yield Change(changed, gone)


def _scan(
    paths: Sequence[str | Path], include: Sequence[str], exclude: Sequence[str], roots: dict[str, str]
) -> dict[str, Source]:
    there = [path for path in map(Path, paths) if path.exists()]
    try:
        return {source.id: source for source in scan(there, include=include, exclude=exclude, roots=roots)}
    except InputError:  # a folder that is empty, or gone, may come back
        return {}
