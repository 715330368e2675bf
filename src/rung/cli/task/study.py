"""A verb for every study, made of its options: its subject, its fields, and what all of them take
(``rung.studies.study``)."""

from __future__ import annotations

import asyncio
import json as codec
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer

from rung import tasks
from rung.cli.base.options import Json, Limit, ModelName, RunId, StoreUrl, TaskName, expand
from rung.core.settings import Settings
from rung.core.text.columns import align, fold
from rung.core.types import Progress, Task
from rung.ladder.history import read_run
from rung.ladder.view.live import tell
from rung.models import Pool
from rung.store import Store, open_store
from rung.studies import study as room
from rung.studies.lab import LABS
from rung.studies.study import Lab, Study


def make(
    study: Study[Any, Any], find: Callable[[Store], tuple[Any, str | None]], settings: Settings, json: bool
) -> None:
    """Make the study and print its table or JSON. ``find``: the subject, and the model that answers where it says
    so."""
    conduct(study, find, settings, lambda found: study.json(found) if json else fold(study.table(found)))


def conduct(
    study: Study[Any, Any],
    find: Callable[[Store], tuple[Any, str | None]],
    settings: Settings,
    show: Callable[[Any], str],
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Open what a study works with, make it, and print what ``show`` says of the records."""

    async def work() -> Any:
        with open_store(settings.store_url) as store:
            subject, model = find(store)
            async with Pool(settings, default=model or settings["model"]) as pool:
                return await study.run(subject, Lab(settings, pool, store, progress or partial(tell, only=study.stage)))

    typer.echo(show(asyncio.run(work())))


def load(task: str, model: str | None) -> Task:
    """The task; with ``model`` it is asked of that one."""
    return tasks.load(task, models=[model] if model else None)


def on_task(loaded: Task) -> Callable[[Store], tuple[Task, str | None]]:
    return lambda _: (loaded, next(iter(loaded.models), None))


def on_run(run: str) -> Callable[[Store], tuple[Any, str | None]]:
    def find(store: Store) -> tuple[Any, str | None]:
        record = read_run(store, run)
        return record, record.model or None

    return find


def verb(name: str) -> Callable[..., None]:
    """The verb of the study of that name."""
    kind = room.load(name)

    def of_task(
        task: TaskName, study: Any, model: ModelName = None, json: Json = False, store: StoreUrl = None
    ) -> None:
        make(study, on_task(load(task, model)), Settings({"model": model, "store": store}), json)

    def of_run(study: Any, run: RunId = "last", json: Json = False, store: StoreUrl = None) -> None:
        make(study, on_run(run), Settings({"store": store}), json)

    def by_itself(study: Any, model: ModelName = None, json: Json = False, store: StoreUrl = None) -> None:
        make(study, lambda _: (None, None), Settings({"model": model, "store": store}), json)

    def of_models(study: Any, json: Json = False, store: StoreUrl = None) -> None:
        make(study, lambda _: (None, None), Settings({"store": store}), json)

    named = name in LABS or any(item.name in ("model", "before") for item in fields(kind))
    verbs: dict[str, Callable[..., None]] = {
        "task": of_task,
        "run": of_run,
        "none": of_models if named else by_itself,
    }
    made = verbs[kind.subject]
    made.__doc__ = kind.__doc__
    made.__annotations__["study"] = kind
    return expand(made)


def __getattr__(name: str) -> Any:
    """``rung.cli.task.study:curve`` is the verb of the study ``curve``."""
    if name in room.STUDIES:
        return verb(name)
    raise AttributeError(name)


def studies(
    id: Annotated[str, typer.Argument(metavar="STUDY", help="A study's number, or `last`: show it again.")] = "",
    limit: Limit = 20,
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """List the studies that were made, newest first, or show one again from its records."""
    settings = Settings({"store": store})
    with open_store(settings.store_url) as opened:
        rows = [opened.studies.find(id)] if id else opened.studies.newest(limit or 20)
    if id:
        study, found = room.read(rows[0])
        typer.echo(study.json(found) if json else fold(study.table(found)))
        return
    if json:
        listed = [{"id": row.id, "study": row.name, "subject": row.subject, "created": row.created} for row in rows]
        typer.echo(codec.dumps(listed, indent=2))
        return
    lines = [["study", "what", "of", "made"]]
    for row in rows:
        made = datetime.fromtimestamp(row.created).astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append([str(row.id), row.name, row.subject, made])
    typer.echo(align(lines) if rows else "no study has been made yet")
