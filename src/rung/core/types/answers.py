"""What a program answers, how it failed, how it scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from rung.core.errors import BudgetExceeded, ContextOverflow, ModelError, RungError
from rung.core.types.messages import Message, Reply, Usage
from rung.core.types.tasks import Example, Input


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that failed is data: the boundary that failed (``where``), one sentence (``message``) and, where an
    error was behind it, that error's ``code``. "waiting" is no failure of the program's: it goes on when a person has
    decided."""

    where: Literal["model", "parse", "program", "metric", "overflow", "budget", "waiting"]
    message: str
    code: str = ""

    @classmethod
    def of(cls, error: RungError) -> Failure:
        """An error as a failure: the model's (its prompt too long for it: "overflow"), the budget's, or the program's
        own."""
        return cls._at(error.code, error.message, "model" if isinstance(error, ModelError) else "program")

    @classmethod
    def of_reply(cls, reply: Reply) -> Failure:
        """A reply whose ``finish`` is "error" as a failure."""
        return cls._at(reply.code, reply.text, "model")

    @classmethod
    def _at(cls, code: str, message: str, where: Literal["model", "program"]) -> Failure:
        known: dict[str, Literal["overflow", "budget", "parse"]] = {
            ContextOverflow.code: "overflow",
            BudgetExceeded.code: "budget",
            "tool-call": "parse",
        }
        return cls(known.get(code, where), message, code)


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
    """What a program answers. ``output`` is parsed, ``raw`` is the model's own text; ``failure`` is set when there is
    no output. ``episode`` is the id of an agent's episode, empty where there was none."""

    output: Any
    raw: str = ""
    steps: tuple[Step, ...] = ()
    usage: Usage = Usage()
    failure: Failure | None = None
    confidence: float | None = None
    episode: str = ""

    def with_usage(self, usage: Usage) -> Answer:
        return replace(self, usage=usage)


@dataclass(frozen=True, slots=True)
class Score:
    """One item's score under one metric: ``value`` (its mean is the metric unless the metric says otherwise), ``why``
    in a few words, and ``parts``: the sufficient statistics from which a corpus-level metric is recomputed under
    resampling."""

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

    ``seconds`` is what the caller waited; ``alone`` says that nothing else was in flight meanwhile (only such waits are
    a latency). ``reused`` says that the answer came from the journal.
    """

    example: Example
    answer: Answer
    scores: Mapping[str, Score]
    seconds: float = 0.0
    alone: bool = False
    reused: bool = False

    @property
    def answered(self) -> bool:
        """False where the call of the model failed: then there is nothing to judge the program by."""
        return self.answer.failure is None or self.answer.failure.where != "model"


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


@dataclass(frozen=True, slots=True)
class Loss:
    """Mean loss a trained token up to ``step``."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class FitForecast:
    """What a fit is expected to take: the ``usage`` of its training (``seconds`` 0: not known), and seconds of the
    ``rest``. ``training`` names it where other rungs learn from the same one: it is then done once for all of them."""

    usage: Usage
    rest: float = 0.0
    training: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """How the losses of a training went: means over at most 200 stretches of ``steps``, the checks on dev, and the step
    that was kept (0: the last). ``total`` is how many steps there would have been at most; ``precision`` is what was
    computed in."""

    steps: int
    total: int
    train: tuple[Loss, ...]
    dev: tuple[Loss, ...] = ()
    best: int = 0
    stopped: str = ""
    precision: str = ""
