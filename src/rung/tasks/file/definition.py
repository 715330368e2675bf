"""What a task file holds, as a pydantic model. docs/task.md describes every key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.text.pattern import compile_pattern
from rung.core.types import RungChoice
from rung.documents.tables.layout import Layout

STDLIB_CORPUS = "python-stdlib"
Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow", "dataset", "lines", "texts", "fim"]

# ---------------------------------------------------------------- the model


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else [value]


def _text(value: Any) -> Any:
    # A bare number or boolean where text is meant is taken as written: `name: 7`.
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_several)]
Name = Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


class ReaderPart(_Part):
    """How a source is read; None leaves it to the file's name."""

    format: Format | None = None
    header: bool | None = None
    names: Texts | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    quote: str | None = None
    encoding: str | None = None
    path: str | None = None

    @field_validator("quote")
    @classmethod
    def _quote(cls, value: str | None) -> str | None:
        if value is not None and value != "none" and len(value) != 1:
            raise ValueError("expected one character, or none")
        return value

    @field_validator("encoding")
    @classmethod
    def _encoding(cls, value: str | None) -> str | None:
        import codecs

        if value is not None:
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError(f"got {value!r}, expected an encoding that Python knows, such as cp1252") from None
        return value

    @property
    def layout(self) -> Layout:
        return Layout(self.format, self.header, self.names, self.delimiter, self.quote, self.encoding, self.path)


class SourcePart(ReaderPart):
    """A file or folder and how it is read."""

    file: str

    def under(self, defaults: ReaderPart) -> SourcePart:
        """This source with ``defaults`` where it says nothing itself."""
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return SourcePart(**{**defaults.model_dump(), **given})


