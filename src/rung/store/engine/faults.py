"""Errors of the databases as ours: which may pass, and what each means to a person."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import cast

from sqlalchemy import exc
from sqlalchemy.engine import URL

from rung.core.errors import StoreError
from rung.core.system.files import FULL
from rung.store.engine.address import NAME, shown
from rung.store.engine.cipher import is_plain, read_key

BROKEN = (exc.SQLAlchemyError, sqlite3.Error, OSError)
"""What a database that cannot be used raises."""


def passing(error: BaseException) -> bool:
    """Whether trying again may help: a lock, or a connection that was cut (inserts are idempotent, so this is safe)."""
    return _locked(error) or bool(getattr(error, "connection_invalidated", False))


def explain(error: BaseException, url: URL, patience: float) -> StoreError:
    """The error of the database at ``url`` as one of ours."""
    place, file = shown(url), url.database
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    state = getattr(cause, "sqlstate", None)
    reason = str(cause).strip().partition("\n")[0]
    if _locked(error):
        return StoreError(
            f"{place} stayed locked by another process for {patience:g} s",
            remedy="see who uses it (rung runs), wait for it or stop it, then type the same command again",
        )
    if primary == sqlite3.SQLITE_FULL or state == "53100" or _cramped(cause, primary, url):
        return StoreError(
            f"the disk is full: nothing of the last write was kept in {place}, all before it is safe",
            remedy="free some space on that disk, then type the same command again",
        )
    if primary == sqlite3.SQLITE_NOTADB and file:
        return _locked_away(Path(file), reason)
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(
            f"{file} is damaged or is not a rung store ({reason})",
            remedy=f"restore it from a copy, or start anew: mv {file} {file}.damaged",
        )
    if primary == sqlite3.SQLITE_READONLY or state in ("25006", "42501") or isinstance(cause, PermissionError):
        return StoreError(f"no permission to write to {place} ({reason})", remedy=f"name a store elsewhere: {NAME}")
    if primary == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"the disk of {place} failed ({reason}): nothing of the last write was kept, all before it is safe",
            remedy="see that files there may grow (a quota, ulimit -f) and that the disk works, then go on",
        )
    if primary == sqlite3.SQLITE_CANTOPEN or isinstance(cause, OSError):
        return StoreError(
            f"cannot open {place} ({reason}): expected a file in a folder that can be written to",
            remedy=f"name a store elsewhere: {NAME}",
        )
    if isinstance(error, exc.OperationalError) and url.get_backend_name() != "sqlite":
        return StoreError(
            f"cannot reach {place}: {reason}", remedy="start the server, or correct the URL in the setting 'store'"
        )
    return StoreError(f"{place}: {type(cause).__name__}: {reason}")


def _locked_away(file: Path, reason: str) -> StoreError:
    """The error of a file that is no database under the key that is set: another key, or none, or it is damaged."""
    anew = f"restore it from a copy, or start anew: mv {file} {file}.damaged"
    if read_key() and is_plain(file):
        said, remedy = "is not encrypted, and RUNG_STORE_KEY is set", "type: rung store encrypt; or unset the key"
    elif read_key():
        said, remedy = "is encrypted with another key, or damaged", f"set its key: RUNG_STORE_KEY=...; or {anew}"
    else:
        said = f"is damaged or is not a rung store ({reason}), or it is encrypted"
        remedy = f"set its key: RUNG_STORE_KEY=...; or {anew}"
    return StoreError(f"{file} {said}", remedy=remedy, code="encrypted")


def _locked(error: BaseException) -> bool:
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(cause, "sqlstate", None) in ("55P03", "40P01", "40001") or isinstance(error, exc.TimeoutError)


def _cramped(cause: BaseException, primary: int | None, url: URL) -> bool:
    """Whether an I/O error came of a full disk: SQLite cannot always tell (its shared-memory file, say)."""
    if isinstance(cause, OSError) and cause.errno in FULL:
        return True
    if primary not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return False
    folder = Path(cast(str, url.database)).parent
    return folder.exists() and shutil.disk_usage(folder).free < 64 * 1024
