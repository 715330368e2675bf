"""Take a rung of a run as a program folder. It appears under its name only when it is whole and, where asked,
verified."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.ladder.history import find_rung, read_examples, read_run
from rung.ladder.records import RungRecord, RunRecord
from rung.store import Store

Verify = Callable[[Path, RunRecord, RungRecord], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exported:
    folder: Path
    run: RunRecord
    rung: RungRecord
    verified: bool


def choose(run: RunRecord, title: str = "") -> RungRecord:
    """The rung of that title, or the recommended one. Raises InputError when it has no program to take."""
    if not title:
        if run.recommendation is None or not run.recommendation.rung:
            raise InputError(
                f"run {run.id} recommends no rung (it is {run.status})",
                remedy=f"name one: rung export {run.id} RUNG DIR; see them: rung show {run.id}",
            )
        title = run.recommendation.rung
    record = find_rung(run, title)
    if not record.folder or not record.scored:
        raise InputError(
            f"{title} of run {run.id} was {record.status}: {record.reason or 'it has no scored program'}",
            remedy=f"name another: rung show {run.id}",
        )
    return record


async def export_program(store: Store, run: str, rung: str, folder: Path, *, verify: Verify | None = None) -> Exported:
    """Write the program of ``rung`` (empty: the recommended one) of ``run`` to ``folder``.

    ``verify`` is given the finished folder under a name of its own and may write beside the program or raise: then
    nothing appears at ``folder``, and a program that was there stays. Without it the program is marked unverified.
    Raises InputError when there is nothing to take, its files are gone or damaged, or ``folder`` holds other things.
    """
    record = read_run(store, run)
    chosen = choose(record, rung)
    source = Path(chosen.folder)
    _check_places(source, folder, chosen.title)
    document = programs.read(source)
    example = next(iter(read_examples(store, record.task_hash)), None)
    notes = {
        **document.get("notes", {}),
        "run": record.id,
        "rung": chosen.title,
        "task": record.task,
        "task_hash": record.task_hash,
        "model": chosen.model,
        "fields": list(example.input) if example is not None else [],
        "metrics": {name: span.value for name, span in chosen.metrics.items()},
        "n": chosen.n,
        "look": record.look,
        "verified": False,
    }
    staging = folder.with_name(f".{folder.name}.export{os.getpid()}")
    try:
        document = {**document, "fingerprint": chosen.program}
        _stage(source, staging, {**document, "notes": notes})
        if verify is not None:
            await verify(staging, record, chosen)
            _write(staging, {**document, "notes": {**notes, "verified": True}})
        _put(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(folder, record, chosen, verify is not None)


def _check_places(source: Path, folder: Path, title: str) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "program.json").exists())):
        raise InputError(f"{folder} exists and is not a program folder", remedy="name a new folder")
    if not source.is_dir():
        raise InputError(
            f"the program of {title} is not at {source} any more",
            remedy="go to the folder where it was climbed, or climb the task again",
        )
    if folder.exists() and folder.samefile(source):
        raise InputError(f"{folder} is where the run keeps its own program", remedy="name a new folder")


def _stage(source: Path, staging: Path, document: dict[str, Any]) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name in document["files"]:
        shutil.copyfile(source / name, staging / name)
    _write(staging, document)
    programs.read(staging)  # the copies are whole


def _put(staging: Path, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    staging.rename(folder)


def _write(folder: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    (folder / "program.json").write_text(text, encoding="utf-8")
