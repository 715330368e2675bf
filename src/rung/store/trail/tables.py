"""The tables of episodes."""

from __future__ import annotations

from sqlalchemy import Column, Double, Index, Integer, Table, Text, UniqueConstraint, text

from rung.store.engine.database import metadata, serial

episodes = Table(
    "episodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("parent", Text, nullable=False),
    Column("started", Double, nullable=False),
    # The process that drives the episode, as in runs.
    Column("host", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", Text, nullable=False),
    Index("episodes_scope", "scope"),
    Index("episodes_started", "started"),
)
"""``scope`` is the agent over all its episodes, ``parent`` the episode that began this one."""

events = Table(
    "events",
    metadata,
    Column("episode", Text, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("blob", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("chain", Text, nullable=False),
    Index("events_learned", "episode", sqlite_where=text("kind = 'learned'")),
    sqlite_with_rowid=False,
)
"""The key is the fence: a number is given once. ``payload`` is JSON; where it is large, it lies in ``blobs`` under the
digest ``blob``. ``chain`` is a hash over this event and the chain of the one before."""

effects = Table(
    "effects",
    metadata,
    Column("id", serial, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("result", Text, nullable=False),
    Column("at", Double, nullable=False),
)
"""What was done once, by the key of the call that asked for it."""

letters = Table(
    "letters",
    metadata,
    Column("id", serial, primary_key=True),
    Column("box", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("read", Double, nullable=False),
    # The process that works on it, empty where none does.
    Column("host", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", Text, nullable=False),
    UniqueConstraint("box", "key"),
    Index("letters_unread", "box", "read", "id"),
)
"""Letters between agents; ``read`` is when, 0 while nobody has. What is published lies in the box ``#TOPIC`` too."""

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("box", Text, primary_key=True),
)
"""Who gets what is published."""

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("payload", Text, nullable=False),
)
"""Large payloads by their content."""
