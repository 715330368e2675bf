"""Episodes in the store: the trail that outlives the process, and what there is to be seen of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import sqlalchemy as sa

from rung.core.codec import canonical_of_plain
from rung.core.errors import InputError, StoreError
from rung.core.types.trail import Driver, Event, Fenced, Kind
from rung.store.engine import process
from rung.store.engine.database import StoreDatabase
from rung.store.engine.faults import BROKEN, explain
from rung.store.engine.process import Process
from rung.store.engine.values import json_text, pick, plain
from rung.store.people.memories import MemoryTable
from rung.store.trail.mail import MailTable
from rung.store.trail.tables import blobs, effects, episodes, events, letters

LARGE = 8192
"""Characters of a payload above which it lies in a table of its own."""

Durability = Literal["full", "normal"]
"""What an acknowledged event survives: "full" the loss of power too, "normal" the death of the process."""

State = Literal["running", "interrupted", "paused", "waiting", "ended"]


@dataclass(slots=True)
class _Row:
    kind: str
    payload: str
    blob: str
    large: str
    at: float


@dataclass(slots=True)
class _Append:
    """One caller's events on their way; ``refused`` is set by the transaction that found a number taken."""

    episode: str
    first: int
    rows: list[_Row]
    driver: Driver | None
    letters: tuple[int, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An episode as a list shows it. ``state`` is read off the last event and the process that drives it; ``steps`` are
    decisions, ``warned`` what the harness has said last."""

    id: str
    scope: str
    title: str
    parent: str
    started: float
    process: Process
    state: State
    steps: int
    changed: float
    last: Event | None = field(default=None, compare=False)
    warned: str = ""


class EpisodeTable:
    """Episodes, their events and effects."""

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self.mail = MailTable(database)
        self.memories = MemoryTable(database)
        self._appends = database.journal.channel("events", self._write)
        self._quick: sqlite3.Connection | None = None

    def trail(self, durability: Durability = "full") -> StoreTrail:
        """A trail in this store."""
        return StoreTrail(self, durability)

    def close(self) -> None:
        if self._quick is not None:
            self._quick.close()
            self._quick = None

    # ------------------------------------------------------------ the trail

    def read(self, episode: str, since: int = 0) -> list[Event]:
        """See ``Trail.read``."""
        query = sa.select(*events.c, blobs.c.payload.label("large")).outerjoin(blobs, blobs.c.digest == events.c.blob)
        query = query.where(events.c.episode == episode, events.c.seq >= since - 1).order_by(events.c.seq)
        found = self._database.rows(query)
        before, out = None, []
        for row in found:
            payload = row.large if row.blob else row.payload
            whole = payload is not None and (not row.blob or digest_of(payload) == row.blob)
            if before is None and row.seq > 0 and since > 0:
                before = row.chain  # taken as it is: what lies before was not asked for
                continue
            if not whole or row.chain != chained(before or "", row.seq, row.kind, row.blob or row.payload, row.at):
                raise StoreError(
                    f"event {row.seq} ({row.kind}) of episode {episode} is not as it was written",
                    remedy="restore the store from a copy; the events before it are sound",
                    code="tampered",
                )
            before = row.chain
            if row.seq >= since:
                out.append(Event(episode, row.seq, cast(Kind, row.kind), json.loads(payload), row.at))
        return out

    async def append(
        self, given: Sequence[Event], driver: Driver | None, durability: Durability, taken: Sequence[int] = ()
    ) -> None:
        """See ``Trail.append``."""
        if not given:
            return
        one = _Append(given[0].episode, given[0].seq, [_row(event) for event in given], driver, tuple(taken))
        if durability == "normal" and self._database.lite and not taken:
            self._write_quick(one)
        else:
            await self._appends.record([one])
        if one.refused:
            raise Fenced(f"episode {one.episode} has gone on elsewhere: it has an event {one.first} already")

    def learned(self, scope: str) -> list[Event]:
        """See ``Trail.learned``."""
        query = sa.select(events.c.episode, events.c.seq, events.c.kind, events.c.payload, events.c.at, blobs.c.payload)
        query = query.join(episodes, episodes.c.id == events.c.episode)
        query = query.outerjoin(blobs, blobs.c.digest == events.c.blob)
        query = query.where(episodes.c.scope == scope, events.c.kind == sa.literal_column("'learned'"))
        rows = self._database.rows(query.order_by(events.c.at, events.c.episode, events.c.seq))
        return [Event(row[0], row[1], row[2], json.loads(row[5] or row[3]), row[4]) for row in rows]

    def perform(self, key: str, result: str) -> str:
        """See ``Trail.perform``: durable when this returns."""
        query = sa.select(effects.c.result).where(effects.c.key == plain(key))
        statement = self._database.insert(effects).on_conflict_do_nothing()

        def work(link: sa.Connection) -> str:
            link.execute(statement, {"key": plain(key), "result": plain(result), "at": time.time()})
            return cast(str, link.execute(query).scalar_one())

        return self._database.write(work)

    def effects(self, prefix: str) -> list[tuple[str, str]]:
        """See ``Trail.effects``."""
        query = sa.select(effects.c.key, effects.c.result).where(
            effects.c.key.startswith(plain(prefix), autoescape=True)
        )
        return [(row[0], row[1]) for row in self._database.rows(query.order_by(effects.c.id))]

    # ------------------------------------------------------------ what there is

    def all(self, limit: int = 50) -> list[StoredEpisode]:
        """The newest episodes, newest first: in SQLite by the order in which they were begun, which the machine's clock
        may contradict where it was set back."""
        begun: sa.ColumnElement[Any] = (
            sa.literal_column("episodes.rowid") if self._database.lite else episodes.c.started
        )
        return self._list(sa.select(episodes).order_by(begun.desc(), episodes.c.id).limit(limit))

    def asking(self) -> list[str]:
        """The episodes that have asked something and have not ended."""
        ended = sa.select(events.c.episode).where(events.c.kind == "ended")
        query = sa.select(events.c.episode).where(events.c.kind == "asked", events.c.episode.not_in(ended)).distinct()
        return [row[0] for row in self._database.rows(query)]

    def find(self, name: str) -> StoredEpisode:
        """The episode with this id, or the only one whose id begins so, or the newest for ``last``. Raises
        InputError."""
        if name == "last":
            found = self.all(1)
        else:
            wanted = plain(name.lower())
            query = sa.select(episodes).where(episodes.c.id.startswith(wanted, autoescape=True)).limit(6)
            found = self._list(query) if wanted else []
        one = found[0] if name == "last" and found else pick(found, name.lower(), "episodes")
        if one is None:
            raise InputError(f"there is no episode {name!r}", remedy="list them: rung agent list", code="no-episode")
        return one

    def _list(self, query: sa.Select[Any]) -> list[StoredEpisode]:
        out = []
        for row in self._database.rows(query):
            mine = events.c.episode == row.id
            said = sa.select(sa.func.count()).where(mine, events.c.kind == "said").scalar_subquery()
            newest = sa.select(sa.func.max(events.c.seq)).where(mine)
            paused = sa.select(events.c.payload).where(mine, events.c.kind == "steered", sa.or_(*_PAUSES))
            paused = paused.order_by(events.c.seq.desc()).limit(1)
            ends = self._database.rows(
                sa.select(events.c.seq, events.c.kind, events.c.payload, events.c.at, said, paused.scalar_subquery())
                .where(
                    mine,
                    sa.or_(
                        events.c.kind == "warned",
                        events.c.seq == newest.scalar_subquery(),
                        events.c.seq == newest.where(events.c.kind.in_(_TURNS)).scalar_subquery(),
                    ),
                )
                .order_by(events.c.seq.desc())
                .limit(3)
            )
            last = Event(row.id, ends[0][0], ends[0][1], json.loads(ends[0][2] or "{}"), ends[0][3]) if ends else None
            warned = next((json.loads(end[2])["text"] for end in ends if end[1] == "warned"), "")
            asks = next((end[1] for end in ends if end[1] in _TURNS), "") == "asked"
            held = bool(ends) and json.loads(ends[0][5] or '{"do":""}')["do"] == "pause"
            who = Process(row.host, row.boot, row.pid, row.born)
            out.append(
                StoredEpisode(
                    row.id, row.scope, row.title, row.parent, row.started, who, _state(last, who, asks, held),
                    ends[0][4] if ends else 0, last.at if last else row.started, last, warned,
                )
            )  # fmt: skip
        return out

    # ------------------------------------------------------------ writing

    def _write(self, link: sa.Connection, given: list[_Append]) -> None:
        for one in sorted(given, key=lambda one: (one.episode, one.first)):
            self._database.exclude(link, one.episode)
            top = sa.select(events.c.seq, events.c.chain).where(events.c.episode == one.episode)
            last = link.execute(top.order_by(events.c.seq.desc()).limit(1)).first()
            rows, large = _numbered(one, last)
            if one.letters and not one.refused:
                here = (letters.c.id.in_(one.letters), letters.c.read == 0)
                count = sa.select(sa.func.count()).select_from(letters).where(*here)
                one.refused = link.execute(count).scalar_one() != len(one.letters)
                if not one.refused:
                    link.execute(sa.update(letters).where(*here).values(read=one.rows[0].at))
            if one.refused:
                continue
            if large:
                link.execute(self._database.insert(blobs).on_conflict_do_nothing(), large)
            link.execute(sa.insert(events), rows)
            if one.driver is not None:
                who = _driver(one)
                link.execute(self._database.upsert(episodes, ("host", "boot", "pid", "born")), who)

    def _write_quick(self, one: _Append) -> None:
        """SQLite alone, by a connection of its own that does not wait for the disk: for steps that take
        microseconds."""
        try:
            if self._quick is None:
                self._quick = sqlite3.connect(
                    cast(str, self._database.url.database), timeout=30, isolation_level=None, check_same_thread=False
                )
                self._quick.execute("PRAGMA synchronous=NORMAL")
            link = self._quick
            link.execute("BEGIN IMMEDIATE")
            try:
                last = link.execute(_LAST, (one.episode,)).fetchone()
                rows, large = _numbered(one, last)
                if not one.refused:
                    if large:
                        link.executemany(_BLOB, [tuple(row.values()) for row in large])
                    link.executemany(_EVENT, [tuple(row.values()) for row in rows])
                    if one.driver is not None:
                        link.execute(_EPISODE, _driver(one))
                link.execute("COMMIT")
            except BaseException:
                link.execute("ROLLBACK")
                raise
        except BROKEN as error:
            raise explain(error, self._database.url, 30) from error


_LAST = "SELECT seq, chain FROM events WHERE episode = ? ORDER BY seq DESC LIMIT 1"
_BLOB = "INSERT OR IGNORE INTO blobs (digest, payload) VALUES (?, ?)"
_EVENT = "INSERT INTO events (episode, seq, kind, payload, blob, at, chain) VALUES (?, ?, ?, ?, ?, ?, ?)"
_EPISODE = (
    "INSERT INTO episodes (id, scope, title, parent, started, host, boot, pid, born) "
    "VALUES (:id, :scope, :title, :parent, :started, :host, :boot, :pid, :born) ON CONFLICT (id) DO UPDATE "
    "SET host = excluded.host, boot = excluded.boot, pid = excluded.pid, born = excluded.born"
)


@dataclass(frozen=True, slots=True)
class StoreTrail:
    """A Trail over a store's episodes; acknowledged events survive as much as ``durability`` says."""

    table: EpisodeTable
    durability: Durability = "full"

    @property
    def memories(self) -> MemoryTable:
        return self.table.memories

    def read(self, episode: str, since: int = 0) -> list[Event]:
        return self.table.read(episode, since)

    @property
    def mail(self) -> MailTable:
        return self.table.mail

    async def append(self, events: Sequence[Event], driver: Driver | None = None, letters: Sequence[int] = ()) -> None:
        await self.table.append(events, driver, self.durability, letters)

    def learned(self, scope: str) -> list[Event]:
        return self.table.learned(scope)

    async def perform(self, key: str, result: str) -> str:
        return self.table.perform(key, result)

    def effects(self, prefix: str) -> list[tuple[str, str]]:
        return self.table.effects(prefix)


def _row(event: Event) -> _Row:
    text = json_text(canonical_of_plain(event.payload))
    if len(text) <= LARGE:
        return _Row(event.kind, text, "", "", event.at)
    return _Row(event.kind, "", digest_of(text), text, event.at)


def _numbered(one: _Append, last: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows to write, chained to the last one that is there; where the numbers do not follow it, ``refused`` is
    set."""
    top, chain = (last[0], last[1]) if last is not None else (-1, "")
    one.refused = top + 1 != one.first  # set anew: a transaction may be tried more than once
    if one.refused:
        return [], []
    rows = []
    for seq, row in enumerate(one.rows, one.first):
        chain = chained(chain, seq, row.kind, row.blob or row.payload, row.at)
        rows.append(
            {"episode": one.episode, "seq": seq, "kind": row.kind, "payload": row.payload, "blob": row.blob,
             "at": row.at, "chain": chain}
        )  # fmt: skip
    return rows, [{"digest": row.blob, "payload": row.large} for row in one.rows if row.blob]


def _driver(one: _Append) -> dict[str, Any]:
    assert one.driver is not None
    driver = one.driver
    about = {"id": one.episode, "scope": driver.scope, "title": plain(driver.title)[:500], "parent": driver.parent}
    return {**about, "started": one.rows[0].at, **asdict(process.this())}


def digest_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def chained(before: str, seq: int, kind: str, content: str, at: float) -> str:
    return hashlib.blake2b(f"{before}\n{seq}\n{kind}\n{at!r}\n{content}".encode(), digest_size=16).hexdigest()


_TURNS = ("said", "asked", "decided", "steered", "ended")
"""What decides whether an episode waits for a person: what calls beside a question give comes after it."""


_PAUSES = tuple(events.c.payload.contains(f'"do":"{do}"') for do in ("pause", "resume"))
"""Of a person's words, those that pause and go on; quotation marks in what is said are escaped."""


def _state(last: Event | None, who: Process, asks: bool, paused: bool) -> State:
    if last is not None and last.kind == "ended":
        return "ended"
    if paused:
        return "paused"
    if asks:
        return "waiting"
    decided = last is not None and last.kind == "decided"  # whoever asked has left
    return "interrupted" if decided or process.died(who) else "running"
