"""Where collections lie: one folder each, by name, under the home folder."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from rung.core.errors import InputError

FILE = "collection.db"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def locate(name: str, home: Path) -> Path:
    """The folder of the collection of that name under ``home``. Raises InputError for a name that could not be a
    folder's."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"got the name {name!r}, expected letters, digits, dots, dashes and underscores",
            remedy="name it for instance handbook",
        )
    return home / "indexes" / name


def names(home: Path) -> list[str]:
    """The collections under ``home``."""
    return sorted(path.parent.name for path in (home / "indexes").glob(f"*/{FILE}"))


def find(name: str, home: Path) -> Path:
    """The folder of a collection that is there. Raises InputError naming the nearest ones when it is not."""
    folder = locate(name, home)
    if not (folder / FILE).is_file():
        there = names(home)
        near = difflib.get_close_matches(name, there, n=1)
        raise InputError(
            f"there is no collection {name!r} in {home / 'indexes'}",
            remedy=f"did you mean {near[0]}?"
            if near
            else f"there are: {', '.join(there)}"
            if there
            else f"make it: rung index build DOCS... --to {name}",
        )
    return folder
