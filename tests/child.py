"""Python processes that tests talk to and kill, as ``subprocess.Popen([sys.executable, "-c", CODE, ...])`` makes them, but
forked off one that has imported what they need: a new interpreter takes 0.5 to 4 s of CPU for that."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import ModuleType, TracebackType
from typing import Self

from rung.cli.main import main

RUNG = "from rung.cli.main import main; main()"
"""The code of ``rung`` as it is typed; its words are the arguments."""

IMPORTED = ("numpy", "sqlalchemy.dialects.sqlite", "rung.cli.main", "rung.store")
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(list(IMPORTED))


@contextmanager
def imported(*modules: str) -> Iterator[None]:
    """Children that are begun inside have these modules too."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    FORK.set_forkserver_preload([*IMPORTED, *modules])
    try:
        yield
    finally:
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
        FORK.set_forkserver_preload(list(IMPORTED))


def command(*words: str) -> None:
    """``rung WORDS``, for what starts processes by itself and wants them to return."""
    sys.argv = ["rung", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


class Child:
    """A process that runs ``code`` with ``arguments``; its streams and its end are as Popen's."""

    def __init__(
        self,
        code: str,
        *arguments: str,
        folder: Path | None = None,
        **environment: str,
    ) -> None:
        (out, theirs), (err, errors) = os.pipe(), os.pipe()
        self.stdout, self.stderr = (os.fdopen(end, encoding="utf-8", errors="backslashreplace") for end in (out, err))
        ends = [Connection(end, readable=False) for end in (theirs, errors)]
        given = (code, arguments, folder or Path.cwd(), {**os.environ, **environment}, ends)
        self._process = FORK.Process(target=_run, args=given)
        self._process.start()
        self.pid = int(self._process.pid or 0)
        for end in ends:
            end.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self.communicate()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("child", timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote until its end. Raises TimeoutExpired."""
        said = ["", ""]

        def read(at: int) -> None:
            stream = (self.stdout, self.stderr)[at]
            if not stream.closed:
                with stream:
                    said[at] = stream.read()

        readers = [Thread(target=read, args=(at,), daemon=True) for at in (0, 1)]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            with suppress(ProcessLookupError):  # it has ended since: another process waits for it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    code: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    ends: Sequence[Connection],
) -> None:
    for number, end in enumerate(ends, 1):
        os.dup2(end.fileno(), number)
        end.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    sys.argv = ["rung", *arguments]
    module = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(code, "<child>", "exec"), module.__dict__)
