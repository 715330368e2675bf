"""Forgetting to the last byte: an item and every place in the store that holds its words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.people.decisions import decisions
from rung.store.people.memories import memories
from rung.store.people.served import served
from rung.store.people.signals import signals
from rung.store.trail.tables import blobs, episodes, events
from rung.store.trail.trail import chained, digest_of

GONE = "[forgotten]"
SHORT = 8
"""Characters below which words would be found in what has nothing to do with them."""
CACHES = ("answers", "responses")
"""Tables whose rows can be made again: one that holds the words goes."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was deleted or blacked out: items, events, and rows of other tables."""

    items: int
    events: int
    rows: int


def forget(database: StoreDatabase, user: str, ids: Sequence[str] | None = None) -> Erased:
    """Delete items of a user and black their words out wherever they stand: in the events they came from and in
    whatever was made of them. The chain of such an episode is made anew, its other events stay as they are. None: all
    items, and the user's episodes whole. Then the freed pages are written over (SQLite), so that the file does not hold
    the words either.

    Raises StoreError, and nothing is forgotten, where the store cannot be written.
    """

    def work(link: sa.Connection) -> Erased:
        mine = [memories.c.user == user]
        if ids is not None:
            mine.append(memories.c.id.in_(list(ids)))
        found = link.execute(sa.select(memories.c.id, memories.c.text, memories.c.quote).where(*mine)).all()
        words = sorted(
            {text for row in found for text in (row.text, row.quote) if len(text) >= SHORT}, key=len, reverse=True
        )
        link.execute(sa.delete(memories).where(memories.c.id.in_([row.id for row in found])))
        changed = _delete_episodes(link, user) if ids is None else 0
        changed += _black_out_events(link, words)
        return Erased(len(found), changed, _black_out_others(link, words))

    return database.erase(work, vacuum=True)


def forget_old(database: StoreDatabase, before: float) -> int:
    """Delete what was served before the time ``before`` (Unix seconds) with what was said of it, and what was moderated
    before and needs nobody any more: decisions that wait for a person, and rulings (which the next fit learns from),
    stay. In SQLite from the file's free pages too. How many requests and decisions."""
    old = served.c.created < before
    waiting = sa.or_(decisions.c.verdict == "review", decisions.c.appeal != "")

    def work(link: sa.Connection) -> int:
        link.execute(sa.delete(signals).where(signals.c.answer.in_(sa.select(served.c.id).where(old))))
        count = link.execute(sa.delete(served).where(old)).rowcount
        over = sa.and_(decisions.c.created < before, decisions.c.ruling == "", sa.not_(waiting))
        return count + link.execute(sa.delete(decisions).where(over)).rowcount

    return database.erase(work)


def forget_trace(database: StoreDatabase, id: str) -> int:
    """Delete a served request with what was said of it, or an episode; in SQLite from the file's free pages too. How
    many rows."""

    def work(link: sa.Connection) -> int:
        count = link.execute(sa.delete(served).where(served.c.id == id)).rowcount
        count += link.execute(sa.delete(signals).where(signals.c.answer == id)).rowcount
        return count + _delete(link, [id])

    return database.erase(work, vacuum=True)


def _delete_episodes(link: sa.Connection, user: str) -> int:
    """Delete the episodes that were begun for a user; how many events they had."""
    begun = link.execute(
        sa.select(events.c.episode, events.c.payload, events.c.blob).where(events.c.kind == "begun")
    ).all()
    large = {
        row.digest: row.payload
        for row in link.execute(sa.select(blobs).where(blobs.c.digest.in_([row.blob for row in begun if row.blob])))
    }
    mine = [
        row.episode for row in begun if json.loads(large.get(row.blob, row.payload) or "{}").get("user", "") == user
    ]
    return _delete(link, mine)


def _delete(link: sa.Connection, mine: Sequence[str]) -> int:
    """Delete episodes, and what only they hold; how many events they had."""
    held = [
        row[0] for row in link.execute(sa.select(events.c.blob).where(events.c.episode.in_(mine), events.c.blob != ""))
    ]
    count = link.execute(sa.delete(events).where(events.c.episode.in_(mine))).rowcount
    link.execute(sa.delete(episodes).where(episodes.c.id.in_(mine)))
    used = sa.select(events.c.blob).where(events.c.blob != "")
    link.execute(sa.delete(blobs).where(blobs.c.digest.in_(held), blobs.c.digest.not_in(used)))
    return count


def _spelled(words: Iterable[str]) -> list[str]:
    """The words as they may stand in JSON, also twice over."""
    out: list[str] = []
    for word in words:
        for ascii in (False, True):
            once = json.dumps(word, ensure_ascii=ascii)[1:-1]
            out += [word, once, json.dumps(once, ensure_ascii=ascii)[1:-1]]
    return sorted(set(out), key=len, reverse=True)


def _without(text: str, words: Sequence[str]) -> str:
    for word in words:
        text = text.replace(word, GONE)
    return text


def _holding(column: sa.ColumnElement[str], words: Sequence[str]) -> sa.ColumnElement[bool]:
    return sa.or_(*(column.contains(word, autoescape=True) for word in words))


def _black_out_events(link: sa.Connection, words: Sequence[str]) -> int:
    spelled = _spelled(words)
    if not spelled:
        return 0
    large = {
        row.digest: row.payload for row in link.execute(sa.select(blobs).where(_holding(blobs.c.payload, spelled)))
    }
    new = {old: _without(payload, spelled) for old, payload in large.items()}
    hit = sa.or_(_holding(events.c.payload, spelled), events.c.blob.in_(list(large)))
    touched = [row[0] for row in link.execute(sa.select(events.c.episode).where(hit).distinct())]
    for old, payload in new.items():
        link.execute(sa.delete(blobs).where(blobs.c.digest.in_([old, digest_of(payload)])))
        link.execute(sa.insert(blobs), {"digest": digest_of(payload), "payload": payload})
    count = 0
    for episode in touched:
        chain = ""
        for row in link.execute(sa.select(events).where(events.c.episode == episode).order_by(events.c.seq)).all():
            payload, blob = _without(row.payload, spelled), row.blob
            if blob in new:
                blob = digest_of(new[blob])
            count += (payload, blob) != (row.payload, row.blob)
            chain = chained(chain, row.seq, row.kind, blob or payload, row.at)
            link.execute(
                sa.update(events)
                .where(events.c.episode == episode, events.c.seq == row.seq)
                .values(payload=payload, blob=blob, chain=chain)
            )
    link.execute(sa.update(episodes).where(_holding(episodes.c.title, spelled)).values(title=GONE))
    return count


def _black_out_others(link: sa.Connection, words: Sequence[str]) -> int:
    """Caches lose the row, everything else the words."""
    spelled, count = _spelled(words), 0
    if not spelled:
        return 0
    for table in metadata.sorted_tables:
        if table.name in ("events", "blobs", "episodes", "memories"):
            continue
        for column in table.columns:
            if not isinstance(column.type, sa.Text) or column.primary_key:
                continue
            hit = _holding(column, spelled)
            if table.name in CACHES:
                count += link.execute(sa.delete(table).where(hit)).rowcount
                continue
            keys = list(table.primary_key.columns)
            for row in link.execute(sa.select(*keys, column.label("held")).where(hit)).all():
                same = sa.and_(*(key == value for key, value in zip(keys, row, strict=False)))
                link.execute(sa.update(table).where(same).values({column.name: _without(row.held, spelled)}))
                count += 1
    return count
