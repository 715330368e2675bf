"""Whom served requests, kept answers and results are about: a keyed hash, by which all of somebody can be found and
deleted."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from rung.store.engine.database import StoreDatabase
from rung.store.engine.values import plain
from rung.store.gateway.results import results
from rung.store.people.decisions import decisions
from rung.store.people.served import served
from rung.store.people.signals import signals, withdraw
from rung.store.tables.caches import responses

_SCOPE = "subjects"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was (or would be) deleted: ids of served requests, numbers of kept answers, of results, of what was said
    of answers, and of what moderation decided about texts."""

    served: tuple[str, ...] = ()
    responses: int = 0
    results: int = 0
    signals: int = 0
    decisions: int = 0

    @property
    def total(self) -> int:
        return len(self.served) + self.responses + self.results + self.signals + self.decisions

    def __bool__(self) -> bool:
        return self.total > 0


class SubjectTable:
    """People by a hash that only this store can make: its secret was drawn when it was first asked for."""

    table = results

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._secret = b""

    def mark(self, subject: str) -> str:
        """What is kept of ``subject``: HMAC-SHA-256 under the store's secret."""
        if not self._secret:
            self._secret = self._database.write(self._draw)
        return hmac.new(self._secret, subject.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def forget(self, subject: str, *, dry: bool = False) -> Forgotten:
        """Delete all that is about ``subject``, in SQLite from the file's free pages too; with ``dry`` only count
        it."""
        mark = self.mark(subject)
        tables = (served, responses, results)

        def work(link: sa.Connection) -> Forgotten:
            ids = tuple(link.execute(sa.select(served.c.id).where(served.c.subject == mark)).scalars())
            counts = [
                link.execute(sa.select(sa.func.count()).select_from(table).where(table.c.subject == mark)).scalar_one()
                for table in tables
            ]
            names = [mark, plain(subject)]
            # What others said of the answers goes with them: it quotes them.
            said = sa.or_(signals.c.person.in_(names), signals.c.answer.in_(ids))
            heard = link.execute(sa.select(sa.func.count()).select_from(signals).where(said)).scalar_one()
            judged = decisions.c.person.in_(names)
            ruled = link.execute(sa.select(sa.func.count()).select_from(decisions).where(judged)).scalar_one()
            if not dry:
                withdraw(link, said)
                link.execute(sa.delete(decisions).where(judged))
            for table in tables if not dry else ():
                link.execute(sa.delete(table).where(table.c.subject == mark))
            return Forgotten(ids, counts[1], counts[2], heard, ruled)

        return self._database.read(work) if dry else self._database.erase(work, vacuum=True)

    def _draw(self, link: sa.Connection) -> bytes:
        place = sa.and_(results.c.scope == _SCOPE, results.c.key == "secret")
        values = {"scope": _SCOPE, "key": "secret", "payload": json.dumps(secrets.token_hex(32)), "failed": 0}
        new = self._database.insert(results).values(**values, subject="", created=0.0)
        link.execute(new.on_conflict_do_nothing())
        return bytes.fromhex(json.loads(link.execute(sa.select(results.c.payload).where(place)).scalar_one()))
