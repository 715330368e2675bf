"""What experiments have in common: the files that they teach, their page in the documentation, and their cost."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.system.files import write_file
from rung.core.text.columns import fold
from rung.studies.study import Study

F = TypeVar("F")


@dataclass(frozen=True)
class Experiment(Study[None, F]):
    """A study of models that it trains itself. ``title`` heads its page; ``ideas`` are the modules whose docstrings
    explain it, as paths inside ``rung.foundations``."""

    subject = "none"
    title: ClassVar[str]
    ideas: ClassVar[tuple[str, ...]]

    def command(self) -> str:
        """What to type to make it with these options, those left out that have their default."""
        words = ["rung", "lab", self.name]
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default or "help" not in item.metadata:
                continue
            flags = item.metadata.get("flags") or (f"--{item.name.replace('_', '-')}",)
            for one in value if isinstance(value, tuple) else (value,):
                if item.metadata.get("argument"):
                    words.append(str(one))
                else:
                    names = flags[0].split("/")
                    words += [names[0 if one else -1]] if isinstance(one, bool) else [names[0], str(one)]
        return shlex.join(words)


def demand_kind(to: Path | None) -> None:
    """Raise InputError for a file that ``draw`` cannot write."""
    if to is not None and to.suffix not in (".html", ".json"):
        raise InputError(f"got --to {to}", remedy="name a file that ends in .html or .json")


def draw(found: F, to: Path | None, picture: Callable[[F], str]) -> None:
    """Write records to a file, as JSON or as the page that ``picture`` makes of them. Raises InputError where it cannot
    be written."""
    if to is None:
        return
    body = json.dumps(encode(found)) if to.suffix == ".json" else picture(found)
    try:
        write_file(to, body.encode())
    except OSError as error:
        raise InputError(f"cannot write it: {error.strerror}", file=to, remedy="name a file") from None


def explained(kind: type[Experiment[Any]]) -> str:
    """The first part of an experiment's page: what it does, and the docstrings of the files that it teaches."""
    parts = [
        f"# {kind.title}",
        " ".join((kind.__doc__ or "").split()),
        f"`rung lab {kind.name} --help` has its options.",
    ]
    for idea in kind.ideas:
        text = (import_module(f"rung.foundations.{idea}").__doc__ or "").strip()
        place = idea.replace(".", "/")
        parts += [f"## `foundations/{place}.py`", re.sub(r"``([^`]+)``", r"`\1`", text)]
    return "\n\n".join(parts) + "\n"


def page(study: Experiment[Any], found: Any, made: str) -> str:
    """The whole page of an experiment that was made: ``made`` says where and when."""
    shown = "\n".join(line.rstrip() for line in fold(study.table(found)).splitlines())
    return f"{explained(type(study))}\n## Measured\n\n{made}\n\n```text\n$ {study.command()}\n{shown}\n```\n"


@dataclass
class CpuTime:
    """CPU seconds of a block, all threads of this process."""

    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[CpuTime]:
    clock, started = CpuTime(), time.process_time()
    yield clock
    clock.cpu = round(time.process_time() - started, 2)
