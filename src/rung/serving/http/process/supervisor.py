"""Several processes that serve one socket. It is bound once and inherited: connections wait in one queue, whoever takes
them.

SIGTERM and SIGINT end all, SIGHUP is passed on (a gateway's file is read again), SIGUSR2 restarts them one after
another: the new process is ready before the old one is told to go, so that no request is lost. A process that ends by
itself is started again.
"""

from __future__ import annotations

import logging
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rung.core.errors import RungError
from rung.serving.http.process.worker import PARENT, READY
from rung.serving.observe.metrics import FOLDER

logger = logging.getLogger("rung.serving")

START = 120.0
"""Seconds in which a process must be ready."""

CALM = 10.0
"""Seconds after which a process that ends has not failed at its start; sooner ones are started again ever later, up to
this."""


@dataclass
class ServerWorker:
    """A process at work. ``ready`` is the end of a pipe that it writes to; ``told``: it was told to go."""

    process: subprocess.Popen[bytes]
    ready: int
    since: float = field(default_factory=time.monotonic)
    told: bool = False


@dataclass
class Supervisor:
    """Keeps ``count`` processes of ``command`` at work on ``bound``. ``grace``: seconds that one may take to end."""

    command: Sequence[str]
    bound: socket.socket
    count: int
    grace: float
    say: Callable[[str], None]
    workers: list[ServerWorker] = field(default_factory=list)
    _wanted: set[int] = field(default_factory=set)
    _failed: int = 0

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises RungError when the first processes do not become ready."""
        folder = tempfile.mkdtemp(prefix="rung-metrics-")
        os.environ[FOLDER] = folder
        signals = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2]
        before = {one: signal.signal(one, self._note) for one in signals}
        try:
            self.workers = [self._start() for _ in range(self.count)]
            for worker in self.workers:
                if not self._await(worker):
                    raise RungError("a worker could not start", remedy="see its message above")
            self.say(f"{self.count} workers are ready; restart them one after another: kill -USR2 {os.getpid()}")
            while not self._wanted & {signal.SIGTERM, signal.SIGINT}:
                self._turn()
                time.sleep(0.05)
        finally:
            self._end(self.workers)
            for one, handler in before.items():
                signal.signal(one, handler)
            shutil.rmtree(folder, ignore_errors=True)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._wanted.add(number)

    def _turn(self) -> None:
        if signal.SIGHUP in self._wanted:
            self._wanted.discard(signal.SIGHUP)
            for worker in self.workers:
                worker.process.send_signal(signal.SIGHUP)
        if signal.SIGUSR2 in self._wanted:
            self._wanted.discard(signal.SIGUSR2)
            self._roll()
        for at, worker in enumerate(self.workers):
            if worker.process.poll() is not None and not worker.told:
                self._replace(at, worker)

    def _replace(self, at: int, worker: ServerWorker) -> None:
        """Start anew what ended by itself; one that keeps failing ever later."""
        self._bury(worker)
        lived = time.monotonic() - worker.since
        self._failed = 0 if lived > CALM else self._failed + 1
        logger.error("a worker ended with %s after %.0f s and is started again", worker.process.returncode, lived)
        if self._failed:
            time.sleep(min(CALM, 0.1 * 2**self._failed))
        self.workers[at] = self._start()

    def _roll(self) -> None:
        for at, old in enumerate(self.workers):
            new = self._start()
            if not self._await(new):
                logger.error("a new worker did not become ready; the old ones stay")
                self._end([new])
                return
            self.workers[at] = new
            self._end([old])
        self.say(f"{len(self.workers)} workers were restarted")

    def _start(self) -> ServerWorker:
        ready, told = os.pipe()
        environment = {**os.environ, READY: str(told), PARENT: str(os.getpid())}
        process = subprocess.Popen(
            [*self.command, "--fd", str(self.bound.fileno())],
            pass_fds=(self.bound.fileno(), told),
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which ends them in order
        )
        os.close(told)
        return ServerWorker(process, ready)

    def _await(self, worker: ServerWorker) -> bool:
        """Whether a process became ready."""
        with selectors.DefaultSelector() as selector:
            selector.register(worker.ready, selectors.EVENT_READ)
            deadline = time.monotonic() + START
            while time.monotonic() < deadline and not self._wanted & {signal.SIGTERM, signal.SIGINT}:
                if selector.select(0.2):
                    return os.read(worker.ready, 16) == b"ready\n"
                if worker.process.poll() is not None:
                    return False
        return False

    def _end(self, workers: Sequence[ServerWorker]) -> None:
        for worker in workers:
            worker.told = True
            if worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + self.grace + 5
        for worker in workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._bury(worker)

    def _bury(self, worker: ServerWorker) -> None:
        if worker.ready >= 0:
            os.close(worker.ready)
            worker.ready = -1
        from prometheus_client import multiprocess

        if Path(os.environ.get(FOLDER, "")).is_dir():
            multiprocess.mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]


def command_again(arguments: Sequence[str]) -> list[str]:
    """This program with the same arguments, for one worker."""
    return [sys.executable, "-m", "rung", *arguments, "--workers", "1"]