def _source(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _sources(value: Any) -> Any:
    return [_source(item) for item in _several(value)] if value is not None else value


Sources = Annotated[tuple[SourcePart, ...], BeforeValidator(_sources)]


class Data(_Part):
    """Sources by split; ``whole`` are sources whose rows have no split yet."""

    whole: Sources = ()
    train: Sources = ()
    dev: Sources = ()
    test: Sources = ()

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "file" not in value:
            if "whole" not in value and "train" not in value:
                raise ValueError(
                    "expected a path, {file: PATH}, or {train: PATH, dev: PATH, test: PATH}; train is missing"
                )
            if "train" in value and "test" not in value and "dev" in value:
                raise ValueError("dev is given and test is not; give test as well, or only train and let both be drawn")
            if "train" in value and "test" not in value:
                return {"whole": value["train"], **{key: item for key, item in value.items() if key != "train"}}
            return value
        return {"whole": value}


class _Picked(_Part):
    column: Text
    pattern: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {"column": value}

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return value if value is None else _regex(value)


class ReferencePart(_Picked):
    """Where the reference is: ``pattern`` takes its first group out of the text, ``map`` renames, ``separator``
    splits."""

    map: dict[str, Text] = Field(default_factory=dict)
    separator: str | None = Field(default=None, min_length=1)


class InputField(_Picked):
    """A field of the input: a column, or what ``pattern`` takes out of it (its first group, else all that matches)."""


class ColumnsPart(_Part):
    input: dict[str, InputField]
    reference: ReferencePart | None = None
    id: Text | None = None
    group: Text | None = None
    split: Text | None = None
    metadata: Texts = ()

    @field_validator("input", mode="before")
    @classmethod
    def _fields(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            fields = dict(value)
        else:
            fields = {
                re.split(r"[.\[]", str(item))[-1] if "." in str(item) else str(item): item
                for item in _several(value) or ()
            }
            if len(fields) != len(_several(value) or ()):
                raise ValueError("two columns would have the same field name; write {field: column, ...}")
        if not fields:
            raise ValueError("expected at least one column")
        return fields


def _regex(value: str) -> str:
    try:
        compile_pattern(value)
    except InputError as error:
        raise ValueError(error.message) from None
    return value


class AnswerPart(_Part):
    """The form of an answer. ``auto``: the labels are those of the data."""

    kind: Literal["text", "number", "labels", "json", "regex", "grammar"]
    auto: bool = False
    labels: tuple[str, ...] = ()
    notes: dict[str, str] = Field(default_factory=dict)
    pattern: str = ""
    document: dict[str, Any] | None = None
    file: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        if value in ("text", "number"):
            return {"kind": value}
        if value == "labels":
            return {"kind": "labels", "auto": True}
        if not isinstance(value, Mapping) or len(value) != 1:
            raise ValueError(
                "expected one of: text, number, labels, {labels: ...}, {json: ...}, {regex: ...}, {grammar: ...}"
            )
        ((kind, inner),) = value.items()
        if kind == "labels":
            return cls._labels(inner)
        if kind == "json":
            if isinstance(inner, str):
                return {"kind": "json", "file": inner}
            if isinstance(inner, Mapping):
                return {"kind": "json", "document": inner}
            raise ValueError("json: expected a JSON schema, inline or as the path of a file")
        if kind in ("regex", "grammar"):
            if not isinstance(inner, str) or not inner:
                raise ValueError(f"{kind}: got {inner!r}, expected text")
            return {"kind": kind, "pattern": _regex(inner) if kind == "regex" else inner}
        if kind in ("text", "number"):
            raise ValueError(f"write it without braces: `answer: {kind}`")
        raise ValueError(
            f"unknown form {kind!r}; {nearest(str(kind), ['text', 'number', 'labels', 'json', 'regex', 'grammar'])}"
        )

    @staticmethod
    def _labels(inner: Any) -> dict[str, Any]:
        if inner == "auto":
            return {"kind": "labels", "auto": True}
        if isinstance(inner, Mapping):
            notes = {str(label): str(note).strip() for label, note in inner.items() if note is not None}
            return {"kind": "labels", "labels": tuple(str(label).strip() for label in inner), "notes": notes}
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            raise ValueError("labels: expected auto, a list of labels, or a mapping from label to a note on it")
        labels = tuple(str(label).strip() for label in inner)
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice or not all(labels):
            raise ValueError(
                f"labels: {', '.join(map(repr, twice)) or 'an empty label'} more than once or empty; keep one"
            )
        return {"kind": "labels", "labels": labels}


class Split(_Part):
    train: float = Field(default=0.6, gt=0, lt=1)
    dev: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.25, gt=0, lt=1)
    seed: int = 0
    stratify: bool = True
    near: float | None = Field(default=0.8, gt=0.3, le=1)
    duplicates: Literal["drop", "keep"] = "drop"

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected keys such as {train: 0.6, dev: 0.15, test: 0.25, seed: 0}")
        out = dict(value)
        if out.get("near") in ("off", False):
            out["near"] = None
        given = [name for name in ("train", "dev", "test") if name in out]
        if len(given) == 2 and all(isinstance(out[name], int | float) for name in given):
            rest = ({"train", "dev", "test"} - set(given)).pop()
            out[rest] = round(1 - out[given[0]] - out[given[1]], 9)
            if out[rest] <= 0:
                raise ValueError(f"{given[0]} and {given[1]} leave nothing for {rest}")
        return out

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = self.train + self.dev + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, dev and test add up to {total:g}, expected 1")
        return self


class Limit(_Part):
    train: int | None = Field(default=None, gt=0)
    dev: int | None = Field(default=None, gt=0)
    test: int | None = Field(default=None, gt=0)


class Spend(_Part):
    tokens: int | None = Field(default=None, gt=0)
    money: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class PrivatePart(_Part):
    """What must be measured and looked at before anything may be trained on the rows."""

    check: str
    recall: float = Field(default=0.95, gt=0, le=1)


class Corpus(SourcePart):
    """Passages: a data file's columns ``id`` and ``text`` (several are joined by a line break), or a folder or text
    file."""

    id: Text | None = None
    text: Texts = ("text",)

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        return _source(value)


class RungPart(_Part):
    """A rung to try."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    label: str = ""

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "use" in value:
            rest = {key: item for key, item in value.items() if key not in ("use", "label")}
            return {"name": value["use"], "label": value.get("label", ""), "options": rest}
        if isinstance(value, Mapping) and set(value) <= {"name", "options", "label"} and "name" in value:
            return value
        if isinstance(value, Mapping) and len(value) == 1:
            ((name, options),) = value.items()
            if options is None or isinstance(options, Mapping):
                return {"name": name, "options": dict(options or {})}
        raise ValueError("expected a name, {NAME: {option: value}} or {label: LABEL, use: NAME, option: value}")

    @property
    def choice(self) -> RungChoice:
        return RungChoice(self.name, self.options, self.label)


def _named(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("name"), str)):
        return value
    raise ValueError(f"got {value!r}, expected a name, or {{name: NAME, option: value}}")


Part = Annotated[str | dict[str, Any], BeforeValidator(_named)]
"""A part of an agent, by name."""


class Definition(_Part):
    """A whole task file."""

    name: Name
    instruction: Text = Field(min_length=1)
    data: Data
    columns: ColumnsPart
    answer: AnswerPart
    empty: Literal["fail", "skip"] = "fail"
    metrics: Annotated[Texts, Field(min_length=1)]
    description: Text = ""
    licence: Text = ""
    constraints: Texts = ()
    persona: Text = ""
    reader: ReaderPart = ReaderPart()
    rules: dict[str, Texts] = Field(default_factory=dict)
    max_tokens: int = Field(default=64, gt=0)
    overflow: Literal["truncate", "fail"] = "fail"
    split: Split = Split()
    limit: Limit = Limit()
    passages: Corpus | None = None
    models: Texts = ()
    rungs: tuple[RungPart, ...] = ()
    target: float | None = Field(default=None, allow_inf_nan=False)
    tolerance: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    budget: Spend = Spend()
    private: PrivatePart | None = None
    environment: Part | None = None
    tools: Annotated[tuple[Part, ...], BeforeValidator(_several)] = ()
    limits: dict[str, Any] = Field(default_factory=dict)

    @property
    def acting(self) -> dict[str, Any]:
        """What an agent acts in and with; empty where the task is none for agents."""
        if not (self.environment or self.tools):
            return {}
        return {"environment": self.environment or "", "tools": self.tools, "limits": self.limits}

    @field_validator("rules")
    @classmethod
    def _rules(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for patterns in value.values():
            for pattern in patterns:
                _regex(pattern)
        return value

    @field_validator("rungs", mode="before")
    @classmethod
    def _rungs(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # rungs: {few-shot: {k: 8}, zero-shot: }
            return [{name: options} for name, options in value.items()]
        return _several(value)
