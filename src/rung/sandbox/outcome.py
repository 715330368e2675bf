"""What a sandbox is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol, runtime_checkable

from rung.core.errors import InputError

LONGEST = 200_000
"""Bytes of a piece of code."""

Ended = Literal["done", "error", "seconds", "memory", "output", "crash"]
"""How a run ended: of itself (``done``, or ``error`` with an exception), at a limit of its quota, or with its process
(``crash``)."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one run may use. ``seconds`` on the clock; ``memory`` and ``disk`` (its folder) in MB; ``output`` in bytes
    of text that is printed, and again of the value. 0 allows nothing; there is no unlimited."""

    seconds: float = 5.0
    memory: int = 256
    output: int = 64_000
    disk: int = 16

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0 < value < 1e9:
                raise InputError(
                    f"quota of a sandbox: got {item.name} {value!r}, expected a number above 0",
                    remedy=f"write {item.name}: {item.default}",
                    code="quota",
                )


QUOTA = Quota()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went. ``printed`` is what it wrote, ``value`` the ``repr`` of its last expression (empty for None),
    ``error`` the exception in one line and ``traceback`` in full. ``files`` are those that it made or changed, where
    they were asked for."""

    ended: Ended
    printed: str = ""
    value: str = ""
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.ended == "done"

    def report(self) -> str:
        """The outcome as text for a reader: what was printed, the value, and what went wrong."""
        last = _ENDS.get(self.ended, self.traceback)
        if self.ended in _ENDS and self.error:
            last = f"{last} ({self.error})"
        parts = [self.printed.rstrip("\n"), self.value, last.rstrip("\n")]
        return "\n".join(part for part in parts if part) or "(nothing was printed)"


_ENDS: dict[Ended, str] = {
    "seconds": "stopped: it took too long",
    "memory": "stopped: it needs too much memory",
    "output": "stopped: it printed too much",
    "crash": "stopped: its process ended",
}


@runtime_checkable
class CodeSandbox(Protocol):
    """Runs Python source. Calls may come from several threads; each waits for its own run."""

    @property
    def name(self) -> str: ...

    def run(
        self, code: str, *, files: Mapping[str, bytes] | None = None, quota: Quota = QUOTA, collect: bool = False
    ) -> Outcome:
        """Run ``code``; ``files`` lie in its working folder. ``collect``: give back the files that it made or changed.

        Never raises for what the code does: that is an Outcome. Raises InputError for code that is too long or a file
        whose name leaves the folder, and Unsupported for what this sandbox cannot do.
        """
        ...

    def close(self) -> None: ...


def check_code(code: str) -> bytes:
    """The code's bytes. Raises InputError when it is too long or cannot be written as UTF-8."""
    try:
        data = code.encode()
    except UnicodeEncodeError:
        raise InputError(
            "the code holds half a character (a lone surrogate)", remedy="leave it out", code="code"
        ) from None
    if len(data) > LONGEST:
        raise InputError(
            f"the code has {len(data):,} bytes, at most {LONGEST:,} are run", remedy="pass data as files", code="code"
        )
    return data


def check_files(files: Mapping[str, bytes] | None, quota: Quota) -> dict[str, bytes]:
    """The files by relative path. Raises InputError for a name that leaves the folder, or more than the folder
    holds."""
    found = dict(files or {})
    for name in found:
        if not is_inside(name):
            raise InputError(
                f"file {name!r}: expected a path inside the folder, such as data/table.csv",
                remedy="rename it",
                code="path",
            )
    size = sum(map(len, found.values()))
    if size > quota.disk << 20:
        raise InputError(
            f"the files have {size:,} bytes, the folder holds {quota.disk} MB",
            remedy="raise the quota's disk",
            code="quota",
        )
    return found


def is_inside(name: str) -> bool:
    """Whether the name of a file is a relative path that stays in its folder, on every system."""
    return 0 < len(name) <= 200 and not {"\0", "\\", ":"} & set(name) and not {"", ".", ".."} & set(name.split("/"))
