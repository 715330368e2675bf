"""Text and JSON as every database takes them."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(value: str) -> str:
    """Text that every database takes: no NUL, no half of a surrogate pair."""
    return _SURROGATE.sub("\ufffd", value).replace("\0", "\ufffd")


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
