"""Text and JSON as every database takes them; an id as a person types it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from rung.core.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(value: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return _SURROGATE.sub("\ufffd", value).replace("\0", "\ufffd")


class Named(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


def pick(found: Sequence[N], wanted: str, many: str) -> N | None:
    """Of ``found``, whose ids begin with ``wanted``, the one that is meant; None where there is none. Raises InputError
    for several; ``many`` is what they are called."""
    exact = [one for one in found if one.id == wanted]
    if exact or len(found) == 1:
        return (exact or found)[0]
    if found:
        some = ", ".join(one.id for one in found[:5]) + (", ..." if len(found) > 5 else "")
        raise InputError(f"{wanted!r} begins the ids of several {many}: {some}", remedy="type more of the id")
    return None


def json_text(text: str) -> str:
    """JSON text that every database takes: half surrogate pairs, legal in JSON only as escapes, are escaped.

    Raises ValueError for a raw NUL, which is not JSON."""
    if "\0" in text:
        raise ValueError("a payload is JSON text and cannot hold a raw NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text
