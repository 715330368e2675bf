"""The string form of a backend: ``kind``, ``kind:what``, ``kind:what?option=value&option=value``
(``faiss:hnsw?m=32&ef=64``, ``qdrant:http://host:6333/collection``)."""

from __future__ import annotations

import dataclasses
import difflib
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from rung.core.errors import InputError
from rung.core.parts.registry import load
from rung.core.protocols import Index
from rung.core.system.machine import cores

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """A backend's string form taken apart: ``what`` is a sub-kind or a URL without its query."""

    kind: str
    what: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        text = self.kind + (f":{self.what}" if self.what else "")
        return text + (f"?{urlencode(self.options)}" if self.options else "")

    @property
    def shown(self) -> str:
        """The string form without a password."""
        parts = urlsplit(self.what)
        if parts.password is None:
            return str(self)
        return str(dataclasses.replace(self, what=self.what.replace(f":{parts.password}@", ":...@", 1)))


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of index: ``open`` takes a spec, a folder and the vectors' dimensions. ``measured`` are the string
    forms that a bench tries when nothing is named; ``sweep`` is, by the part of a string form before its options,
    the option that trades recall for speed in a search, and values that span it."""

    open: Callable[[IndexSpec, Path, int], Index]
    measured: tuple[str, ...] = ()
    sweep: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    def __call__(self, spec: IndexSpec, folder: Path, dimensions: int) -> Index:
        return self.open(spec, folder, dimensions)


def parse(text: str) -> IndexSpec:
    """Take a backend's string form apart. Raises InputError for an empty kind or an option without a value."""
    head, _, query = text.strip().partition("?")
    kind, _, what = head.partition(":")
    if not kind:
        raise InputError(f"the index {text!r} names no backend", remedy="type for instance exact or faiss:hnsw?ef=64")
    try:
        options = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise InputError(
            f"the options of the index {text!r} cannot be read: {query!r}", remedy="type them as name=value&name=value"
        ) from None
    return IndexSpec(kind, what, options)


def read_options(spec: IndexSpec, kind: Callable[..., T], *, known: Sequence[str] | None = None) -> T:
    """The options of a spec as the frozen dataclass ``kind``; ``known`` narrows which of its fields may be given.

    Raises InputError for an unknown option, one given twice, or a value that its field does not take.
    """
    assert isinstance(kind, type)
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind) if known is None or field.name in known]
    values: dict[str, Any] = {}
    for name, raw in spec.options:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            raise InputError(
                f"the index {spec.shown!r} has the unknown option {name!r}",
                remedy=f"did you mean {near[0]}?" if near else f"options: {', '.join(fields) or 'none'}",
            )
        if name in values:
            raise InputError(f"the index {spec.shown!r} gives {name} twice", remedy="give it once")
        values[name] = _value(spec, name, hints[name], raw)
    out: T = kind(**values)
    return out


def _value(spec: IndexSpec, name: str, hint: Any, raw: str) -> Any:
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    try:
        if hint is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[raw.lower()]
        value: Any = hint(raw) if not choices else raw
        if hint in (int, float) and not value >= 0:
            raise ValueError
    except (ValueError, KeyError):
        raise InputError(
            f"the index {spec.shown!r}: {name} is {raw!r}, expected {hint.__name__} >= 0", remedy=f"type {name}=..."
        ) from None
    if choices and value not in choices:
        raise InputError(
            f"the index {spec.shown!r}: {name} is {raw!r}", remedy=f"one of {', '.join(map(str, choices))}"
        )
    return value


def open_index(spec: str, folder: Path, dimensions: int) -> Index:
    """Open the index that ``spec`` names, made if it is not there.

    ``folder`` is where a local backend keeps its files (made if need be); a server's index is at its URL and the folder
    is not used. ``dimensions`` is the vectors' length. Raises InputError for a spec or dimensions that do not fit,
    MissingExtra when the backend's package is not installed, StoreError for damaged files, ServerError when a server
    cannot be reached.
    """
    parsed = parse(spec)
    if dimensions < 1:
        raise InputError(f"an index has vectors of at least one dimension, got {dimensions}")
    opened: Index = load("index", parsed.kind)(parsed, folder, dimensions)
    return opened


def threads() -> int:
    """Threads for work over many vectors: what OMP_NUM_THREADS says, else the cores this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given):
        return int(given)
    return cores()
