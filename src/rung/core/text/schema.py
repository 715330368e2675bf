"""Values checked against JSON schemas: one validator, which opens no address and ends, whatever a pattern is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from rung.core.text.pattern import compile_pattern


@dataclass(frozen=True, slots=True)
class Offence:
    """Where a value breaks a schema, and how."""

    path: tuple[str | int, ...]
    message: str


def complain(schema: Mapping[str, Any], value: Any) -> str:
    """What is wrong with a value under a JSON schema, in words; "" where nothing is."""
    found = offence(schema, value)
    if found is None:
        return ""
    return f"JSON breaks the schema at {'/'.join(map(str, found.path)) or 'the object'}: {found.message}"


def offence(schema: Mapping[str, Any], value: Any) -> Offence | None:
    """The first thing in a value, by its place, that breaks a JSON schema (of the draft it names, else 2020-12); None
    where nothing does. References reach no network. Raises InputError (``slow-pattern``) for a pattern without end."""
    from referencing.exceptions import Unresolvable

    try:
        problems = list(islice(validator(schema).iter_errors(value), 64))
    except RecursionError:
        return Offence((), "the schema or the value is nested too deeply")
    except Unresolvable as error:
        return Offence((), f"the schema refers to what is not in it: {error.ref}")
    if not problems:
        return None
    first = min(problems, key=lambda problem: list(map(str, problem.absolute_path)))
    return Offence(tuple(first.absolute_path), _short(first.message))


def check_schema(schema: Any) -> Offence | None:
    """What makes a value no JSON schema; None where it is one."""
    from jsonschema import SchemaError

    try:
        _draft(schema).check_schema(schema)
    except SchemaError as error:
        return Offence(tuple(error.absolute_path), _short(error.message))
    except RecursionError:
        return Offence((), "it is nested too deeply")
    return None


def validator(schema: Mapping[str, Any]) -> Any:
    """A validator that opens no address, and whose patterns run under a deadline (see core.pattern)."""
    from referencing import Registry

    return _bounded(_draft(schema))(dict(schema), registry=Registry(), format_checker=None)


def _draft(schema: Any) -> Any:
    """The class of validators for the draft that a schema names."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    named = isinstance(schema, Mapping) and isinstance(schema.get("$schema"), str)
    return validator_for(schema, default=Draft202012Validator) if named else Draft202012Validator


@lru_cache(maxsize=8)
def _bounded(draft: Any) -> Any:
    import jsonschema
    from jsonschema.exceptions import ValidationError

    def check_pattern(checker: Any, source: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if checker.is_type(instance, "string") and compile_pattern(source).search(instance) is None:
            yield ValidationError(f"{instance!r} does not match {source!r}")

    def check_properties(
        checker: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        if not checker.is_type(instance, "object"):
            return
        for source, inner in patterns.items():
            for key, value in instance.items():
                if compile_pattern(source).search(key):
                    yield from checker.descend(value, inner, path=key, schema_path=source)

    return jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        draft, {"pattern": check_pattern, "patternProperties": check_properties}
    )


def _short(message: str) -> str:
    return message if len(message) <= 160 else message[:157] + "..."
