"""Arguments that can only name what was seen: a parameter's schema says ``x-seen: KIND``.

KIND is ``email``, ``number``, ``date`` or ``quoted``, a regular expression between slashes, or the name of a field of
the JSON that tools gave (``order_id``). The parameter then becomes a choice among the values that occur in the request
and the observations. Free texts can be held to the same (``copied``): their words are free, their numbers, ids and
addresses are ones that were seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rung.core.text.pattern import compile_pattern, slashed

Source = tuple[str, str]
"""Where a text comes from, and the text."""

SEEN = "x-seen"
MOST = 200
"""Values that a choice is made of at most: the last ones seen."""

PATTERNS = {
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "number": r"(?<![\w.])(?<!\w-)-?\d+(?:\.\d+)?(?![\w]|\.\d|-\d)",
    "date": r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\b",
    "quoted": r"\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|'([^'\n]{2,200})'(?!\w)",
}

_WORD = re.compile(r"[^\s\"'`(){}\[\]<>,;|\\]+")
_MARKS = ".,:;!?#$€£%&*=+~/_"
_PLAIN, _MARK = "[^0-9@]", "[^0-9@A-Za-z_-]"
"""What may stand in a free text beside facts, and what may stand next to one: nothing that would make another of it."""


def values(kind: str, sources: Sequence[Source]) -> dict[str, str]:
    """The values of a kind that occur in the sources, in order, each with where it was seen first."""
    find = _finder(kind)
    found: dict[str, str] = {}
    for where, text in sources:
        for value in find(text):
            found.setdefault(value, where)
    return found


def narrow(schema: Mapping[str, Any], sources: Sequence[Source]) -> dict[str, Any] | None:
    """The schema of arguments with every ``x-seen`` made a choice. Without a value an optional parameter is left out;
    None: a required one has no value, so the tool cannot be called yet."""
    required = schema.get("required", ())
    kept: dict[str, Any] = {}
    for name, inner in (schema.get("properties") or {}).items():
        closed = _closed(inner, sources)
        if closed is not None:
            kept[name] = closed
        elif name in required:
            return None
    return {**schema, "properties": kept}


def unseen(schema: Mapping[str, Any], arguments: Mapping[str, Any], sources: Sequence[Source]) -> str:
    """The first argument that names what was never seen, as a sentence with a remedy; nothing where there is none."""
    for name, inner in (schema.get("properties") or {}).items():
        items = inner.get("items") if isinstance(inner, Mapping) else None
        kind = _kind(inner) or (_kind(items) if isinstance(items, Mapping) else "")
        if not kind or name not in arguments:
            continue
        known = values(kind, sources)
        given = arguments[name]
        for value in given if isinstance(given, list) else [given]:
            if _spell(value) not in known:
                return (
                    f"{name} {value!r} was never seen: take one that was "
                    f"({', '.join(list(known)[-5:]) or 'there is none yet'}), or look it up first."
                )
    return ""


def facts(sources: Sequence[Source]) -> list[str]:
    """The words that hold a digit or an @ and occur in the sources, in order, each once; an amount with its two
    decimals too."""
    found: dict[str, None] = {}
    for _, text in sources:
        for hit in _WORD.findall(text):
            word = hit.strip(_MARKS).lstrip("-") if re.search(r"[\d@]", hit) else ""
            amount = f"{float(word):.2f}" if re.fullmatch(r"\d{1,12}\.\d+", word) else word
            found |= {word: None, amount: None} if word else {}
    return list(found)


def copied(schema: Mapping[str, Any], sources: Sequence[Source]) -> dict[str, Any]:
    """The schema in which a free text spells no number, id or address but those that were seen; other words are
    free."""
    seen = "|".join(re.escape(word) for word in facts(sources)[-MOST:])
    whole = f"(?:{_PLAIN}*{_MARK})?"
    pattern = f"^{whole}(?:(?:{seen}){_MARK}{whole})*(?:{seen}|{_PLAIN}*)$" if seen else f"^{_PLAIN}*$"

    def held(inner: Any) -> Any:
        if not isinstance(inner, Mapping):
            return inner
        if inner.get("type") == "array" and "items" in inner:
            return {**inner, "items": held(inner["items"])}
        if inner.get("type") != "string" or {"enum", "const", "pattern", "format"} & set(inner):
            return inner
        return {
            **{key: value for key, value in inner.items() if key not in ("minLength", "maxLength")},
            "pattern": pattern,
        }

    return {**schema, "properties": {name: held(inner) for name, inner in (schema.get("properties") or {}).items()}}


def _kind(schema: Any) -> str:
    return str(schema.get(SEEN, "")) if isinstance(schema, Mapping) else ""


def _closed(schema: Any, sources: Sequence[Source]) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    items = schema.get("items")
    if isinstance(items, Mapping) and _kind(items):
        closed = _closed(items, sources)
        return None if closed is None else {**schema, "items": closed, "minItems": schema.get("minItems", 1)}
    kind = _kind(schema)
    if not kind:
        return schema
    found = [_read(value, schema.get("type")) for value in list(values(kind, sources))[-MOST:]]
    allowed = [value for value in found if value is not None and ("enum" not in schema or value in schema["enum"])]
    return {"enum": allowed} if allowed else None


def _finder(kind: str) -> Callable[[str], Iterator[str]]:
    source = slashed(kind) or PATTERNS.get(kind, "")
    if source:
        pattern = compile_pattern(source)
        return lambda text: (
            next((part for part in hit.groups() if part), hit.group()) for hit in pattern.finditer(text)
        )
    return lambda text: _fields(kind, text)


def _fields(name: str, text: str) -> Iterator[str]:
    """The values of a field of that name, or of a list named so in the plural, anywhere in a JSON text."""
    try:
        waiting = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            for key, value in node.items():
                listed = value if isinstance(value, list) and key == f"{name}s" else [value] if key == name else ()
                yield from (_spell(one) for one in listed if isinstance(one, str | int | float))
                waiting.append(value)


def _spell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read(value: str, kind: Any) -> Any:
    """A value that was seen as the type of the parameter; None: it is none of that type."""
    if kind not in ("integer", "number"):
        return value
    if not re.fullmatch(r"-?\d{1,15}(?:\.\d{1,15})?" if kind == "number" else r"-?\d{1,15}", value):
        return None
    return int(value) if "." not in value else float(value)
