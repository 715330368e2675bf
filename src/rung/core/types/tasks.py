"""A task: its examples in frozen splits, and what it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rung.core.parts.option import option
from rung.core.types.messages import ResponseFormat

Input = Mapping[str, str]
"""An example's input: named text fields in the task's order, for instance ``{"text": "..."}``."""

Split = Literal["train", "dev", "test"]


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

    tokens: int | None = option(None, "Hard budget in tokens.", low=1)
    money: float | None = option(None, "Hard budget in US dollars.", low=0)
    seconds: float | None = option(None, "Hard budget in seconds.", low=0)


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
    """Training is allowed only when, of what is marked as private in the texts of the file ``check``, at least the
    share ``recall`` is found, and the training rows hold nothing that is found."""

    check: str
    recall: float = 0.95


@dataclass(frozen=True, slots=True)
class Task:
    """Examples in frozen splits and everything a rung may know about them. Made by ``rung.tasks.load``.

    ``instruction`` says what to do, ``constraints`` and ``persona`` are used by the rungs of those names,
    ``label_notes`` maps a label to a sentence that explains it, ``rules`` (regular expressions by label or field) feed
    the ``rules`` rung, ``passages`` is a corpus (id -> text). ``tolerance`` is how far below the best a cheaper rung
    may be and still be recommended, in units of the primary metric. ``hash`` covers data, splits and definition.
    ``environment``, ``tools`` and ``limits`` are an agent's: by name, or {name: NAME, option: value}.
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
    environment: str | Mapping[str, Any] = ""
    tools: tuple[str | Mapping[str, Any], ...] = ()
    limits: Mapping[str, Any] = field(default_factory=dict)

    def split(self, name: Split) -> tuple[Example, ...]:
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


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
