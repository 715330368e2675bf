"""The one shape of a study, which measures something around a climb: options -> records -> table and JSON, stored.

A study is a frozen dataclass. Its fields are its options, declared for people by ``core.option``; ``measure`` turns a
subject into records, answering through the journal, so that a study that was killed goes on; ``table`` shows them.
``run`` also stores them, and the command line makes a verb of any of them (``cli/task/study.py``). A new one is a file
beside its like and a line in STUDIES.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from rung.core.codec import canonical, decode, encode
from rung.core.errors import InputError
from rung.core.protocols import Metric, Resources
from rung.core.settings import Settings
from rung.core.types import Example, Progress, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.measure.looks import Test
from rung.ladder.records import RunRecord
from rung.metrics import load_metric
from rung.metrics.stats import Difference, holm
from rung.store import Store, StoredStudy
from rung.studies.lab import LABS

S = TypeVar("S")
F = TypeVar("F")


class Compared(Protocol):
    """A record with a paired difference."""

    @property
    def difference(self) -> Difference | None: ...


R = TypeVar("R", bound=Compared)

STUDIES: dict[str, str] = {
    "ablation": "tasks.ablation:Ablate",
    "factorial": "tasks.factorial:RunFactorial",
    "few-shot": "tasks.shots:Shots",
    "sweep": "tasks.sweep:Sweep",
    "curve": "tasks.learning:LearningCurve",
    "optimize": "tasks.optimize:Optimize",
    "swap": "tasks.swap:SwapTest",
    "errors": "runs.errors:ErrorAnalysis",
    "stress": "runs.stress:Stress",
    "rating": "runs.rating:Rating",
    "eval": "models.cases:Evaluate",
    "agreement": "models.agreement:JudgeAgainstPeople",
    "forgetting": "models.forgetting:Forgetting",
    "sizes": "models.sizes:Sizes",
    "calls": "agents.calls:Calls",
    "attacks": "agents.attacks:Attacks",
    "window": "agents.window:Windows",
    "oracle": "agents.oracle:Oracle",
    "teams": "agents.teams:Teams",
    **{name: f"lab.{place}" for name, (place, _) in LABS.items()},
}
"""Every study by name: where its class is."""


@dataclass(frozen=True)
class Lab:
    """What a study works with: settings, models and embedders by name, the store, and somebody who is told how far it
    is."""

    settings: Settings
    resources: Resources
    store: Store
    progress: Callable[[Progress], None] = lambda _: None

    def metrics(self, task: Task) -> list[Metric]:
        """The task's metrics, the first of them what decides."""
        return [load_metric(name, self.resources) for name in task.metrics]

    def evaluator(self, metrics: Sequence[Metric], *, run: str = "", test: Test | None = None) -> Evaluator:
        """Answers through the store's journal. ``test``: the split whose looks are noted."""
        return Evaluator(self.store, run, metrics, concurrency=self.settings["concurrency"], test=test)


@dataclass(frozen=True)
class Study(ABC, Generic[S, F]):
    """Measures a subject: a Task, a RunRecord, or None where the options name everything. ``records`` is the class of
    what is found; ``stage`` the stage of its own progress, where what it asks has stages too."""

    name: ClassVar[str]
    subject: ClassVar[Literal["task", "run", "none"]]
    records: ClassVar[Any]
    stage: ClassVar[str] = ""

    @abstractmethod
    async def measure(self, subject: S, lab: Lab) -> F:
        """The records. Raises InputError for options or a subject that it cannot be made of."""

    @abstractmethod
    def table(self, found: F) -> str:
        """The records as plain text."""

    def json(self, found: F) -> str:
        """The records as JSON text."""
        return json.dumps(encode(found), indent=2, ensure_ascii=False)

    async def run(self, subject: S, lab: Lab) -> F:
        """``measure``, and store the records with the options."""
        found = await self.measure(subject, lab)
        lab.store.studies.put(StoredStudy(self.name, self.about(subject), canonical(self), canonical(found)))
        return found

    def about(self, subject: S) -> str:
        """What it was about, in a word."""
        if isinstance(subject, Task):
            return subject.name
        return f"run {subject.id}" if isinstance(subject, RunRecord) else ""


def load(name: str) -> type[Study[Any, Any]]:
    """The class of a study. Raises InputError for a name that there is not."""
    if name not in STUDIES:
        raise InputError(f"there is no study {name!r}", remedy=f"known: {', '.join(STUDIES)}")
    module, _, attribute = STUDIES[name].partition(":")
    found: type[Study[Any, Any]] = getattr(import_module(f"rung.studies.{module}"), attribute)
    return found


def read(stored: StoredStudy) -> tuple[Study[Any, Any], Any]:
    """A stored study with its options, and what it found."""
    kind = load(stored.name)
    return decode(kind, json.loads(stored.options)), decode(kind.records, json.loads(stored.found))


def corrected(rows: Sequence[R]) -> list[R]:
    """The rows with the p-values of their field ``difference`` (None: none) corrected for their number (Holm 1979)."""
    ps = iter(holm([row.difference.p for row in rows if row.difference is not None]))
    return [
        row if (old := row.difference) is None else replace(row, difference=replace(old, p=next(ps)))  # type: ignore[type-var]
        for row in rows
    ]


def listed(text: str) -> tuple[str, ...]:
    """``a, b`` as its parts."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def whole_numbers(text: str, flag: str) -> list[int]:
    """``1,2,4`` as numbers. Raises InputError naming the flag."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"got {flag} {text}: expected whole numbers", remedy=f"write {flag} 1,2,4") from None


def part(task: Task, split: str, limit: int) -> Sequence[Example]:
    """At most ``limit`` examples of dev or test. Raises InputError for another split."""
    if split not in ("dev", "test"):
        raise InputError(f"got split {split!r}", remedy="write --split dev or --split test")
    return task.split("test" if split == "test" else "dev")[:limit]
