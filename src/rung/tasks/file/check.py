"""A task file's values against the definition: every mistake with its line; and the paths that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rung.core.parts.problem import Problems, nearest
from rung.tasks.file.definition import (
    AnswerPart,
    ColumnsPart,
    Corpus,
    Data,
    Definition,
    Limit,
    PrivatePart,
    ReaderPart,
    ReferencePart,
    SourcePart,
    Spend,
    Split,
)  # fmt: skip
from rung.tasks.file.yaml import Location

_PARTS: dict[str, type[BaseModel]] = {
    "data": Data, "columns": ColumnsPart, "answer": AnswerPart, "split": Split, "limit": Limit, "budget": Spend,
    "passages": Corpus, "reader": ReaderPart, "private": PrivatePart,
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
        part = ReferencePart
    if location[0] == "data" and len(location) > 2:
        part = SourcePart
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


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(text: str) -> tuple[str, str]:
    """``text`` with ``${NAME}`` and ``${NAME:-default}`` replaced from the environment, and the first unset NAME or
    ""."""
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
