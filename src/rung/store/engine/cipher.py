"""An encrypted store: SQLCipher in the place of SQLite, under a key from the environment. Postgres and files beside the
store are not.

The key is 32 random bytes, written as 64 hexadecimal digits, in RUNG_STORE_KEY or in the file that RUNG_STORE_KEY_FILE
names. Whoever loses it has lost the store.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from types import ModuleType
from typing import Any

from rung.core.errors import InputError, StoreError
from rung.core.system.extras import require

VARIABLE = "RUNG_STORE_KEY"
FILE = "RUNG_STORE_KEY_FILE"

_HEADER = b"SQLite format 3\0"


def new_key() -> str:
    """A new key."""
    return secrets.token_hex(32)


def read_key() -> str:
    """The key that is set; empty: there is none. Raises InputError for what is no key, and never says what it was."""
    if key := os.environ.get(VARIABLE, "").strip():
        return _checked(key, VARIABLE)
    named = os.environ.get(FILE)
    return read_key_file(Path(named)) if named else ""


def read_key_file(path: Path) -> str:
    """The key in a file. Raises InputError."""
    try:
        return _checked(path.read_text(encoding="ascii").strip(), str(path))
    except (OSError, UnicodeDecodeError):
        raise InputError("cannot read the key", file=path, remedy="name a file of 64 hexadecimal digits") from None


def _checked(key: str, place: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", key):
        raise InputError(
            f"{place}: expected a key of 64 hexadecimal digits, got {len(key)} characters",
            remedy="make one: rung store key",
        )
    return key.lower()


def module() -> ModuleType:
    """SQLCipher as a DB-API module. Raises MissingExtra."""
    require("sqlcipher3", "encryption", "an encrypted store")
    return require("sqlcipher3.dbapi2", "encryption", "an encrypted store")


def unlock(link: Any, key: str) -> None:
    """Give a new connection its key; it is the first thing that it is told."""
    link.execute("PRAGMA cipher_log_level = NONE")
    link.execute(f"PRAGMA key = \"x'{key}'\"")


def is_plain(file: Path) -> bool | None:
    """Whether a file is a plain SQLite database; None: there is none, or it is empty."""
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_HEADER))
    except OSError:
        return None
    return head == _HEADER if head else None


def convert(file: Path, old: str, new: str) -> None:
    """Write the store in ``file`` anew under the key ``new`` in the place of ``old`` (empty: plain). Nobody else may
    use it meanwhile.

    Raises StoreError when it is in use or the key is wrong; the file is then as it was.
    """
    database: Any = module()
    aside = file.with_name(file.name + ".converting")
    aside.unlink(missing_ok=True)
    try:
        link = database.connect(str(file), timeout=2.0, isolation_level=None)
        try:
            if old:
                unlock(link, old)
            busy = link.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            mode = link.execute("PRAGMA journal_mode=DELETE").fetchone()[0]  # it stays while another connection is open
            if busy or mode != "delete":
                raise database.OperationalError("database is locked")
            link.execute("BEGIN EXCLUSIVE")
            link.execute("COMMIT")
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            link.execute("ATTACH DATABASE ? AS made KEY " + (f"\"x'{new}'\"" if new else "''"), (str(aside),))
            link.execute("SELECT sqlcipher_export('made')")
            link.execute("DETACH DATABASE made")
        finally:
            link.close()
        os.replace(aside, file)
    except database.Error as error:
        raise StoreError(
            f"{file} was left as it was: {_why(error)}",
            remedy="stop what uses it, and set the key that it has: RUNG_STORE_KEY=...",
            code="not-converted",
        ) from None
    finally:
        aside.unlink(missing_ok=True)


def _why(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return {26: "this is not its key", 5: "it is in use", 6: "it is in use"}.get(code, str(error))
