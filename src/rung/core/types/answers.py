"""What a program answers, how it failed, how it scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from rung.core.types.messages import Message, Usage
from rung.core.types.tasks import Example, Input


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that failed is data: the boundary that failed (``where``) and one sentence (``message``)."""

    where: Literal["model", "parse", "program", "metric", "overflow", "budget"]
    message: str


@dataclass(frozen=True, slots=True)
class Step:
    """One call inside an answer: the exact messages (or text) sent, what came back, and what it cost."""

    name: str
    messages: tuple[Message, ...] = ()
    reply: str = ""
    note: str = ""
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program answers. ``output`` is parsed, ``raw`` is the model's own text; ``failure`` is set when there is no output."""

    output: Any
    raw: str = ""
    steps: tuple[Step, ...] = ()
    usage: Usage = Usage()
    failure: Failure | None = None
    confidence: float | None = None

    def with_usage(self, usage: Usage) -> Answer:
        return replace(self, usage=usage)


@dataclass(frozen=True, slots=True)
class Score:
    """One item's score under one metric: ``value`` (its mean is the metric unless the metric says otherwise), ``why`` in a
    few words, and ``parts``: the sufficient statistics from which a corpus-level metric is recomputed under resampling."""

    value: float
    why: str = ""
    parts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What a metric sees of one item. ``steps`` are the answer's: what was retrieved and cited."""

    input: Input
    output: Any
    reference: Any
    raw: str = ""
    failure: Failure | None = None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """One example answered and scored: ``scores`` by metric name.

    ``seconds`` is what the caller waited; ``alone`` says that nothing else was in flight meanwhile (only such waits are a
    latency). ``reused`` says that the answer came from the journal.
    """

    example: Example
    answer: Answer
    scores: Mapping[str, Score]
    seconds: float = 0.0
    alone: bool = False
    reused: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with the ends of its interval at ``level``."""

    value: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work is. ``total`` is None when unknown; ``note`` is free text (loss, quality so far)."""

    stage: str
    done: int
    total: int | None = None
    note: str = ""
    usage: Usage = Usage()
