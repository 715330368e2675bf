"""The log: lines for people, or one JSON object a line. Neither holds what was asked or answered."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import sys
import time
from contextlib import nullcontext
from typing import TextIO

from rung.core.errors import InputError

FORMS = ("text", "json")


class TextFormatter(logging.Formatter):
    """Time and message. The time is written once a second."""

    _second, _written = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.at(record)} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def at(self, record: logging.LogRecord) -> str:
        """When it was (UTC), to the millisecond."""
        if (second := int(record.created)) != self._second:
            self._second, self._written = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._written}.{int(record.msecs):03d}Z"


class JsonFormatter(TextFormatter):
    """A record as one JSON object: time (UTC), level, logger, message, and the facts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.at(record), "level": record.levelname.lower(), "logger": record.name}
        facts = getattr(record, "facts", None)
        line |= facts if facts is not None else {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class BatchHandler(logging.StreamHandler[TextIO]):
    """Writes lines together, a tenth of a second after the first: a system call for each request costs as much as the
    rest of it. Warnings and errors, and what comes outside of an event loop, are written at once."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record) + self.terminator)
            if record.levelno < logging.WARNING:
                loop = asyncio.get_running_loop()
                if len(self._lines) == 1:
                    loop.call_later(0.1, self.write_out)
                if len(self._lines) < 1000:
                    return
        except RuntimeError:  # no event loop here
            pass
        self.write_out()

    def write_out(self) -> None:
        """Write what has been collected."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
        if lines:
            self.stream.write("".join(lines))
            self.stream.flush()

    def close(self) -> None:
        self.write_out()
        super().close()


def start_log(form: str) -> None:
    """Write the log to standard error. Raises InputError for another form than text and json."""
    if form not in FORMS:
        raise InputError(f"got --log {form!r}, expected {' or '.join(FORMS)}", remedy="leave it out")
    handler = BatchHandler(sys.stderr)
    atexit.register(handler.write_out)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # neither form has them
    for quiet in ("uvicorn", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
