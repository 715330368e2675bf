"""Records to JSON and back, and content hashes. One canonical form, so that equal values have equal hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


_PLAIN = frozenset((str, int, bool, type(None)))
_PLAINLY: dict[str, Any] = {
    "separators": (",", ":"),
    "ensure_ascii": False,
    "allow_nan": False,
    "check_circular": False,
}
_CANONICAL, _ORDERED = json.JSONEncoder(sort_keys=True, **_PLAINLY), json.JSONEncoder(**_PLAINLY)


def encode(value: Any) -> Any:
    """A record as plain JSON types; fields at their default are left out. JSON has no infinities and no NaN: they
    become the texts ``inf``, ``-inf`` and ``nan``, which a float field reads back."""
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {}
        for name, default in _defaults(type(value)):
            item = getattr(value, name)
            if default is dataclasses.MISSING or item != default:
                out[name] = encode(item)
        return out
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(encode(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def decode(kind: type[T], value: Any) -> T:
    """Rebuild a record of class ``kind`` from what ``encode`` made. Raises TypeError or ValueError for anything
    else."""
    return typing.cast(T, _decode(kind, value))


def _first(arms: list[Any], value: Any) -> Any:
    """The value as the first of a union's types that it is."""
    for arm in arms[:-1]:
        try:
            return _decode(arm, value)
        except (TypeError, ValueError):
            continue
    return _decode(arms[-1], value)


def _decode(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if value is None:
        _expect(kind is types.NoneType or types.NoneType in arguments or None in arguments, kind, value)
        return None
    if origin in (typing.Union, types.UnionType):
        return _first([arm for arm in arguments if arm is not type(None)], value)
    if origin in (tuple, list, frozenset):
        _expect(isinstance(value, list | tuple), kind, value)
        if origin is tuple and len(arguments) > 1 and arguments[-1] is not Ellipsis:
            return tuple(_decode(arm, item) for arm, item in zip(arguments, value, strict=True))
        return origin(_decode(arguments[0], item) for item in value)
    if origin is typing.Literal:
        _expect(value in arguments, kind, value)
        return value
    if origin is not None and len(arguments) == 2:
        _expect(isinstance(value, Mapping), kind, value)
        return {int(key) if arguments[0] is int else key: _decode(arguments[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _expect(isinstance(value, Mapping), kind, value)
        hints = _hints(kind)
        return kind(**{name: _decode(hints[name], item) for name, item in value.items() if name in hints})
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, str):
        return float(value)
    if kind in (str, bool, int, float):
        _expect(isinstance(value, int | float if kind is float else kind), kind, value)
        _expect(kind is bool or not isinstance(value, bool), kind, value)
    return value


def _expect(good: bool, kind: Any, value: Any) -> None:
    if good:
        return
    if typing.get_origin(kind) is typing.Literal:
        raise TypeError(f"expected one of {', '.join(map(str, typing.get_args(kind)))}, got {str(value)[:60]!r}")
    raise TypeError(f"expected {getattr(kind, '__name__', kind)}, got {type(value).__name__} {str(value)[:60]!r}")


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@lru_cache(maxsize=256)
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    out = []
    for item in dataclasses.fields(kind):
        default: Any = item.default
        factory: Any = item.default_factory
        if default is dataclasses.MISSING and factory is not dataclasses.MISSING:
            default = factory()
        out.append((item.name, default))
    return tuple(out)


def spell(value: Any) -> str:
    """A parsed output as text for people: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(encode(value), ensure_ascii=False)


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. The properties of a JSON schema keep their order, in which
    a model writes them: schemas that differ in it are not equal."""
    return _text(encode(value))


def _text(plain: Any) -> str:
    text = _CANONICAL.encode(plain)
    return _ORDERED.encode(_sorted(plain)) if '"properties":{' in text else text


def _sorted(value: Any, properties: bool = False) -> Any:
    """The value with the keys of all mappings in order but those of a schema's ``properties``."""
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    if not isinstance(value, dict):
        return value
    keys = value if properties else sorted(value)
    return {key: _sorted(value[key], not properties and key == "properties" and _forms(value[key])) for key in keys}


def _forms(value: Any) -> bool:
    """Whether this is what stands under ``properties`` in a JSON schema: a schema for each name."""
    return isinstance(value, dict) and all(isinstance(item, dict | bool) for item in value.values())


def canonical_of_plain(value: Any) -> str:
    """``canonical`` of a value that is plain JSON as a rule: the same text, without a look through it first."""
    try:
        return _text(value)
    except (TypeError, ValueError):
        return canonical(value)


def digest(value: Any) -> str:
    """Content hash of a value: 32 hex digits of BLAKE2b over its canonical JSON."""
    return hashlib.blake2b(canonical(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
