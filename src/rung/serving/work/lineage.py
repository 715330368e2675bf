"""From a served answer, or a version, back to what it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rung.alignment.values.release import approved, artifact_hash, read_guidelines
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.serving.work.cycle import CURRENT, LINEAGE, PROGRAM, RELEASE
from rung.store import Store


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a cycle. ``learnt`` and ``held`` are ids of served answers, ``gone`` those of them that were deleted
    since: then the version is stale."""

    number: int
    program: str
    run: str
    task: str
    rung: str
    learnt: tuple[str, ...]
    held: tuple[str, ...]
    why: str
    approved: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    current: bool = False


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A served answer with the program that gave it and, where the cycle knows it, that program's version."""

    served: str
    model: str
    program: str
    version: Version | None


def read_versions(folder: Path, store: Store) -> list[Version]:
    """All versions of a cycle, oldest first. Raises InputError for a folder that holds none."""
    found = []
    known = {row.id for row in store.served.all()}
    current = (folder / CURRENT).resolve() if (folder / CURRENT).exists() else None
    for path in sorted(folder.glob(f"[0-9]*/{LINEAGE}"), key=lambda path: int(path.parent.name)):
        at = path.parent
        said = json.loads(path.read_text(encoding="utf-8"))
        people = approved(store.approvals.all(artifact_hash(at / PROGRAM)), read_guidelines(at / RELEASE).authors)
        gone = tuple(id for id in (*said["learnt"], *said["held"]) if id not in known)
        said = {key: value for key, value in said.items() if key != "task_hash"}
        version = {**said, "number": int(at.name), "approved": people, "gone": gone}
        found.append(decode(Version, {**version, "current": current == (at / PROGRAM).resolve()}))
    if not found:
        raise InputError(f"{folder} holds no version of a cycle", remedy="begin one: rung cycle FOLDER --task TASK")
    return found


def trace(answer: str, folder: Path, store: Store) -> Ancestor:
    """Who gave a served answer. Raises InputError for one that is not recorded."""
    row = next((row for row in store.served.all() if row.id == answer), None)
    if row is None:
        raise InputError(
            f"no answer {answer!r} is recorded", remedy="rung serve --record keeps them", code="unknown-answer"
        )
    program = str(json.loads(row.payload).get("program", ""))
    versions = {version.program: version for version in read_versions(folder, store)}
    return Ancestor(row.id, row.model, program, versions.get(program))


def ancestors(version: Version, versions: dict[str, Version], store: Store) -> Iterator[tuple[str, str]]:
    """The answers that a version learnt from, each with the version (or program) that gave it."""
    rows = {row.id: row for row in store.served.all()}
    for id in version.learnt:
        if id not in rows:
            yield id, "deleted"
            continue
        program = str(json.loads(rows[id].payload).get("program", ""))
        found = versions.get(program)
        yield id, f"version {found.number}" if found else f"program {program[:12]}"
