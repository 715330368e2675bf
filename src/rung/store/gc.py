"""Forgetting: what goes with an old run, and what nothing has used for long."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sqlalchemy as sa

from rung.store.engine.database import StoreDatabase
from rung.store.people.ratings import ratings
from rung.store.tables.answers import DAY, answers, programs
from rung.store.tables.caches import fits, responses
from rung.store.tables.runs import RunTable, rungs, runs
from rung.store.tables.studies import studies
from rung.store.trail.tables import blobs, effects, episodes, events

OF_A_RUN = (rungs, ratings)
"""Tables whose rows go with their run, which their column ``run`` names."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``gc`` removed (or would). ``fits`` are the payloads, so that the caller can remove the folders they
    name."""

    runs: tuple[str, ...]
    answers: int
    fits: tuple[str, ...]
    responses: int
    bytes: int
    episodes: int = 0


def sweep(database: StoreDatabase, before: float, dry: bool) -> Removed:
    """See ``Store.gc``."""
    driven = RunTable(database).driven()
    # Uses are noted to the day: a day of grace keeps everything that a kept run has used.
    unused = min([before, *(run.started for run in driven)]) - DAY
    old_runs = sa.and_(runs.c.started < before, runs.c.id.not_in([run.id for run in driven]))
    known = sa.select(programs.c.program).where(programs.c.used >= unused)
    old_answers = sa.and_(answers.c.created < unused, answers.c.program.not_in(known))
    old_fits, old_responses = fits.c.used < unused, responses.c.used < before
    # What an agent has learned stays for as long as the agent is used.
    used = sa.select(episodes.c.scope).where(episodes.c.started >= unused)
    old_episodes = sa.and_(episodes.c.started < unused, episodes.c.scope.not_in(used))

    def work(link: sa.Connection) -> Removed:
        gone = tuple(link.execute(sa.select(runs.c.id).where(old_runs).order_by(runs.c.id)).scalars())
        folders = tuple(link.execute(sa.select(fits.c.payload).where(old_fits).order_by(fits.c.key)).scalars())
        counts = [
            link.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one()
            for table, condition in ((answers, old_answers), (responses, old_responses), (episodes, old_episodes))
        ]
        if not dry:
            for table in OF_A_RUN:
                link.execute(sa.delete(table).where(table.c.run.in_(sa.select(runs.c.id).where(old_runs))))
            gone_episodes = sa.select(episodes.c.id).where(old_episodes)
            link.execute(sa.delete(events).where(events.c.episode.in_(gone_episodes)))
            link.execute(sa.delete(episodes).where(old_episodes))
            link.execute(sa.delete(effects).where(effects.c.at < unused))
            link.execute(sa.delete(blobs).where(blobs.c.digest.not_in(sa.select(events.c.blob))))
            old = ((runs, old_runs), (answers, old_answers), (programs, programs.c.used < unused), (fits, old_fits))
            for table, condition in (*old, (responses, old_responses), (studies, studies.c.created < before)):
                link.execute(sa.delete(table).where(condition))
        return Removed(gone, counts[0], folders, counts[1], 0, counts[2])

    if dry:
        return database.read(work)
    size = database.size()
    swept = database.write(work)
    database.truncate_log(vacuum=True)
    return replace(swept, bytes=max(0, size - database.size()))
