"""The tables. Migrations build them; a test holds the two equal."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint

metadata = MetaData()

_serial = BigInteger().with_variant(Integer, "sqlite")

answers = Table(
    "answers",
    metadata,
    # Rows arrive in id order, so payloads are appended; only the narrow unique index is hit at random places.
    Column("id", _serial, primary_key=True),
    Column("program", Text, nullable=False),
    Column("example", Text, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("created", Double, nullable=False),
    UniqueConstraint("program", "example", "repeat", name="answers_key"),
)
"""The journal: one row an answer, keyed by content. ``run`` is the run that first made it, ``created`` Unix seconds."""

programs = Table(
    "programs",
    metadata,
    Column("program", Text, primary_key=True),
    Column("used", Double, nullable=False),
)
"""When answers of a program were last asked for or recorded: what ``gc`` goes by."""

fits = Table(
    "fits",
    metadata,
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("used", Double, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("task", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("changed", Double, nullable=False),
    # The process that drives the run, so that a dead one can be told from a slow one (process.py).
    Column("host", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("born", Text, nullable=False),
)

rungs = Table(
    "rungs",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("changed", Double, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("key", Text, primary_key=True),
    Column("payload", Text, nullable=False),
    Column("hits", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("used", Double, nullable=False),
)
"""Exact-key cache of served responses."""

prompts = Table(
    "prompts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("root_hash", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""Versions of prompts, from 1. ``hash`` covers the root's content as it was then (``root_hash``), ``root`` is its name."""

ratings = Table(
    "ratings",
    metadata,
    Column("run", Text, primary_key=True),
    Column("rater", Text, primary_key=True),
    Column("example", Text, primary_key=True),
    Column("one", Text, primary_key=True),
    Column("other", Text, primary_key=True),
    Column("left", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
)
"""What people said of two rungs' answers to one example. ``left`` is the rung that stood on the left, ``verdict`` what was
pressed: left, right, tie or bad. ``seed`` is that of the order."""

splits = Table(
    "splits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("stopped", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""A/B tests. ``spec`` is JSON; ``stopped`` says why all traffic goes to the first arm again (empty: it does not)."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("split", Text, nullable=False),
    Column("arm", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("score", Double),
    Column("scored", Double),
    # A caller's answers are not independent of one another: only the first that was scored counts in the test.
    Column("counts", Integer, nullable=False),
    Index("outcomes_callers", "split", "caller"),
)
"""Answers given in an A/B test, by response id. ``caller`` is a hash, ``score`` what came back about it (0..1)."""

served = Table(
    "served",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("score", Double),
    Column("correction", Text),
    Column("changed", Double),
    Index("served_created", "created"),
)
"""Requests that were answered over HTTP with recording on, by response id. ``score`` (0..1) and ``correction`` are what came back
about the answer, ``changed`` when."""

looks = Table(
    "looks",
    metadata,
    Column("id", _serial, primary_key=True),
    Column("sketch", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("task_hash", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""Each time that results on a test split were made or read. ``sketch`` are some of its examples' hashes, by which splits that share
examples are told; ``what`` did it, for ``who``. It outlives its runs."""
