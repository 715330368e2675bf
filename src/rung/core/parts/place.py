"""Where names in a task are looked up: beside the task's file, and in the store at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Task


@dataclass(frozen=True, slots=True)
class TaskPlace:
    """The folder of the task file (None: it has none), and a store's URL."""

    folder: Path | None = None
    store: str = ""

    def path(self, name: str) -> Path:
        """The file or folder of that name, beside the task."""
        return (self.folder or Path()) / name


_place: ContextVar[TaskPlace] = ContextVar("rung_place", default=TaskPlace())  # noqa: B039 - frozen


def here() -> TaskPlace:
    return _place.get()


@contextmanager
def beside(task: Task, settings: Settings) -> Iterator[None]:
    """Within the block, files named in ``task`` are looked up beside its file, saved prompts in the store of
    ``settings``."""
    with within(Path(task.path).parent if task.path else None, settings.store_url):
        yield


@contextmanager
def within(folder: Path | None, store: str = "") -> Iterator[None]:
    """Within the block, named files are looked up in ``folder``, saved prompts in ``store``."""
    token = _place.set(TaskPlace(folder, store))
    try:
        yield
    finally:
        _place.reset(token)
