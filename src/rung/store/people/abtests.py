"""A/B tests and the answers that were given in them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Column, Double, Index, Integer, Table, Text

from rung.store.engine.database import StoreDatabase, metadata
from rung.store.engine.values import json_text, plain

tests = Table(
    "splits",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", Text, nullable=False),
    Column("stopped", Text, nullable=False),
    Column("created", Double, nullable=False),
)
"""``spec`` is JSON; ``stopped`` says why all traffic goes to the first arm again (empty: it does not)."""

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
"""Answers by response id. ``split`` is the test's name, ``caller`` a hash, ``score`` what came back about it (0..1)."""


@dataclass(frozen=True, slots=True)
class StoredABTest:
    """An A/B test; ``spec`` is JSON text, ``stopped`` why it was rolled back (empty: it runs)."""

    name: str
    spec: str
    stopped: str
    created: float


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An answer given in an A/B test. ``counts``: it is the first of its caller's that was scored."""

    id: str
    split: str
    arm: str
    caller: str
    created: float
    score: float | None = None
    scored: float | None = None
    counts: bool = False


@dataclass(frozen=True, slots=True)
class ArmTally:
    """One arm so far: answers given, answers scored and their mean, callers that count in the test and the sum of their
    scores."""

    answers: int = 0
    scored: int = 0
    mean: float = 0.0
    callers: int = 0
    total: float = 0.0


class ABTestTable:
    """A/B tests by name."""

    table = tests

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database

    def put(self, name: str, spec: str) -> StoredABTest:
        """Begin an A/B test, unless there is one of that name. Returned as it is in the store."""
        values = {"name": plain(name), "spec": json_text(spec), "stopped": "", "created": time.time()}
        query = sa.select(*tests.columns).where(tests.c.name == plain(name))

        def add(link: sa.Connection) -> StoredABTest:
            link.execute(self._database.insert(tests).values(values).on_conflict_do_nothing())
            return StoredABTest(**link.execute(query).one()._mapping)

        return self._database.write(add)

    def get(self, name: str) -> StoredABTest | None:
        """The A/B test of that name."""
        return next((test for test in self.all() if test.name == plain(name)), None)

    def all(self) -> list[StoredABTest]:
        """Every A/B test, newest first."""
        query = sa.select(*tests.columns).order_by(tests.c.created.desc(), tests.c.name)
        return [StoredABTest(**row._mapping) for row in self._database.rows(query)]

    def stop(self, name: str, why: str) -> None:
        """Note why an A/B test was rolled back; the first reason stays. Empty takes it back."""
        statement = sa.update(tests).where(tests.c.name == plain(name)).values(stopped=plain(why))
        self._database.execute(statement.where(tests.c.stopped == "") if why else statement)

    def put_outcome(self, id: str, test: str, arm: str, caller: str) -> str:
        """Note that a response was given by an arm. Returns why its test was stopped, empty where it was not."""
        values = {"id": id, "split": plain(test), "arm": plain(arm), "caller": caller, "created": time.time()}
        query = sa.select(tests.c.stopped).where(tests.c.name == plain(test))

        def add(link: sa.Connection) -> str:
            link.execute(self._database.insert(outcomes).values(**values, counts=0).on_conflict_do_nothing())
            return link.execute(query).scalar_one_or_none() or ""

        return self._database.write(add)

    def score_outcome(self, test: str, id: str, score: float) -> StoredOutcome | None:
        """Note what came back about a response; a score that is there already stays. None: no such response in that
        test."""
        query = sa.select(*outcomes.columns).where(outcomes.c.id == plain(id), outcomes.c.split == plain(test))

        def update(link: sa.Connection) -> StoredOutcome | None:
            # Postgres: two answers of one caller must not both come first.
            row = link.execute(query.with_for_update()).first()
            if row is None:
                return None
            if row.score is None:
                self._database.exclude(link, row.split + row.caller)
                same = sa.and_(outcomes.c.split == row.split, outcomes.c.caller == row.caller, outcomes.c.counts == 1)
                first = link.execute(sa.select(outcomes.c.id).where(same).limit(1)).first() is None
                values = {"score": score, "scored": time.time(), "counts": int(first)}
                link.execute(sa.update(outcomes).where(outcomes.c.id == row.id).values(values))
                row = link.execute(query).one()
            outcome = StoredOutcome(**row._mapping)
            return replace(outcome, counts=bool(outcome.counts))

        return self._database.write(update)

    def tally(self, test: str) -> dict[str, ArmTally]:
        """What came back so far, by arm."""
        c = outcomes.c
        mean = sa.func.coalesce(sa.func.avg(c.score), 0.0)
        total = sa.func.coalesce(sa.func.sum(c.score * c.counts), 0.0)
        columns = (c.arm, sa.func.count(), sa.func.count(c.score), mean, sa.func.sum(c.counts), total)
        query = sa.select(*columns).where(c.split == plain(test)).group_by(c.arm).order_by(c.arm)
        return {
            arm: ArmTally(int(n), int(scored), float(mean), int(callers), float(total))
            for arm, n, scored, mean, callers, total in self._database.rows(query)
        }
