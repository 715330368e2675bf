"""What a climb leaves behind. The report, the tables and the comparison of runs are views of these records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rung.core.types import Interval, Training, Usage
from rung.metrics.stats import Difference

Status = Literal["done", "stopped", "skipped", "failed", "budget"]

BASELINE = "zero-shot"
"""The rung that the others are compared with; it always gets all test examples."""


def verdict(difference: Difference) -> str:
    """What a paired difference says in words: one must be seen in its interval and survive the correction of its
    p-value."""
    if difference.low <= 0 <= difference.high or difference.p > 1 - difference.level:
        return "no difference"
    return "better" if difference.low > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Offline:
    """What fitting cost, once: wall and CPU seconds and what models used (training tokens count as prompt tokens)."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Online:
    """What one answer costs, on average over ``n`` answers.

    Latencies are seconds of answers that ran alone (``alone`` of them; None where there were none). ``cpu_seconds`` is
    the process's CPU time an answer, ``peak_mb`` the largest resident memory of the process while the rung was climbed.
    ``cost`` is US dollars an answer: provider's money plus CPU time at the setting ``core_hour``; ``noise`` is by how
    much another run of the same may differ.
    """

    n: int
    tokens: float
    prompt_tokens: float
    completion_tokens: float
    cached_tokens: float
    money: float
    cpu_seconds: float
    cost: float
    noise: float = 0.0
    alone: int = 0
    p50: float | None = None
    p95: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True, slots=True)
class RungRecord:
    """One rung of one run: what it was, how it did, what it cost, why it stopped.

    ``baseline`` and ``best`` are paired differences to those rungs in the primary metric, with p-values corrected over
    the run's comparisons (Holm). ``payback`` is the number of answers after which the fit has paid for itself against
    the cheapest untuned rung that is as good; None where there is none or it never does. ``failures`` counts by where
    they were; those at the model are no answers and are in no metric, and ``said`` is what the provider said of them.
    """

    title: str
    name: str
    status: Status
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    about: str = ""
    model: str = ""
    program: str = ""
    folder: str = ""
    n: int = 0
    planned: int = 0
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    baseline: Difference | None = None
    best: Difference | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    said: str = ""
    offline: Offline = Offline()
    online: Online | None = None
    pareto: bool = False
    payback: float | None = None
    tuned: bool = False
    training: Training | None = None

    @property
    def scored(self) -> bool:
        return bool(self.metrics)

    @property
    def unanswered(self) -> int:
        """Calls of the model that failed."""
        return self.failures.get("model", 0)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The rung to take and the sentences that say why; ``rung`` is empty where nothing could be measured."""

    rung: str
    best: str
    why: tuple[str, ...]
    good_enough: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run. ``machine`` is the processor in one line, ``kind`` its kind in a word with its ``features``;
    ``precision`` by model is what the numbers were computed in. ``look`` says how often its test examples had been
    looked at with it (0: not counted, or none answered)."""

    id: str
    task: str
    task_hash: str
    task_path: str
    model: str
    metrics: tuple[str, ...]
    tolerance: float
    target: float | None
    counts: Mapping[str, int]
    rungs: tuple[RungRecord, ...] = ()
    recommendation: Recommendation | None = None
    status: str = "running"
    created: str = ""
    seconds: float = 0.0
    usage: Usage = Usage()
    machine: str = ""
    kind: str = ""
    features: tuple[str, ...] = ()
    threads: int = 0
    precision: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    notes: tuple[str, ...] = ()
    look: int = 0

    def rung(self, title: str) -> RungRecord | None:
        return next((record for record in self.rungs if record.title == title), None)
