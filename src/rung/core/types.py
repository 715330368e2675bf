"""Typed records that pass between the rooms. All are frozen; JSON forms come from ``encode``/``decode`` in core.codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Input = Mapping[str, str]
"""An example's input: named text fields in the task's order, for instance ``{"text": "..."}``."""

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls", "filtered", "cancelled", "error"]
Split = Literal["train", "dev", "test"]


# ---------------------------------------------------------------- talking to a model


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool; ``arguments`` is the parsed JSON object."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The closed form an answer must have; ``text`` is free.

    ``labels``: exactly one of ``labels``. ``json``: an object valid under ``schema``. ``regex``: matches ``pattern`` whole.
    ``number``: a decimal number. ``grammar``: derivable from ``pattern`` read as EBNF.
    """

    kind: Literal["text", "labels", "json", "regex", "number", "grammar"] = "text"
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    pattern: str = ""

    @property
    def closed(self) -> bool:
        return self.kind != "text"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. ``temperature`` 0 is greedy; ``beams`` > 1 is beam search; ``top_k`` 0 and ``top_p`` 1 cut nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    seed: int | None = 0
    stop: tuple[str, ...] = ()
    beams: int = 1
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model. ``form`` asks for constrained decoding where the provider has it.

    ``repeat`` tells apart deliberate repetitions of one request: it is part of every cache key.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    form: ResponseFormat = ResponseFormat()
    tools: tuple[ToolSpec, ...] = ()
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the probability of each candidate as the assistant's whole reply to ``messages``."""

    messages: tuple[Message, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What something cost. Tokens are counts, ``seconds`` wall time at the model, ``money`` US dollars."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    money: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.money + other.money,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. ``logprobs`` has one natural-log value a completion token where the provider has them."""

    text: str
    finish: Finish = "stop"
    usage: Usage = Usage()
    model: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """``logprobs[i]`` is the natural-log probability of candidate i, renormalised over the candidates (minus infinity:
    proven not to be the best and not expanded). ``best`` is the index of the most probable one."""

    logprobs: tuple[float, ...]
    best: int
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed reply. The last one has ``reply`` set: the whole text, finish reason and usage."""

    text: str
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. ``forms`` are the kinds of ResponseFormat it decodes under constraint; ``context`` is in tokens."""

    forms: frozenset[str] = frozenset()
    score: bool = False
    tools: bool = False
    logprobs: bool = False
    beams: bool = False
    seed: bool = False
    context: int = 8192
    local: bool = False


# ---------------------------------------------------------------- documents and passages


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it comes from. ``metadata`` values are strings, numbers, booleans or lists of strings."""

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: ``text`` is the document's text from character ``start`` up to, not including, ``end``."""

    id: str
    document: str
    start: int
    end: int
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` up to, not including, ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found. ``parts`` are the scores it was made of (``dense``, ``keyword``, ``rerank``), ``highlights`` the spans
    of the passage's text that match the query."""

    passage: Passage
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    highlights: tuple[Span, ...] = ()


# ---------------------------------------------------------------- tasks and answers


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a task. ``reference`` is None where there is no gold answer."""

    id: str
    input: Input
    reference: Any
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits; None is unlimited. ``money`` is US dollars, ``seconds`` wall time of the climb."""

    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RungChoice:
    """A rung to try: its registered name and the options that differ from its defaults."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def title(self) -> str:
        return self.label or self.name


@dataclass(frozen=True, slots=True)
class Guard:
    """Training is allowed only when, of what is marked as private in the texts of the file ``check``, at least the share ``recall`` is
    found, and the training rows hold nothing that is found."""

    check: str
    recall: float = 0.95


@dataclass(frozen=True, slots=True)
class Task:
    """Examples in frozen splits and everything a rung may know about them. Made by ``rung.tasks.load``.

    ``instruction`` says what to do, ``constraints`` and ``persona`` are used by the rungs of those names,
    ``label_notes`` maps a label to a sentence that explains it, ``rules`` (regular expressions by label or field) feed the
    ``rules`` rung, ``passages`` is a corpus (id -> text). ``tolerance`` is how far below the best a cheaper rung may be and
    still be recommended, in units of the primary metric. ``hash`` covers data, splits and definition.
    """

    name: str
    instruction: str
    form: ResponseFormat
    fields: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    metrics: tuple[str, ...]
    hash: str
    constraints: tuple[str, ...] = ()
    persona: str = ""
    label_notes: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passages: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    rungs: tuple[RungChoice, ...] = ()
    budget: Budget = Budget()
    target: float | None = None
    tolerance: float = 0.02
    max_tokens: int = 64
    overflow: Literal["truncate", "fail"] = "fail"
    description: str = ""
    licence: str = ""
    path: str = ""
    private: Guard | None = None

    def split(self, name: Split) -> tuple[Example, ...]:
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


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


def text_of(input: Input | str) -> str:
    """The input as one text: a single field as it is, several as ``name: value`` lines."""
    if isinstance(input, str):
        return input
    if len(input) == 1:
        return next(iter(input.values()))
    return "\n".join(f"{name}: {value}" for name, value in input.items())


def as_input(value: Input | str, fields: Sequence[str]) -> Input:
    """Read what a caller gave (a plain string fills the first field) as an Input."""
    return {fields[0] if fields else "text": value} if isinstance(value, str) else value
