"""The thread that drives a scheduler."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from rung.models.engine.schedule import Device, Job
from rung.models.engine.schedule.scheduler import Scheduler


class Worker:
    """One thread that drives a scheduler. ``submit`` and ``cancel`` may be called from any thread.

    When it is idle it waits ``tick`` seconds after the first job, so that callers who start together are planned
    together.
    """

    def __init__(self, open_device: Callable[[], Device], *, tick: float = 0.002, tokens: int = 1024, rows: int = 64):
        self._open = open_device
        self._tick = tick
        self._limits = (tokens, rows)
        self._wake = threading.Condition()
        self._inbox: list[Job] = []
        self._cancelled: list[Job] = []
        self._closing = self._forgetting = False
        self.scheduler: Scheduler | None = None
        self._thread = threading.Thread(target=self._main, name="rung-engine", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """It takes no more jobs: closed, or its device failed."""
        return self._closing

    def idle(self) -> bool:
        """Nothing is being computed, and nothing waits to be."""
        with self._wake:
            return not self._inbox and (self.scheduler is None or not self.scheduler.busy)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs. Raises RuntimeError when it is closed."""
        with self._wake:
            if self._closing:
                raise RuntimeError("the engine is closed")
            self._inbox.extend(jobs)
            self._wake.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Drop jobs: their cache blocks are free before the next forward pass."""
        with self._wake:
            self._cancelled.extend(jobs)
            self._wake.notify()

    def forget(self) -> None:
        """Have the scheduler forget shared prefixes before it plans the next jobs."""
        with self._wake:
            self._forgetting = True

    def close(self) -> None:
        """Stop the thread and free the device; jobs still there finish with an error."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _main(self) -> None:
        scheduler: Scheduler | None = None
        failure: BaseException | None = None
        try:
            scheduler = self.scheduler = Scheduler(self._open(), tokens=self._limits[0], rows=self._limits[1])
            while self._turn(scheduler):
                if scheduler.busy:
                    scheduler.step()
        except BaseException as error:
            failure = error
        self.scheduler = None
        with self._wake:
            self._closing = True
            left = [*self._inbox, *(scheduler.drain() if scheduler is not None else ())]
            self._inbox = []
        for job in left:
            with contextlib.suppress(Exception):
                job.finish(failure or RuntimeError("the engine was closed"))

    def _turn(self, scheduler: Scheduler) -> bool:
        """Wait for work, then hand over what has arrived. False when the worker is to stop."""
        with self._wake:
            idle = not scheduler.busy
            while idle and not (self._inbox or self._closing):
                self._cancelled.clear()
                self._wake.wait()
            if self._closing:
                return False
        if idle:
            time.sleep(self._tick)
        with self._wake:
            jobs, self._inbox = self._inbox, []
            cancelled, self._cancelled = self._cancelled, []
            forgetting, self._forgetting = self._forgetting, False
            if jobs:  # before the lock is left: between the two, ``idle`` would be true
                scheduler.add(job for job in jobs if job not in cancelled)
        if forgetting:
            scheduler.forget()
        for job in cancelled:
            scheduler.cancel(job)
        return True
