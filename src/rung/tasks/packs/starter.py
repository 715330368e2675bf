"""The first task of somebody's own: a commented task file with data that climb at once, or a pack's files to change."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.problem import nearest
from rung.core.system.files import FULL

_FOLDER = Path(__file__).parent / "templates"
KINDS = ("labels", "json", "text", "fim")


def write(folder: Path, kind: str, source: Path | None = None) -> Path:
    """Copy the template of ``kind``, or the pack of that name, into ``folder``, named after it; returns the task file.

    ``source`` is the folder of source files that the kind ``fim`` cuts holes into. Raises InputError when the kind is
    unknown, the source is missing or not asked for, or the folder holds anything already.
    """
    packs = registry.table("pack")
    if kind not in KINDS and kind not in packs:
        raise InputError(f"unknown kind {kind!r}", remedy=nearest(kind, (*KINDS, *packs)))
    if (source is not None) != (kind == "fim"):
        raise InputError(
            "the kind fim needs a folder of source files" if source is None else f"the kind {kind} reads no folder",
            remedy=f"type: rung init {folder} --kind fim --from FOLDER",
        )
    if source is not None and not source.is_dir():
        raise InputError(f"there is no folder {source}", remedy="name a folder of source files")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise InputError(
            f"{folder} exists and {what}; nothing was written", remedy="name a new folder: rung init my-task"
        )
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        origin = _FOLDER / kind if kind in KINDS else Path(registry.load("pack", kind)).parent
        for file in sorted(origin.iterdir()):
            # A pack's frozen splits go by its name; its data say the split themselves.
            if file.is_file() and file.name != "task.yaml" and not file.name.endswith(".splits.json"):
                shutil.copyfile(file, folder / file.name)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-._") or "my-task"
        text = (origin / "task.yaml").read_text(encoding="utf-8")
        if kind in KINDS:
            text = text.replace("NAME", name).replace(
                "FOLDER", json.dumps(str(source.resolve())) if source else "FOLDER"
            )
        else:
            text = re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1)
        (folder / "task.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        with suppress(OSError):  # half a task would refuse the same command when there is room again
            for file in folder.iterdir():
                file.unlink()
            if not there:
                folder.rmdir()
        raise InputError(
            f"cannot write {folder}: {error.strerror}",
            remedy="free some space, then type the same again"
            if error.errno in FULL
            else "name a folder that you may write to",
        ) from None
    return folder / "task.yaml"
