"""Drift of what is asked, watched while a server runs: an alarm in the log, and a job to retrain."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.errors import RungError
from rung.models import Pool
from rung.store import Store

if TYPE_CHECKING:
    from rung.alignment.audit.drift import Monitor

logger = logging.getLogger("rung.serving")

SETTLED = 5.0
"""Seconds after which no request of an earlier moment comes into the store any more."""


@dataclass
class DriftWatch:
    """Takes what was recorded in ``store``, oldest first, every ``seconds``, until an alarm: then ``job`` is written. A
    server that begins again takes all that is recorded again, so that its probability of a false alarm is that of one
    watch."""

    monitor: Monitor
    store: Store
    job: Path | None = None
    seconds: float = 60.0
    _seen: tuple[float, str] | None = field(default=None, init=False)

    @classmethod
    def open(cls, reference: Path, pool: Pool, store: Store, job: Path | None) -> DriftWatch:
        """Watch for drift from the texts in ``reference``. Raises InputError for too few."""
        from rung.alignment.audit.drift import Monitor
        from rung.safety.filter import read_texts

        return cls(Monitor(pool.embedder("static"), read_texts(reference)), store, job)

    async def keep(self) -> None:
        """Watch until an alarm, or until cancelled."""
        while True:
            try:
                if await asyncio.to_thread(self.look):
                    return
            except (RungError, OSError) as error:
                logger.error("drift cannot be watched: %s", error)
            await asyncio.sleep(self.seconds)

    def look(self) -> bool:
        """Take what is new; whether there was an alarm."""
        from rung.alignment.audit.drift import open_job
        from rung.alignment.people.feedback import read_served

        texts = []
        for row in self.store.served.all(after=self._seen):
            if row.created > time.time() - SETTLED:
                break
            self._seen = row.created, row.id
            texts += [one.messages[-1].content for one in read_served([row])]
        found = self.monitor.watch(texts)
        if not found.at:
            return False
        opened = self.job is not None and open_job(self.job, found)
        said = f"a job to retrain is open in {self.job}" if opened else "no job is opened"
        logger.error(
            "what is asked has drifted: alarm after %d requests, %.3g to 1; %s; such as %r",
            found.at, found.most, said, found.strangest[0][1][:100],
        )  # fmt: skip
        return True
