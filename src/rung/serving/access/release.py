"""What may be served: nothing that its guidelines do not allow, and nothing that was trained on what has been erased
since."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.errors import InputError
from rung.core.system.files import atomic_write
from rung.store import Store

if TYPE_CHECKING:
    from rung.alignment.values.release import Guidelines

GUIDELINES = "release.yaml"
"""In a folder: what must hold before it is served."""

STALE = "stale.json"
"""In a folder: it was trained on rows that have been erased since."""


def refuse_unapproved(folders: Iterable[Path], guidelines: Path | None, store: Callable[[], Store]) -> None:
    """Raise InputError for the first folder that ``guidelines`` (else its own; without any it is not asked) do not
    allow: a gate fails, or too few people have approved of its content as it is now."""
    if guidelines is not None:
        _guidelines(guidelines)  # also where there is no folder to ask for
    for folder in folders:
        found = guidelines or _own(folder)
        if found is None:
            continue
        from rung.alignment.values.release import check

        verdict = check(_guidelines(found), folder, store())
        if verdict.allowed:
            continue
        failing = next((gate for gate in verdict.gates if not gate.ok and not gate.waived), None)
        why = (
            f"gate {failing.gate} fails: {failing.why}"
            if failing is not None
            else (f"{len(verdict.approved)} of {verdict.needed} approvals are given for it as it is now")
        )
        raise InputError(
            f"{folder} may not be served: {why}",
            remedy=f"see: rung release check {folder} --guidelines {found}; then: rung release approve {folder} --by NAME",
            code="unapproved",
        )


def _own(folder: Path) -> Path | None:
    """The guidelines in a folder, or those of the version of a cycle (work/cycle.py) whose program it is."""
    if (folder / GUIDELINES).is_file():
        return folder / GUIDELINES
    version = folder.resolve().parent
    return version / GUIDELINES if all((version / name).is_file() for name in (GUIDELINES, "lineage.json")) else None


def _guidelines(path: Path) -> Guidelines:
    from rung.alignment.values.release import read_guidelines

    return read_guidelines(path)


def refuse_stale(folders: Iterable[Path]) -> None:
    """Raise InputError for the first folder that is marked as trained on erased rows."""
    for folder in folders:
        try:
            said = json.loads((folder / STALE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            if not (folder / STALE).exists():
                continue
            said = {}
        when = time.strftime("%Y-%m-%d", time.gmtime(float(said.get("when", 0)))) if isinstance(said, dict) else "?"
        raise InputError(
            f"{folder} was trained on rows that were erased on {when}",
            remedy="train it again on the cleaned rows, or serve it all the same: --accept-stale",
            code="stale",
        )


def mark_stale(folder: Path, erased: int) -> None:
    """Mark an adapter or program folder. Raises InputError for what is none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder", remedy="name the adapter's folder")
    with atomic_write(folder / STALE) as staging:
        staging.write_text(json.dumps({"why": "erased rows", "rows": erased, "when": time.time()}), encoding="utf-8")
