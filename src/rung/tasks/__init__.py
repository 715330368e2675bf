"""Tasks: a task file and its data become a Task in frozen splits. docs/task.md describes the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.types import RungChoice, Task

if TYPE_CHECKING:
    from rung.core.parts.problem import Problem
    from rung.tasks.rows.loader import Examination

__all__ = ["change", "cut", "examine", "init", "load", "locate", "validate"]


def locate(path_or_pack: str | Path) -> Path:
    """The task file that a path (of the file or its folder) or a pack's name stands for; a path goes first.

    Raises InputError when it is neither.
    """
    path = Path(path_or_pack)
    if path.is_dir() and (path / "task.yaml").is_file():
        return path / "task.yaml"
    if path.is_file():
        return path
    packs = registry.table("pack")
    name = str(path_or_pack)
    if name in packs:
        return Path(registry.load("pack", name))
    from rung.core.parts.problem import nearest

    if path.is_dir():
        raise InputError(
            f"the folder {path} holds no task.yaml", remedy=f"name the task file, or make one: rung init {path}"
        )
    what = "no such file" if path.suffix or len(path.parts) > 1 else "no such file, folder or pack"
    raise InputError(f"{name!r}: {what}", remedy=f"packs: {nearest(name, packs)}; your own: rung init my-task")


def examine(path_or_pack: str | Path, *, freeze: bool = False) -> Examination:
    """Every mistake, the task if there is none, and what was found in the data. Writes nothing unless ``freeze``."""
    from rung.tasks.rows import loader

    return loader.examine(locate(path_or_pack), freeze=freeze)


def validate(path_or_pack: str | Path) -> list[Problem]:
    """Every mistake in a task file and its data, errors first."""
    return list(examine(path_or_pack).problems)


def load(
    path_or_pack: str | Path, *, models: Sequence[str] | None = None, rungs: Sequence[str | RungChoice] | None = None
) -> Task:
    """The task of a file or pack; its splits are frozen beside it on the first load.

    ``models`` and ``rungs`` replace those of the file; a rung is named by its label there, or by its registered name.
    Raises InputError with the first mistake and the number of the others.
    """
    path = locate(path_or_pack)
    examination = examine(path, freeze=True)
    errors = [problem for problem in examination.problems if problem.level == "error"]
    if errors or examination.task is None:
        first, more = errors[0], len(errors) - 1
        rest = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
        advice = f"{first.remedy}; " if first.remedy else ""
        raise InputError(
            first.message + rest,
            remedy=f"{advice}type: rung validate {path_or_pack}",
            file=first.file or path,
            line=first.line,
        )
    return change(examination.task, models=models or (), rungs=rungs or ())


def change(task: Task, *, models: Sequence[str] = (), rungs: Sequence[str | RungChoice] = ()) -> Task:
    """The same task with other models or rungs where some are given; its hash stays. Raises InputError for unknown
    names."""
    if models:
        known = registry.table("provider")
        for model in models:
            if model.partition(":")[0] not in known:
                registry.load("provider", model.partition(":")[0])  # raises, naming the nearest
        task = replace(task, models=tuple(models))
    if rungs:
        task = replace(task, rungs=tuple(_choose(task, rung) for rung in rungs))
    return task


def _choose(task: Task, rung: str | RungChoice) -> RungChoice:
    if isinstance(rung, RungChoice):
        return rung
    for choice in task.rungs:
        if choice.title == rung:
            return choice
    known = registry.table("rung")
    if rung not in known:
        from rung.core.parts.problem import nearest

        titles = {choice.title for choice in task.rungs}
        raise InputError(f"unknown rung {rung!r}", remedy=nearest(rung, {*known, *titles}))
    return RungChoice(rung)


def cut(task: Task, *, train: int | None = None, dev: int | None = None, test: int | None = None) -> Task:
    """The same task with at most so many examples a split: the first ones in frozen hash order, so that a smaller cut
    lies within a larger one. The hash changes when something was cut."""
    kept = {
        name: examples if limit is None else examples[:limit]
        for name, examples, limit in (("train", task.train, train), ("dev", task.dev, dev), ("test", task.test, test))
    }
    if all(
        len(kept[name]) == len(examples)
        for name, examples in (("train", task.train), ("dev", task.dev), ("test", task.test))
    ):
        return task
    sizes = [len(kept[name]) for name in ("train", "dev", "test")]
    return replace(task, train=kept["train"], dev=kept["dev"], test=kept["test"], hash=digest([task.hash, sizes]))


def init(folder: str | Path, *, kind: str = "labels", source: str | Path | None = None) -> Path:
    """Write a commented task file and its data to ``folder``; returns the task file. ``kind`` is labels, json, text,
    fim (holes in the source files under ``source``) or a pack's name.

    Raises InputError when the folder exists and is not empty, or the kind is not known.
    """
    from rung.tasks.packs.starter import write

    return write(Path(folder), kind, None if source is None else Path(source))
