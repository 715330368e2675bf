"""Keeps services at work: begun in order, begun again when they end (ever later where they keep failing), restarted
without a gap, ended in the opposite order."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rung.core.errors import RungError
from rung.core.parts.problem import nearest
from rung.serving.http.process.server import address
from rung.serving.http.process.worker import PARENT, READY
from rung.serving.work.services.control import Command, ControlSocket
from rung.serving.work.services.spec import SOLE, ServiceSpec, ServicesSpec

SETTLED = 1.0
CALM = 30.0
"""Seconds after which a process that ends has not failed at its start."""
LONGEST = 30.0
"""Seconds between two tries at most."""
TICK = 0.05

State = Literal["starting", "ready", "waits", "failed", "ended"]


@dataclass
class ServiceProcess:
    """One process of a service: at work, or waiting to be begun ``at`` a time."""

    service: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    pipe: int = -1
    state: State = "starting"
    since: float = field(default_factory=time.monotonic)
    at: float = 0.0
    failures: int = 0
    restarts: int = 0
    last: int | None = None

    @property
    def title(self) -> str:
        return f"{self.service}.{self.number}"

    def row(self) -> dict[str, Any]:
        """What is told of it."""
        pid = self.process.pid if self.process is not None else None
        seconds = round(time.monotonic() - self.since, 1)
        return {
            "name": self.title,
            "state": self.state,
            "pid": pid,
            "seconds": seconds,
            "restarts": self.restarts,
            "exit": self.last,
        }


@dataclass
class ServiceSupervisor:
    """``folder``: where the services' file lies, and they work; ``logs``: what each says, a file a process.
    ``program``: what the verbs are words of."""

    spec: ServicesSpec
    folder: Path
    logs: Path
    control: ControlSocket
    say: Callable[[str], None]
    program: Sequence[str] = (sys.executable, "-m", "rung")
    processes: dict[str, list[ServiceProcess]] = field(default_factory=dict)
    _sockets: dict[str, socket.socket] = field(default_factory=dict)
    _wanted: set[int] = field(default_factory=set)
    _stop: bool = False
    _busy: bool = False
    _beginning: str = ""

    def run(self, bind: Callable[[ServiceSpec], socket.socket]) -> None:
        """Until SIGTERM, SIGINT or ``stop``. ``bind`` makes the socket of a service that serves. Raises InputError for
        one that cannot be bound, RungError for a service that does not become ready at the start: then all have
        ended."""
        self.logs.mkdir(parents=True, exist_ok=True)
        signals = [signal.SIGTERM, signal.SIGINT]
        before = {one: signal.signal(one, lambda number, frame: self._wanted.add(number)) for one in signals}
        try:
            for name, one in self.spec.services.items():
                if one.verb == "serve":
                    self._sockets[name] = bind(one)
            for name in self.spec.order:
                self._beginning = name
                self.processes[name] = [ServiceProcess(name, at + 1) for at in range(self.spec.services[name].count)]
                for process in self.processes[name]:
                    self._begin(process)
                for process in self.processes[name]:
                    if not self._await(process):
                        if self._ending:
                            return
                        raise RungError(
                            f"{process.title} does not become ready{self._last_line(process)}",
                            remedy=f"see {self._log(process)}",
                            code="not-ready",
                        )
                self.say(f"{name} is ready" + (f" at {address(self._sockets[name])}" if name in self._sockets else ""))
            self._beginning = ""
            while not self._ending:
                self._turn()
                time.sleep(TICK)
        finally:
            self._stop = True  # nothing is begun again from here on
            for name in reversed(self.spec.order):
                self._end(self.processes.get(name, ()))
            for bound in self._sockets.values():
                bound.close()
            self.control.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def _ending(self) -> bool:
        return self._stop or bool(self._wanted)

    def _turn(self) -> None:
        """Look after everything once, but for a service that is only now begun; after nothing at the end."""
        if self._ending:
            return
        self.control.turn(self._answer)
        for process in self._all():
            one = self.spec.services[process.service]
            if process.state == "ended" or process.service == self._beginning:
                continue
            if process.process is None:
                if process.at and time.monotonic() >= process.at:
                    self._begin(process)
            elif process.process.poll() is not None:
                self._ended(process, one)
            elif process.state == "starting" and self._is_ready(process):
                process.state = "ready"

    def _all(self) -> Iterator[ServiceProcess]:
        for name in self.spec.order:
            yield from self.processes.get(name, ())

    def _begin(self, process: ServiceProcess) -> None:
        one = self.spec.services[process.service]
        bound = self._sockets.get(process.service)
        ready, told = os.pipe()
        environment = {**os.environ, **self.spec.env, **one.env, READY: str(told), PARENT: str(os.getpid())}
        command = [
            *self.program,
            *one.run,
            *(["--fd", str(bound.fileno())] if bound is not None else []),
        ]
        with self._log(process).open("ab") as log:
            process.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(told, bound.fileno()) if bound is not None else (told,),
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends them in order
                preexec_fn=_end_with_parent,
            )
        os.close(told)
        process.pipe, process.state, process.since, process.at = ready, "starting", time.monotonic(), 0.0

    def _is_ready(self, process: ServiceProcess) -> bool:
        one = self.spec.services[process.service]
        if not one.tells:
            return time.monotonic() - process.since >= SETTLED
        with selectors.DefaultSelector() as selector:
            selector.register(process.pipe, selectors.EVENT_READ)
            return bool(selector.select(0)) and os.read(process.pipe, 16) == b"ready\n"

    def _await(self, process: ServiceProcess) -> bool:
        """Whether a process becomes ready in its time; one that has ended well already was. The others are looked after
        meanwhile."""
        one = self.spec.services[process.service]
        deadline = time.monotonic() + one.start
        while time.monotonic() < deadline and not self._ending:
            assert process.process is not None
            if self._is_ready(process):
                process.state = "ready"
                return True
            if process.process.poll() is not None:
                return process.process.returncode == 0 and one.every is not None
            self._turn()
            time.sleep(TICK)
        return False

    def _ended(self, process: ServiceProcess, one: ServiceSpec) -> None:
        """A process has ended by itself: when to begin it again."""
        assert process.process is not None
        process.last, lived = process.process.returncode, time.monotonic() - process.since
        self._bury(process)
        process.since = time.monotonic()
        if one.every is not None and process.last == 0:
            process.state, process.at, process.failures = "waits", time.monotonic() + one.every, 0
            return
        process.failures = 0 if lived > CALM else process.failures + 1
        wait = min(LONGEST, 0.1 * 2**process.failures)
        process.state, process.at = "failed", time.monotonic() + wait
        process.restarts += 1
        self.say(
            f"{process.title} ended with {process.last} after {lived:.0f} s, and is begun again in {wait:.1f} s{self._last_line(process)}"
        )

    def _answer(self, command: Command) -> Mapping[str, Any]:
        """What a command that came over the socket gets."""
        if command.get("do") == "stop":
            self._stop = True
        elif command.get("do") == "restart":
            name = str(command.get("service", ""))
            if self._busy:
                return {"error": "another restart is going on", "remedy": "wait for it"}
            if name not in self.processes:
                return {"error": f"there is no service {name!r}", "remedy": nearest(name, self.processes)}
            self._busy = True
            try:
                failed = [one.title for one in list(self.processes[name]) if not self._restart(one)]
            finally:
                self._busy = False
            if failed:
                stays = "it is tried again" if self._sole(name) else "the old one stays"
                return {"error": f"{failed[0]} did not become ready: {stays}", "remedy": f"see {self.logs}"}
        return {"services": [process.row() for process in self._all()]}

    def _restart(self, old: ServiceProcess) -> bool:
        """A new process, ready before the old one is told to go (but where two must not be at work). Whether it became
        ready."""
        row = self.processes[old.service]
        new = ServiceProcess(old.service, old.number, restarts=old.restarts + 1)
        if self._sole(old.service):
            self._end([old])
        self._begin(new)
        if not self._await(new):
            self._end([new])
            if self._sole(old.service):
                row[row.index(old)] = new
                new.state, new.at, new.failures = "failed", time.monotonic() + 1.0, 1
            return False
        row[row.index(old)] = new
        self._end([old])
        return True

    def _sole(self, service: str) -> bool:
        """Whether two of it must not be at work at once."""
        return self.spec.services[service].verb in SOLE

    def _end(self, processes: Sequence[ServiceProcess]) -> None:
        """Tell processes to go, and wait, looking after the others meanwhile; those that do not go are killed."""
        for one in processes:
            one.state = "ended"
            if one.process is not None and one.process.poll() is None:
                one.process.terminate()
        for one in processes:
            if one.process is None:
                continue
            deadline = time.monotonic() + self.spec.services[one.service].grace
            while one.process.poll() is None and time.monotonic() < deadline:
                self._turn()
                time.sleep(TICK)
            if one.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()
            self._bury(one)

    def _bury(self, process: ServiceProcess) -> None:
        if process.pipe >= 0:
            os.close(process.pipe)
        process.process, process.pipe = None, -1

    def _log(self, process: ServiceProcess) -> Path:
        return self.logs / f"{process.title}.log"

    def _last_line(self, process: ServiceProcess) -> str:
        """What a process said last."""
        with suppress(OSError), self._log(process).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            told = next((line for line in reversed(lines) if line.startswith("rung: ")), lines[-1] if lines else "")
            return f": {told.removeprefix('rung: ')[:300]}" if told else ""
        return ""


def _end_with_parent() -> None:
    """In the new process: end when the one that began it ends, however it ends (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
