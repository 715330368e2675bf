"""API keys, kept only as SHA-256 hashes (keys are 256 random bits: a slow hash would add nothing)."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from rung.core.errors import InputError

VARIABLE = "RUNG_API_KEYS"


def new_key() -> tuple[str, str]:
    """A new key and the line to keep of it."""
    key = "rung-" + secrets.token_urlsafe(32)
    return key, hash_key(key)


def hash_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """The keys that may call. Empty: nobody is asked for one."""

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        self._hashes = tuple(hashes)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def __repr__(self) -> str:
        return f"<Keys {len(self._hashes)}>"

    def admit(self, key: str) -> bool:
        """Whether ``key`` is one of them; takes the same time whichever it is not."""
        given = hash_key(key)
        return sum(hmac.compare_digest(given, known) for known in self._hashes) > 0


def read_keys(path: Path | None = None) -> Keys:
    """Keys from ``path``, or from the file named in RUNG_API_KEYS, else none.

    A line is a SHA-256 in hex, then anything (whose key it is); empty lines and lines that begin with # are skipped.
    Raises InputError for a file that cannot be read, holds something else, or holds nothing.
    """
    if path is None:
        if not (named := os.environ.get(VARIABLE)):
            return Keys()
        path = Path(named)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read API keys: {error}", file=path, remedy="make one: rung serve --new-key --key-file FILE"
        ) from None
    hashes = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word = line.split()[0].lower()
        if not re.fullmatch("[0-9a-f]{64}", word):
            raise InputError(
                "expected the SHA-256 of a key, 64 hex digits (keys themselves are never kept)",
                file=path,
                line=number,
                remedy="make a key: rung serve --new-key --key-file FILE",
            )
        hashes.append(word)
    if not hashes:
        raise InputError("the file holds no keys", file=path, remedy="make one: rung serve --new-key --key-file FILE")
    return Keys(hashes)


def add_key(path: Path) -> str:
    """Make a key, append its hash to ``path`` (made readable for its owner only), and return the key: it is kept
    nowhere."""
    key, line = new_key()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", file=path, remedy="name another --key-file") from None
    return key
