"""Letters in the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from rung.core.types.mail import Late, Letter
from rung.store.engine import process
from rung.store.engine.database import StoreDatabase
from rung.store.engine.process import Process
from rung.store.engine.values import plain
from rung.store.trail.tables import letters, subscriptions

_SHOWN = (letters.c.id, letters.c.box, letters.c.sender, letters.c.topic, letters.c.key, letters.c.text, letters.c.at)
_NOBODY: dict[str, Any] = {"host": "", "boot": "", "pid": 0, "born": ""}


class MailTable:
    """See ``core.types.mail.Mail``. A letter's number grows with every one that is sent."""

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def send(self, box: str, sender: str, key: str, text: str) -> bool:
        row = _row(box, sender, key, text, "")
        return self._database.write(lambda link: self._put(link, [row]) == 1)

    def _put(self, link: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
        """The number of rows that were new."""
        insert = self._database.insert(letters).on_conflict_do_nothing().returning(letters.c.id)
        return sum(link.execute(insert, row).first() is not None for row in rows)

    def publish(self, topic: str, sender: str, key: str, text: str) -> int:
        def work(link: sa.Connection) -> int:
            self._database.exclude(link, f"#{topic}")
            if not self._put(link, [_row(f"#{topic}", sender, key, text, topic)]):
                return 0
            boxes = link.execute(sa.select(subscriptions.c.box).where(subscriptions.c.topic == plain(topic)))
            return self._put(link, [_row(box, sender, key, text, topic) for (box,) in boxes.all()])

        return self._database.write(work)

    def subscribe(self, topic: str, box: str, late: Late = "none") -> int:
        insert = self._database.insert(subscriptions).on_conflict_do_nothing().returning(subscriptions.c.box)

        def work(link: sa.Connection) -> int:
            self._database.exclude(link, f"#{topic}")
            new = link.execute(insert, {"topic": plain(topic), "box": plain(box)}).first() is not None
            if not new or late == "none":
                return 0
            query = sa.select(*_SHOWN).where(letters.c.box == plain(f"#{topic}")).order_by(letters.c.id.desc())
            old = link.execute(query.limit(1) if late == "last" else query).all()
            return self._put(link, [_row(box, one.sender, one.key, one.text, topic) for one in reversed(old)])

        return self._database.write(work)

    def unread(self, box: str, limit: int = 100) -> list[Letter]:
        query = sa.select(*_SHOWN).where(letters.c.box == plain(box), letters.c.read == 0).order_by(letters.c.id)
        return [Letter(*row) for row in self._database.rows(query.limit(limit))]

    def take(self, box: str) -> Letter | None:
        free = sa.select(letters).where(letters.c.box == plain(box), letters.c.read == 0).order_by(letters.c.id)

        def work(link: sa.Connection) -> Letter | None:
            self._database.exclude(link, f"take {box}")
            for row in link.execute(free):
                if not row.host or process.died(Process(row.host, row.boot, row.pid, row.born)):
                    me = asdict(process.this())
                    link.execute(sa.update(letters).where(letters.c.id == row.id).values(**me))
                    return Letter(*row[: len(_SHOWN)])
            return None

        return self._database.write(work)

    def finish(self, letter: Letter, reply: str) -> bool:
        me = process.this()
        mine = (letters.c.id == letter.id, letters.c.read == 0, letters.c.pid == me.pid, letters.c.born == me.born)
        done = sa.update(letters).where(*mine).values(read=time.time())
        row = _row(letter.sender, letter.box, letter.key, reply, "")

        def work(link: sa.Connection) -> bool:
            return link.execute(done).rowcount == 1 and self._put(link, [row]) == 1

        return self._database.write(work)

    def withdraw(self, box: str, key: str) -> bool:
        one = (letters.c.box == plain(box), letters.c.key == plain(key), letters.c.read == 0)
        return self._database.execute(sa.update(letters).where(*one).values(read=time.time())) == 1

    def all(self, box: str, limit: int) -> list[tuple[Letter, bool, Process | None]]:
        """The newest letters of a box, newest first; whether each was read, and the process that holds it."""
        query = sa.select(letters).where(letters.c.box == plain(box)).order_by(letters.c.id.desc()).limit(limit)
        return [
            (
                Letter(*row[: len(_SHOWN)]),
                row.read > 0,
                Process(row.host, row.boot, row.pid, row.born) if row.host else None,
            )
            for row in self._database.rows(query)
        ]

    def boxes(self) -> list[tuple[str, int, int]]:
        """Every box, how many letters have come into it, and how many of them nobody has read."""
        unread = sa.func.sum(sa.case((letters.c.read == 0, 1), else_=0))
        query = sa.select(letters.c.box, sa.func.count(), unread).group_by(letters.c.box).order_by(letters.c.box)
        return [(box, count, int(left)) for box, count, left in self._database.rows(query)]


def _row(box: str, sender: str, key: str, text: str, topic: str) -> dict[str, Any]:
    said = {"box": box, "sender": sender, "topic": topic, "key": key, "text": text}
    return {**{name: plain(value) for name, value in said.items()}, "at": time.time(), "read": 0.0, **_NOBODY}
