"""The task file: YAML read with line numbers, checked by a pydantic model. docs/task.md describes every key."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from rung.core.errors import InputError
from rung.core.pattern import compile_pattern
from rung.core.problem import Problems, nearest
from rung.core.types import RungChoice
from rung.documents.layout import Layout

Location = tuple[str | int, ...]
STDLIB_CORPUS = "python-stdlib"
Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "arrow", "dataset", "fim"]

NODES = 200_000
"""More nodes than this in a task file (aliases expanded) is a mistake or an attack, not a task."""


# ---------------------------------------------------------------- YAML with lines


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2: `no`, `on` and dates are text, 010 is ten."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _textual(path: Location) -> bool:
    # Labels, rules and mapped references are text as it is written: `labels: [1.10, true]` means "1.10" and "true".
    return path[:2] == ("answer", "labels") or path[:1] == ("rules",) or path[:3] == ("columns", "reference", "map")


class _Tree:
    def __init__(self, file: Path, problems: Problems) -> None:
        self.file, self.problems = file, problems
        self.lines: dict[Location, int] = {}
        self.count = 0

    def build(self, node: yaml.Node, path: Location, above: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in above or self.count > NODES:
            raise yaml.MarkedYAMLError(None, None, "an alias that holds itself, or far too much", node.start_mark)
        self.lines.setdefault(path, node.start_mark.line + 1)
        above = (*above, id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), above) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            out: dict[str, Any] = {}
            for key, value in self._pairs(node):
                name, line = str(key.value), key.start_mark.line + 1
                inner = (*path, name)
                if name in out:
                    first = self.lines[inner]
                    self.problems.add(
                        f"`{name}` is given twice (first on line {first})", "keep one", file=self.file, line=line
                    )
                self.lines[inner] = line
                out[name] = self.build(value, inner, above)
            return out
        if node.value is not None and _textual(path) and node.tag != "tag:yaml.org,2002:null":
            return node.value
        loader = _Loader("")
        try:
            return loader.construct_object(node)
        finally:
            loader.dispose()

    def _pairs(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        own, merged = [], []
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(part, yaml.MappingNode):
                        merged.extend(part.value)
            else:
                own.append((key, value))
        names = {key.value for key, _ in own}
        return [pair for pair in merged if pair[0].value not in names] + own


def parse(file: Path, problems: Problems) -> tuple[dict[str, Any], dict[Location, int]] | None:
    """The task file as plain values, and the line of each; None when it cannot be read (problems say why)."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        problems.add(f"cannot read the task file: {error.strerror}", "name a task.yaml, or make one: rung init my-task",
                     file=file)  # fmt: skip
        return None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(
            f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8",
            "save the file as UTF-8",
            file=file,
            line=line,
        )
        return None
    tree = _Tree(file, problems)
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = None if node is None else tree.build(node, (), ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.problem, error.context) if part)
        problems.add(
            f"not valid YAML: {what}",
            "check indentation, and quote text that holds ': ' or starts with a special character",
            file=file,
            line=mark.line + 1 if mark else None,
        )
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        problems.add(f"not valid YAML: {what}", "remove what is named", file=file)
        return None
    if not isinstance(value, dict):
        got = "nothing" if value is None else f"a {type(value).__name__}"
        problems.add(f"got {got}, expected keys with values", "see a whole one: rung init my-task", file=file, line=1)
        return None
    return value, tree.lines


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


class Reader(_Part):
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


class Source(Reader):
    """A file or folder and how it is read."""

    file: str

    def under(self, defaults: Reader) -> Source:
        """This source with ``defaults`` where it says nothing itself."""
        given = {key: value for key, value in self.model_dump().items() if value is not None}
        return Source(**{**defaults.model_dump(), **given})


