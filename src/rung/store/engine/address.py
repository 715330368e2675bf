"""Where a store is: its URL, read and shown, and the file it names."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from rung.core.errors import InputError

NAME = "RUNG_STORE=sqlite:///FILE"
"""What to type to name another store."""


def parse(text: str) -> URL:
    """The URL of a store, its file absolute. Raises InputError for one of no known kind."""
    remedy = "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE; type: RUNG_STORE=sqlite:///.rung/rung.db"
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise InputError(f"{text!r} is not a store URL", remedy=remedy) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise InputError(f"stores of kind {url.drivername!r} are not known", remedy=remedy)
    if not url.database or url.database == ":memory:" or url.host or url.query:
        raise InputError(f"store URL {url.render_as_string()!r} names no plain file", remedy=remedy)
    # Absolute from here on, so that a later change of folder does not move the store.
    return URL.create("sqlite", database=str(Path(url.database).expanduser().absolute()))


def shown(url: URL) -> str:
    """The URL as people type it; a password is hidden."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def make_private(path: Path) -> None:
    """Make the store's file, and its folder where that is new or rung's own, readable by their owner alone: answers and
    recorded requests lie in it. SQLite gives the files beside it the same rights. What is there already stays as it
    is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        if path.parent.name == ".rung":  # made by another verb, which keeps nothing private
            with suppress(OSError):
                path.parent.chmod(0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
