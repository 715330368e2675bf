"""The first task of somebody's own: a commented task file with data that climb at once."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from rung.core.errors import InputError
from rung.tasks.problem import nearest

_FOLDER = Path(__file__).parent / "templates"
KINDS = ("labels", "json", "text")


def write(folder: Path, kind: str) -> Path:
    """Copy the template of ``kind`` into ``folder``, named after it; returns the task file.

    Raises InputError when the kind is unknown, or the folder holds anything already.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind {kind!r}", remedy=nearest(kind, KINDS))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise InputError(
            f"{folder} exists and {what}; nothing was written", remedy="name a new folder: rung init my-task"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted((_FOLDER / kind).iterdir()):
            if file.name != "task.yaml":
                shutil.copyfile(file, folder / file.name)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._") or "my-task"
        text = (_FOLDER / kind / "task.yaml").read_text(encoding="utf-8").replace("NAME", name)
        (folder / "task.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write {folder}: {error.strerror}", remedy="name a folder that you may write to"
        ) from None
    return folder / "task.yaml"
