"""The log: lines for people, or one JSON object a line. Neither holds what was asked or answered."""

from __future__ import annotations

import json
import logging
import sys
import time

from rung.core.errors import InputError

FORMS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, and the facts of a request."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        line = {"time": at, "level": record.levelname.lower(), "logger": record.name}
        facts = getattr(record, "facts", None)
        line |= facts if facts is not None else {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_log(form: str) -> None:
    """Write the log to standard error. Raises InputError for another form than text and json."""
    if form not in FORMS:
        raise InputError(f"got --log {form!r}, expected {' or '.join(FORMS)}", remedy="leave it out")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for quiet in ("uvicorn", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
