"""The whole life of a program: what people said of its answers becomes rows, a rung is fitted on them, compared with
the version that is served, approved by a person, and served in its place. Each stage leaves a file, so a cycle that is
killed goes on from the last one; a version can be followed back to the answers that it learnt from.

    FOLDER/cycle.json     the task, the rung, what is served
    FOLDER/2/rows.jsonl   what version 2 learnt from, each row with the id of the served answer
    FOLDER/2/run.json     the climb that fitted it
    FOLDER/2/program      what is served, once it is approved
    FOLDER/2/compared.json, release.yaml, lineage.json
    FOLDER/current        a link to the program that is served
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from rung import tasks
from rung.alignment.people.lessons import Lesson, learn_from, split
from rung.alignment.values.release import Clearance, check, read_guidelines
from rung.core.codec import decode, digest, encode
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.problem import Problems
from rung.core.settings import Settings
from rung.core.system.files import write_file
from rung.core.system.lock import file_lock
from rung.core.types import Example, Task
from rung.data.sources.traces import allowed, read_reviews
from rung.ladder.climb import Climber
from rung.ladder.history import read_run
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.measure.looks import Test
from rung.ladder.records import RunRecord
from rung.metrics import load_metric
from rung.metrics.stats import Difference, paired
from rung.models import Pool
from rung.serving.endpoints.local import open_folder
from rung.serving.quality.promote import promote
from rung.store import Store

STATE, ROWS, RUN, PROGRAM, COMPARED, RELEASE, LINEAGE, JOB, CURRENT = (
    "cycle.json", "rows.jsonl", "run.json", "program", "compared.json", "release.yaml", "lineage.json", "job.json", "current",
)  # fmt: skip
FEWEST = 8
"""New lessons from which a version is made; a job to retrain is done with any."""


@dataclass(frozen=True, slots=True)
class CyclePlan:
    """What a cycle is about. ``served``: the model id whose recorded answers are learnt from (empty: all). ``loss`` is
    by how much the new version may be worse on the task's test examples, ``approvals`` how many people must approve it,
    none of the ``authors``."""

    task: str
    rung: str = "linear"
    served: str = ""
    loss: float = 0.05
    approvals: int = 1
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """The new program less the one that is served: on the task's ``test`` examples, and on ``fresh`` lessons that were
    held out (None: there are none). ``n`` of either."""

    metric: str
    test: Difference
    fresh: Difference | None
    n: tuple[int, int]


@dataclass(frozen=True, slots=True)
class CycleState:
    """Where a cycle is: version ``number`` is ``waiting`` for approval (with what the gates say), or served. ``note``
    says why nothing was done."""

    number: int
    served: bool
    clearance: Clearance | None = None
    comparison: VersionComparison | None = None
    lessons: int = 0
    problems: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Cycle:
    """A cycle in ``folder``. ``say`` is told what happens."""

    folder: Path
    plan: CyclePlan
    store: Store
    settings: Settings
    say: Callable[[str], None] = lambda _: None

    async def advance(self) -> CycleState:
        """Go on from where the files say it is, as far as a person's approval. Raises InputError as its parts do, and
        (code cycle-busy) while another process does so."""

        def busy(_: float) -> None:
            said = f"another process is at work on {self.folder}"
            raise InputError(said, remedy="wait for it, then type it again", code="cycle-busy")

        with file_lock(self.folder / ".lock", busy):
            return await self._advance()

    async def _advance(self) -> CycleState:
        number = self._number()
        at = self.folder / str(number)
        problems = Problems()
        task = tasks.load(self.plan.task, rungs=[self.plan.rung])
        if not (at / ROWS).exists():
            lessons = self._lessons(task, problems)
            if number > 1 and (note := self._idle(number, lessons)):
                return CycleState(number - 1, True, note=note, problems=_said(problems))
            at.mkdir(parents=True, exist_ok=True)
            if (self.folder / JOB).exists():
                (self.folder / JOB).replace(at / JOB)
            text = "".join(json.dumps(encode(lesson), ensure_ascii=False) + "\n" for lesson in lessons)
            write_file(at / ROWS, text.encode())
            self.say(f"version {number}: {len(lessons)} lessons of served answers")
        lessons = read_lessons(at)
        learnt, held = split(lessons)
        grown = replace(task, train=(*task.train, *(lesson.example for lesson in learnt)), hash=_hash(task, learnt))
        async with Pool(self.settings, default=next(iter(task.models), None)) as pool:
            run = await self._climbed(at, grown, pool)
            if not (at / PROGRAM / "program.json").exists():
                await promote(self.store, run.id, self.plan.rung, at / PROGRAM, self.settings)
                self.say(f"version {number}: fitted in run {run.id}, and exported")
            comparison = await self._compared(at, run.id, grown, held, pool)
        self._write_release(at, comparison)
        self._write_lineage(at, run, lessons)
        clearance = check(read_guidelines(at / RELEASE), at / PROGRAM, self.store)
        if clearance.allowed:
            self._serve(number)
        return CycleState(number, clearance.allowed, clearance, comparison, len(lessons), _said(problems))

    def _number(self) -> int:
        """The version to work on: the one behind that which is served."""
        current = self.folder / CURRENT
        if not current.exists():
            return 1
        return int(current.resolve().parent.name) + 1

    def _lessons(self, task: Task, problems: Problems) -> list[Lesson]:
        reviews = read_reviews(self.store.signals.all())
        return learn_from(allowed(self.store.served.all(self.plan.served), reviews, problems), task, problems)

    def _idle(self, number: int, lessons: Sequence[Lesson]) -> str:
        """Why there is nothing to do; empty: there is."""
        known = {lesson.served for lesson in read_lessons(self.folder / str(number - 1))}
        fresh = [lesson for lesson in lessons if lesson.served not in known]
        # It goes to its version before the lessons do: a process that was killed between left it there.
        job = (self.folder / JOB).exists() or (self.folder / str(number) / JOB).exists()
        if len(fresh) >= (1 if job else FEWEST):
            return ""
        needed = "a job to retrain is open, and nobody has" if job else f"of {FEWEST} new answers people have"
        return f"{needed} corrected or scored 1 but {len(fresh)} since version {number - 1}: rung feedback add FILE"

    async def _climbed(self, at: Path, task: Task, pool: Pool) -> RunRecord:
        if (at / RUN).exists():
            return read_run(self.store, json.loads((at / RUN).read_text(encoding="utf-8"))["run"])
        run = await Climber(task, self.store, pool, self.settings, early=False).climb()
        record = run.rung(self.plan.rung)
        if record is None or not record.scored:
            why = record.reason if record is not None else "it is not there"
            raise InputError(f"{self.plan.rung} was not fitted: {why}", remedy="choose another: --rung NAME")
        write_file(at / RUN, json.dumps({"run": run.id, "task": task.hash}).encode())
        return run

    async def _compared(
        self, at: Path, run: str, task: Task, held: Sequence[Lesson], pool: Pool
    ) -> VersionComparison | None:
        """Both programs on the same examples; None for the first version."""
        path, current = at / COMPARED, self.folder / CURRENT
        if path.exists():
            return decode(VersionComparison, json.loads(path.read_text(encoding="utf-8")))
        if not current.exists():
            return None
        metric = load_metric(task.metrics[0], pool)
        evaluator = Evaluator(self.store, run, [metric], test=Test(self.store, task, "cycle", run))

        async def differ(examples: Sequence[Example]) -> Difference:
            sides = [await evaluator(open_folder(where, pool).program, examples) for where in (at / PROGRAM, current)]
            new, old = ([result.scores[metric.name] for result in side] for side in sides)
            return paired(metric, new, old)

        fresh = [lesson.example for lesson in held]
        found = VersionComparison(
            metric.name, await differ(task.test), await differ(fresh) if fresh else None, (len(task.test), len(fresh))
        )
        write_file(path, json.dumps(encode(found), indent=1).encode())
        return found

    def _write_release(self, at: Path, comparison: VersionComparison | None) -> None:
        """The gates of a version, unless people have written others."""
        if (at / RELEASE).exists():
            return
        gates: list[dict[str, Any]] = []
        if comparison is not None:
            gates.append({"id": "no-loss", "file": COMPARED, "value": "test.low", "least": -self.plan.loss})
        if comparison is not None and comparison.fresh is not None:
            gates.append({"id": "fresh", "file": COMPARED, "value": "fresh.value", "least": 0.0})
        said = {"gates": gates, "approvals": self.plan.approvals, "authors": list(self.plan.authors)}
        write_file(at / RELEASE, yaml.safe_dump(said, sort_keys=False).encode())

    def _write_lineage(self, at: Path, run: RunRecord, lessons: Sequence[Lesson]) -> None:
        said = {
            "program": programs.read(at / PROGRAM)["fingerprint"],
            "run": run.id,
            "task": run.task,
            "task_hash": run.task_hash,
            "rung": self.plan.rung,
            "learnt": [lesson.served for lesson in lessons if not lesson.held],
            "held": [lesson.served for lesson in lessons if lesson.held],
            "why": json.loads((at / JOB).read_text(encoding="utf-8")).get("why", "") if (at / JOB).exists() else "",
        }
        write_file(at / LINEAGE, json.dumps(said, indent=1).encode())

    def _serve(self, number: int) -> None:
        """Point ``current`` at a version, in one step."""
        staging = self.folder / f".{CURRENT}.{os.getpid()}"
        staging.unlink(missing_ok=True)
        staging.symlink_to(Path(str(number)) / PROGRAM, target_is_directory=True)
        staging.replace(self.folder / CURRENT)
        self.say(f"version {number} is in {self.folder / CURRENT}")


def open_cycle(folder: Path, given: Mapping[str, Any]) -> CyclePlan:
    """The plan that ``folder`` was begun with, or a new one from what is ``given``. Raises InputError where there is
    none and no task is given, and for settings that are others than it was begun with."""
    path = folder / STATE
    given = {key: value for key, value in given.items() if value not in (None, "", ())}
    if path.exists():
        try:
            known = decode(CyclePlan, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"cannot be read: {error}", file=path, remedy="name another folder") from None
        other = [key for key, value in given.items() if getattr(known, key) != value]
        if other:
            raise InputError(
                f"{folder} was begun with {other[0]} {getattr(known, other[0])!r}, and {given[other[0]]!r} is given",
                remedy="leave it out, or name another folder",
                code="other-cycle",
            )
        return known
    if "task" not in given:
        raise InputError(f"{folder} holds no cycle", remedy=f"begin one: rung cycle {folder} --task TASK --rung linear")
    task = Path(str(given["task"]))
    plan = CyclePlan(
        **{"authors": (getpass.getuser(),), **given, "task": str(task.resolve() if task.exists() else task)}
    )
    tasks.load(plan.task, rungs=[plan.rung])
    folder.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps(encode(plan), indent=1).encode())
    return plan


def read_lessons(at: Path) -> list[Lesson]:
    """The lessons of a version. Raises InputError for a damaged file."""
    try:
        text = (at / ROWS).read_text(encoding="utf-8")
        return [decode(Lesson, json.loads(line)) for line in text.split("\n") if line]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", file=at / ROWS, remedy="restore it") from None


def _hash(task: Task, learnt: Sequence[Lesson]) -> str:
    return digest([task.hash, [encode(lesson.example) for lesson in learnt]])


def _said(problems: Problems) -> tuple[str, ...]:
    return tuple(map(str, problems.close()))