def _source(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


def _sources(value: Any) -> Any:
    return [_source(item) for item in _several(value)] if value is not None else value


Sources = Annotated[tuple[Source, ...], BeforeValidator(_sources)]


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


class Reference(_Part):
    """Where the reference is: ``pattern`` takes its first group out of the text, ``map`` renames, ``separator`` splits."""

    column: Text
    pattern: str | None = None
    map: dict[str, Text] = Field(default_factory=dict)
    separator: str | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {"column": value}

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return value if value is None else _regex(value)


class Columns(_Part):
    input: dict[str, Text]
    reference: Reference | None = None
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


class Answer(_Part):
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


class Private(_Part):
    """What must be measured and looked at before anything may be trained on the rows."""

    check: str
    recall: float = Field(default=0.95, gt=0, le=1)


class Corpus(Source):
    """Passages: a data file's columns ``id`` and ``text`` (several are joined by a line break), or a folder or text file."""

    id: Text | None = None
    text: Texts = ("text",)

    @model_validator(mode="before")
    @classmethod
    def _shape(cls, value: Any) -> Any:
        return _source(value)


class Choice(_Part):
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


class Definition(_Part):
    """A whole task file."""

    name: Name
    instruction: Text = Field(min_length=1)
    data: Data
    columns: Columns
    answer: Answer
    metrics: Annotated[Texts, Field(min_length=1)]
    description: Text = ""
    licence: Text = ""
    constraints: Texts = ()
    persona: Text = ""
    reader: Reader = Reader()
    rules: dict[str, Texts] = Field(default_factory=dict)
    max_tokens: int = Field(default=64, gt=0)
    overflow: Literal["truncate", "fail"] = "fail"
    split: Split = Split()
    limit: Limit = Limit()
    passages: Corpus | None = None
    models: Texts = ()
    rungs: tuple[Choice, ...] = ()
    target: float | None = Field(default=None, allow_inf_nan=False)
    tolerance: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    budget: Spend = Spend()
    private: Private | None = None

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


_PARTS: dict[str, type[BaseModel]] = {
    "data": Data, "columns": Columns, "answer": Answer, "split": Split, "limit": Limit, "budget": Spend,
    "passages": Corpus, "reader": Reader, "private": Private,
}  # fmt: skip
_EXPECTED = {
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "string_type": "text", "bool_type": "true or false", "bool_parsing": "true or false",
    "dict_type": "keys with values", "model_type": "keys with values", "tuple_type": "a list",
    "model_attributes_type": "keys with values",
}  # fmt: skip


def _line(lines: Mapping[Location, int], location: Location) -> int | None:
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return None


def _allowed(location: Location) -> list[str]:
    part = _PARTS.get(str(location[0])) if len(location) > 1 else Definition
    if location[0] == "columns" and len(location) > 2 and location[1] == "reference":
        part = Reference
    if location[0] == "data" and len(location) > 2:
        part = Source
    return sorted(set((part or Definition).model_fields) - {"whole"})


def check(value: Mapping[str, Any], lines: Mapping[Location, int], file: Path, problems: Problems) -> Definition | None:
    """The definition, or None with every mistake in ``problems``."""
    try:
        return Definition.model_validate(value)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            location: Location = tuple(part for part in error["loc"] if part != "whole")
            where, kind = ".".join(str(part) for part in location), error["type"]
            line = _line(lines, location)
            if kind == "extra_forbidden":
                key = str(location[-1])
                problems.add(f"unknown key `{where}`", nearest(key, _allowed(location)), file=file, line=line)
            elif kind == "missing":
                problems.add(
                    f"`{where}` is missing",
                    f"add `{location[-1]}:`; see a whole task file: rung init my-task",
                    file=file,
                    line=line,
                )
            else:
                got = _short(error["input"])
                message = error["msg"].removeprefix("Value error, ")
                if kind in _EXPECTED:
                    message = f"got {got}, expected {_EXPECTED[kind]}"
                elif kind != "value_error":
                    message = f"got {got}: {message[:1].lower()}{message[1:]}"
                problems.add(f"`{where}`: {message}", f"correct `{where}`", file=file, line=line)
        return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------- paths in a task file

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(text: str) -> tuple[str, str]:
    """``text`` with ``${NAME}`` and ``${NAME:-default}`` replaced from the environment, and the first unset NAME or ""."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1]) or match[2]
        if found is None:
            missing.append(match[1])
        return found or ""

    out = _VARIABLE.sub(value, text)
    return out, missing[0] if missing else ""


def line_of(lines: Mapping[Location, int], *location: Hashable) -> int | None:
    """The line of a key, or of the nearest key above it."""
    return _line(lines, tuple(part for part in location if isinstance(part, str | int)))
