"""Migrations: to change the schema, edit the table in its file and add one file ``versions/NNNN_what.py``; nothing
else.

They are linear and go forward only: ``revision`` is the file's four digits, ``down_revision`` the digits before it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

VERSION_TABLE = "rung_schema"
"""Not Alembic's default name: another program may keep its own history in the same Postgres database."""

BEFORE = "rung_version"
"""The table of stores from before the first release: they are refused."""

_FOLDER = Path(__file__).parent

# Alembic keeps its context in module globals, so two threads of one process must take turns.
_turn = Lock()


@cache
def revisions() -> tuple[str, ...]:
    """The known revisions, oldest first, read off the file names: opening an up-to-date store never imports Alembic."""
    return tuple(sorted(path.name[:4] for path in (_FOLDER / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")))


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision inside the transaction that is open on ``connection``."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _turn:
        command.upgrade(config, "head")
