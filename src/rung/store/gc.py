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

OF_A_RUN = (rungs, ratings)
"""Tables whose rows go with their run, which their column ``run`` names."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What ``gc`` removed (or would). ``fits`` are the payloads, so that the caller can remove the folders they name."""

    runs: tuple[str, ...]
    answers: int
    fits: tuple[str, ...]
    responses: int
    bytes: int


def sweep(database: StoreDatabase, before: float, dry: bool) -> Removed:
    """See ``Store.gc``."""
    driven = RunTable(database).driven()
    # Uses are noted to the day: a day of grace keeps everything that a kept run has used.
    unused = min([before, *(run.started for run in driven)]) - DAY
    old_runs = sa.and_(runs.c.started < before, runs.c.id.not_in([run.id for run in driven]))
    known = sa.select(programs.c.program).where(programs.c.used >= unused)
    old_answers = sa.and_(answers.c.created < unused, answers.c.program.not_in(known))
    old_fits, old_responses = fits.c.used < unused, responses.c.used < before

    def work(link: sa.Connection) -> Removed:
        gone = tuple(link.execute(sa.select(runs.c.id).where(old_runs).order_by(runs.c.id)).scalars())
        folders = tuple(link.execute(sa.select(fits.c.payload).where(old_fits).order_by(fits.c.key)).scalars())
        counts = [
            link.execute(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one()
            for table, condition in ((answers, old_answers), (responses, old_responses))
        ]
        if not dry:
            for table in OF_A_RUN:
                link.execute(sa.delete(table).where(table.c.run.in_(sa.select(runs.c.id).where(old_runs))))
            old = ((runs, old_runs), (answers, old_answers), (programs, programs.c.used < unused), (fits, old_fits))
            for table, condition in (*old, (responses, old_responses), (studies, studies.c.created < before)):
                link.execute(sa.delete(table).where(condition))
        return Removed(gone, counts[0], folders, counts[1], 0)

    if dry:
        return database.read(work)
    size = database.size()
    swept = database.write(work)
    database.truncate_log(vacuum=True)
    return replace(swept, bytes=max(0, size - database.size()))
