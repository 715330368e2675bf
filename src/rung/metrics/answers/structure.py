"""Structured answers: is it JSON, does it keep the schema, which fields are right?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.text.schema import check_schema, offence
from rung.core.types import Case, Score
from rung.metrics.answers.exact import plain
from rung.metrics.mean import Mean, references, shown


def _parsed(output: Any) -> tuple[bool, Any]:
    """Whether the output is JSON, and its value. Text is read as JSON; what a program has parsed already is."""
    if not isinstance(output, str):
        return output is not None, output
    try:
        return True, json.loads(output)
    except (ValueError, RecursionError):
        return False, None


class JsonValid(Mean):
    """1 when the answer is a JSON object or array, or text that parses as one, else 0."""

    name = "json-valid"

    def grade(self, case: Case) -> Score:
        _, value = _parsed(case.output)
        if isinstance(value, Mapping | list):
            return Score(1.0, "valid JSON")
        return Score(0.0, f"not a JSON object or array: {shown(case.output)}")


class SchemaValid(Mean):
    """1 when the answer is valid under the JSON schema, else 0 with the first offence."""

    def __init__(self, schema: dict[str, Any], name: str = "schema-valid") -> None:
        if not isinstance(schema, dict) or (wrong := check_schema(schema)) is not None:
            why = wrong.message if isinstance(schema, dict) and wrong else "it is no object"
            raise InputError(f"not a JSON schema: {why}", remedy="correct the schema of schema-valid")
        self.name = name
        self._schema = schema

    def grade(self, case: Case) -> Score:
        valid, value = _parsed(case.output)
        if not valid:
            return Score(0.0, f"not JSON: {shown(case.output)}")
        try:
            found = offence(self._schema, value)
        except InputError as error:  # a pattern that takes too long
            return Score(0.0, error.message)
        if found is None:
            return Score(1.0, "valid under the schema")
        return Score(0.0, f"{'/'.join(map(str, found.path)) or 'the whole answer'}: {found.message}")


def open_schema(argument: str, resources: Resources) -> SchemaValid:
    """``schema-valid:FILE`` or ``schema-valid:{...}``."""
    text = argument.strip()
    if not text:
        raise InputError("schema-valid needs a schema", remedy="write schema-valid:FILE.json or schema-valid:{...}")
    try:
        if not text.startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        return SchemaValid(json.loads(text), f"schema-valid:{argument}")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the schema of schema-valid: {error}", remedy="name a JSON file") from None


class FieldF1(Mean):
    """F1 over the fields of a JSON answer, averaged over the items.

    Every leaf of the expected and of the given object is a field, named by its path. A field is right when both have it
    with the same value in the form of ``exact``. Lists are compared without regard to order: elements are paired off,
    the most alike first (greedily), and then compared field by field. An empty object or list counts as one field.
    """

    name = "field-f1"

    def grade(self, case: Case) -> Score:
        valid, got = _parsed(case.output)
        if not valid:
            return Score(0.0, f"not JSON: {shown(case.output)}", (0.0, 0.0, float(_leaves(_reference(case)))))
        wanted = _reference(case)
        notes: list[str] = []
        right = _match(wanted, got, "", notes)
        given, expected = _leaves(got), _leaves(wanted)
        value = 2 * right / (given + expected)
        why = f"{right} of {expected} fields right"
        if given != expected:
            why += f", {given} given"
        if notes:
            why += ": " + "; ".join(notes[:4]) + ("; …" if len(notes) > 4 else "")
        return Score(value, why, (float(right), float(given), float(expected)))


def _reference(case: Case) -> Any:
    value = case.reference
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return references(case)[0] if isinstance(value, tuple) else value


def _leaves(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(_leaves(item) for item in value.values()) or 1
    if isinstance(value, list | tuple):
        return sum(_leaves(item) for item in value) or 1
    return 1


def _match(wanted: Any, got: Any, path: str, notes: list[str]) -> int:
    """How many leaves agree; says in ``notes`` what does not."""
    if isinstance(wanted, Mapping) and isinstance(got, Mapping) and wanted and got:
        right = 0
        for key, item in wanted.items():
            if key in got:
                right += _match(item, got[key], f"{path}.{key}" if path else str(key), notes)
            else:
                notes.append(f"{f'{path}.{key}' if path else key} missing")
        notes.extend(f"{f'{path}.{key}' if path else key} not asked for" for key in got if key not in wanted)
        return right
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple) and wanted and got:
        return _match_lists(wanted, got, path, notes)
    if plain(wanted) == plain(got):
        return 1
    notes.append(f"{path or 'answer'}: expected {shown(wanted, 40)}, got {shown(got, 40)}")
    return 0


def _match_lists(wanted: Any, got: Any, path: str, notes: list[str]) -> int:
    pairs = sorted(
        ((-_match(a, b, "", []), i != j, i, j) for i, a in enumerate(wanted) for j, b in enumerate(got)),
    )
    left, free, right = set(range(len(wanted))), set(range(len(got))), 0
    for _, _, i, j in pairs:
        if i in left and j in free:
            left.discard(i)
            free.discard(j)
            right += _match(wanted[i], got[j], f"{path}[{i}]", notes)
    notes.extend(f"{path}[{i}] missing" for i in sorted(left))
    notes.extend(f"{path}: {shown(got[j], 40)} not asked for" for j in sorted(free))
    return right


JSON_VALID = JsonValid()
FIELD_F1 = FieldF1()
