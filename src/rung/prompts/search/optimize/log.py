"""The log of a search."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rung.core.codec import canonical, digest
from rung.core.errors import ModelError
from rung.core.protocols import Model
from rung.core.system.files import atomic_write
from rung.core.types import Request


class Log:
    """Lines of JSON that survive a kill. A search that is run again writes the same lines: they are checked, not
    doubled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._old = read_lines(path)
        self._count = 0

    def add(self, record: Mapping[str, Any]) -> None:
        line = canonical(dict(record))
        if self._count < len(self._old) and self._old[self._count] == line:
            self._count += 1
            return
        lines = [*self._old[: self._count], line]
        with atomic_write(self.path) as staging:
            staging.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
        self._old, self._count = lines, len(lines)


def read_lines(path: Path) -> list[str]:
    """The whole lines of a log; one that was cut off by a kill is left out."""
    if not path.exists():
        return []
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            json.loads(line)
        except ValueError:
            break
        out.append(line)
    return out


class Reflections:
    """What the reflector answered, by content of the question: a resumed search does not ask again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = {line["key"]: line for line in map(json.loads, read_lines(path))}

    async def ask(self, model: Model, request: Request) -> tuple[str, int]:
        """The reply, and the calls that it took. Raises ModelError."""
        key = digest([model.fingerprint, canonical(request)])
        if key not in self._known:
            try:
                reply = (await model.generate([request]))[0]
            except ModelError as error:
                raise ModelError(
                    f"the reflector does not answer: {error.message}", remedy=error.remedy, status=error.status
                ) from None
            record = {"key": key, "reply": reply.text, "calls": max(1, reply.usage.calls)}
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            self._known[key] = record
        return self._known[key]["reply"], self._known[key]["calls"]
