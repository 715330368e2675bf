"""Which files there are to read, and what they are called."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts.problem import Problem
from rung.documents.source import Source, kind_of

IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", ".git"})
_PLAIN = re.compile(
    r"(?i)readme|licen[cs]e|copying|changelog|changes|news|authors|notice|contributing|todo|install|makefile|dockerfile"
)


def scan(
    paths: str | Path | Iterable[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    troubles: list[Problem] | None = None,
    roots: MutableMapping[str, str] | None = None,
) -> list[Source]:
    """The files under ``paths`` that a reader knows, by name; nothing is opened.

    ``include`` and ``exclude`` are patterns (``*.md``, ``drafts/*``; ``*`` also crosses folders) over the path within
    the given folder. Hidden files and folders, caches and links that lead out of the folder are left out; links, and
    how many files no reader knows, are told in ``troubles``. A file that is named itself is always taken, as plain text
    when no reader knows its name.

    An id is the root's name and the path within the root, with ``/``. Roots are the given folders and files; ``roots``
    has the name of each that was ever given, by its real path, and gets those that are new: a root keeps its name, two
    roots of one name are told apart by as many of their parents as it takes, and a file under a root that is known is
    named by it. So one file has one id, whatever it is scanned with, for as long as the caller keeps ``roots``.

    Raises InputError when a path does not exist or nothing at all was found.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not given:
        raise InputError("no files or folders were named", remedy="name some: rung index build DOCS --to NAME")
    for path in given:
        if not path.exists():
            raise InputError(f"there is no {path}", remedy="correct the path")
    known: MutableMapping[str, str] = {} if roots is None else roots
    name_roots(given, known)
    wanted, unwanted = _matcher(include), _matcher(exclude)
    told: list[Problem] = [] if troubles is None else troubles
    found: dict[str, Source] = {}
    foreign: Counter[str] = Counter()
    for path in dict.fromkeys(given):
        real = os.path.realpath(path)
        if not path.is_dir():
            stat = path.stat()
            found[real] = Source(path, kind_of(path) or "text", stat.st_size, stat.st_mtime_ns, identify(real, known))
            continue
        for file, inner, stat in _walk(path, known, told):
            kind = kind_of(file) or ("text" if _PLAIN.fullmatch(file.name) else None)
            if kind is None and not (include and wanted(inner)):
                foreign[file.suffix.lower() or file.name] += 1
                continue
            if (include and not wanted(inner)) or (exclude and unwanted(inner)):
                continue
            place = os.path.join(real, *inner.split("/"))
            if place not in found:
                found[place] = Source(file, kind or "text", stat.st_size, stat.st_mtime_ns, identify(place, known))
    if not found:
        shown = ", ".join(str(path) for path in given[:3])
        raise InputError(
            f"{shown} holds no file that can be read",
            remedy="put text, Markdown, HTML, PDF, DOCX, CSV, JSONL or source files there, or name others with include",
        )
    if foreign:
        told.append(_tell(foreign))
    return sorted(found.values(), key=lambda source: source.id)


def _tell(foreign: Counter[str]) -> Problem:
    """What was passed over because no reader knows its name."""
    count, shown = foreign.total(), ", ".join(f"{name} {n:,}" for name, n in foreign.most_common(5))
    return Problem(
        f"{count:,} {'file has a name' if count == 1 else 'files have names'} that no reader knows: {shown}"
        + (", ..." if len(foreign) > 5 else ""),
        "those that are text are read where --include names them",
        level="warning",
        code="no-reader",
    )


def identify(place: str, roots: MutableMapping[str, str]) -> str:
    """The id of the file at the real path ``place``: the name of the innermost root it lies in, and the path within.
    Bytes of a name that are no text are written out (``\\xe9``)."""
    above = place
    while above not in roots and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    inner = os.path.relpath(place, above).replace(os.sep, "/") if above != place else ""
    name = f"{roots.get(above, '')}/{inner}".strip("/")
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def locate(id: str, roots: MutableMapping[str, str]) -> str | None:
    """The real path that a source's id stands for; None where no root has its name."""
    for place, name in roots.items():
        if id == name or id.startswith(f"{name}/"):
            return os.path.join(place, *id[len(name) + 1 :].split("/")).rstrip(os.sep)
    return None


def under(paths: Iterable[str | Path], roots: MutableMapping[str, str]) -> Callable[[str], bool]:
    """Tells of a source's id whether it is one of ``paths``, or lies under one."""
    within = [os.path.realpath(path) for path in paths]

    def lies(id: str) -> bool:
        place = locate(id, roots)
        return place is not None and any(
            place == path or place.startswith(path.rstrip(os.sep) + os.sep) for path in within
        )

    return lies


def name_roots(given: Sequence[Path], roots: MutableMapping[str, str]) -> None:
    """Give each path that lies in no root that is known a name of its own: its last part, and parents where that is
    taken."""
    fresh = []
    for real in dict.fromkeys(os.path.realpath(path) for path in given):
        above = real
        while above not in roots and os.path.dirname(above) != above:
            above = os.path.dirname(above)
        if above not in roots:
            fresh.append(real)
    fresh = [place for place in fresh if not any(place.startswith(other.rstrip(os.sep) + os.sep) for other in fresh)]
    parts = {place: [part for part in Path(place).parts if part != os.sep] or ["root"] for place in fresh}
    names = {place: own[-1] for place, own in parts.items()}

    def clashes(place: str) -> bool:
        others = [*roots.values(), *(name for other, name in names.items() if other != place)]
        mine = f"{names[place]}/"
        return any(mine.startswith(f"{name}/") or f"{name}/".startswith(mine) for name in others)

    lengths = dict.fromkeys(fresh, 1)
    while clashing := [place for place in fresh if lengths[place] < len(parts[place]) and clashes(place)]:
        for place in clashing:
            lengths[place] += 1
            names[place] = "/".join(parts[place][-lengths[place] :])
    for place in fresh:
        while clashes(place):  # the whole path is not enough: one lies under the other's name
            names[place] += "'"
        roots[place] = names[place]


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    compiled = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]

    def matches(name: str) -> bool:
        return any(one.match(name) or one.match(name.rpartition("/")[2]) for one in compiled)

    return matches


def _walk(
    root: Path, roots: MutableMapping[str, str], troubles: list[Problem]
) -> Iterator[tuple[Path, str, os.stat_result]]:
    home = os.path.realpath(root)
    seen = {home}
    pending = [(str(root), "")]

    def tell(inner: str, message: str, code: str) -> None:
        troubles.append(Problem(message, file=identify(os.path.join(home, *inner.split("/")), roots), code=code))

    while pending:
        folder, inner = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            tell(inner, f"cannot be listed: {error.strerror or error}", "unreadable")
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in IGNORED:
                continue
            name = f"{inner}/{entry.name}" if inner else entry.name
            try:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if os.path.commonpath((home, target)) != home:
                        tell(name, "is a link that leads out of the folder: not read", "link-out")
                        continue
                if entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if real not in seen:  # links may run in a circle
                        seen.add(real)
                        pending.append((entry.path, name))
                elif entry.is_file():
                    yield Path(entry.path), name, entry.stat()
            except (OSError, ValueError) as error:
                tell(name, f"cannot be read: {error}", "unreadable")
