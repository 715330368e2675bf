"""Files that a metric reads: a path, or a file of a pack written ``PACK/FILE``. Task files name theirs relative to
themselves; the loader makes such a name one of these."""

from __future__ import annotations

from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts import registry


def beside(metric: str, argument: str) -> Path:
    """The file that ``argument`` names. Raises InputError when there is none."""
    text = argument.strip()
    if not text:
        raise InputError(f"{metric} needs a file", remedy=f"write {metric}:FILE in the task file, FILE beside it")
    path = Path(text).expanduser()
    pack, _, name = text.partition("/")
    if not path.is_file() and name and pack in registry.table("pack"):
        path = Path(registry.load("pack", pack)).parent / name
    if not path.is_file():
        raise InputError(
            f"{metric}: there is no file {text}", remedy="correct the path; in a task file it is relative to it"
        )
    return path
