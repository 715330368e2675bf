"""Which files there are to read."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rung.core.errors import InputError
from rung.documents.source import Source, Trouble, kind_of

IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", ".git"})
_PLAIN = re.compile(
    r"(?i)readme|licen[cs]e|copying|changelog|changes|news|authors|notice|contributing|todo|install|makefile|dockerfile"
)


def scan(
    paths: str | Path | Iterable[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    troubles: list[Trouble] | None = None,
) -> list[Source]:
    """The files under ``paths`` that a reader knows, by name; nothing is opened.

    ``include`` and ``exclude`` are patterns (``*.md``, ``drafts/*``; ``*`` also crosses folders) over the path within the given
    folder. Hidden files and folders, caches and links that lead out of the folder are left out (links: told in ``troubles``).
    A file that is named itself is always taken, as plain text when no reader knows its name. Ids are the given folder's own
    name and the path in it, with ``/``; given folders of one name get as many of their parents as tell them apart.

    Raises InputError when a path does not exist or nothing at all was found.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise InputError("no files or folders were named", remedy="name some: rung index build DOCS --to NAME")
    wanted = _matcher(include)
    unwanted = _matcher(exclude)
    told: list[Trouble] = [] if troubles is None else troubles
    found: dict[str, Source] = {}
    for path, name in _names(given):
        if not path.exists():
            raise InputError(f"there is no {path}", remedy="correct the path")
        if path.is_file():
            stat = path.stat()
            found[os.path.abspath(path)] = Source(path, kind_of(path) or "text", stat.st_size, stat.st_mtime_ns, name)
            continue
        for file, inner, stat in _walk(path, name, told):
            kind = kind_of(file) or ("text" if _PLAIN.fullmatch(file.name) else None)
            if kind is None and not (include and wanted(inner)):
                continue
            if (include and not wanted(inner)) or (exclude and unwanted(inner)):
                continue
            found.setdefault(
                os.path.abspath(file), Source(file, kind or "text", stat.st_size, stat.st_mtime_ns, f"{name}/{inner}")
            )
    if not found:
        shown = ", ".join(str(path) for path in given[:3])
        raise InputError(
            f"{shown} holds no file that can be read",
            remedy="put text, Markdown, HTML, PDF, DOCX, CSV, JSONL or source files there, or name others with include",
        )
    return sorted(found.values(), key=lambda source: source.id)


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    compiled = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]

    def matches(name: str) -> bool:
        return any(one.match(name) or one.match(name.rpartition("/")[2]) for one in compiled)

    return matches


def _names(given: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each path and the name its documents begin with: its own, and parents where two given paths share it."""
    parts = {path: path.resolve().parts for path in dict.fromkeys(given)}
    out = []
    for path, own in parts.items():
        length = 1
        while length < len(own) and any(other != own and other[-length:] == own[-length:] for other in parts.values()):
            length += 1
        out.append((path, "/".join(own[-length:]).lstrip("/") or "root"))
    return out


def _walk(root: Path, title: str, troubles: list[Trouble]) -> Iterable[tuple[Path, str, os.stat_result]]:
    home = os.path.realpath(root)
    seen = {home}
    pending = [(str(root), "")]
    while pending:
        folder, inner = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            troubles.append(Trouble(f"{title}/{inner}".rstrip("/"), f"cannot be listed: {error.strerror or error}"))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED:
                continue
            name = f"{inner}/{entry.name}" if inner else entry.name
            try:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if os.path.commonpath((home, target)) != home:
                        troubles.append(Trouble(f"{title}/{name}", "is a link that leads out of the folder: not read"))
                        continue
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in seen:  # links may run in a circle
                        seen.add(real)
                        pending.append((entry.path, name))
                elif entry.is_file():
                    yield Path(entry.path), name, entry.stat()
            except (OSError, ValueError) as error:
                troubles.append(Trouble(f"{title}/{name}", f"cannot be read: {error}"))
