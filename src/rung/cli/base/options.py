"""Options that several verbs have, declared once, and verbs whose options are the fields of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from rung.core.errors import InputError

R = TypeVar("R")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task file, its folder, or a built-in pack.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or `last`.")]
ModelName = Annotated[
    str | None, typer.Option("-m", "--model", metavar="MODEL", help="The model, as provider:name.", show_default=False)
]
ModelNames = Annotated[
    list[str] | None,
    typer.Option("-m", "--model", metavar="MODEL", help="A model, as provider:name; may be repeated."),
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store: sqlite:///FILE or postgresql://...")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many examples.")]
Target = Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write.")]


def assigned(given: Iterable[str], flag: str = "--set") -> dict[str, str]:
    """``NAME=VALUE`` of a repeated option, as texts. Raises InputError."""
    out = {}
    for item in given:
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise InputError(f"got {flag} {item!r}: expected NAME=VALUE", remedy=f"for example {flag} name=value")
        out[name] = value
    return out


def assigned_values(given: Iterable[str], flag: str = "--set") -> dict[str, Any]:
    """The same, each value read as YAML. Raises InputError."""
    from rung.foundations.text.yaml import read_yaml

    out: dict[str, Any] = {}
    for name, value in assigned(given, flag).items():
        try:
            out[name] = read_yaml(value)
        except Exception as error:  # whatever is wrong with it as YAML
            raise InputError(f"{name}: cannot read {value!r}: {error}", remedy="write NAME=VALUE") from None
    return out


def _declare(item: Field[Any], kind: Any) -> inspect.Parameter:
    known = {name: item.metadata[name] for name in ("help", "metavar", "min", "max")}
    default = inspect.Parameter.empty if item.default is MISSING else item.default
    if get_origin(kind) is tuple:
        several: Any = list[get_args(kind)[0]]  # type: ignore[misc]
        kind = several if item.default is MISSING else several | None
        default = default if item.default is MISSING else None
    argument = item.metadata.get("argument")
    shown = typer.Argument(**known) if argument else typer.Option(*item.metadata["flags"], **known)
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, shown]
    )


def expand(verb: Callable[..., R]) -> Callable[..., R]:
    """The verb with an option for each field (see core.option) of every dataclass among its parameters.

    A verb without such a parameter comes back as it is.
    """
    given = inspect.signature(verb, eval_str=True).parameters.values()
    records: dict[str, Any] = {item.name: item.annotation for item in given if is_dataclass(item.annotation)}
    if not records:
        return verb
    names: dict[str, list[str]] = {}
    parameters = [item.replace(kind=item.KEYWORD_ONLY) for item in given if item.name not in records]
    for name, record in records.items():
        hints = get_type_hints(record)
        options = [item for item in fields(record) if "help" in item.metadata]
        names[name] = [item.name for item in options]
        parameters += [_declare(item, hints[item.name]) for item in options]

    @wraps(verb)
    def call(**values: Any) -> R:
        for name, record in records.items():
            taken = {field: values.pop(field) for field in names[name]}
            hints = get_type_hints(record)
            taken = {k: tuple(v or ()) if get_origin(hints[k]) is tuple else v for k, v in taken.items()}
            values[name] = record(**taken)
        return verb(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {item.name: item.annotation for item in parameters}
    return call
