"""Make a rung's program once: fitted programs are kept in a folder named by everything that could change them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core import __version__
from rung.core.codec import decode, digest, encode
from rung.core.errors import FitError, RungError
from rung.core.parts import program as programs
from rung.core.parts.meter import metered
from rung.core.protocols import Context, MachineDependent, Program, Resources, Rung
from rung.core.system.files import FULL
from rung.core.system.lock import file_lock_async
from rung.core.types import Example, Progress, RungChoice, Task, Training
from rung.ladder.records import Offline
from rung.store import Store


@dataclass(frozen=True, slots=True)
class Fitted:
    program: Program
    folder: Path
    offline: Offline
    reused: bool
    training: Training | None = None


def fit_key(choice: RungChoice, rung: Rung, task: Task, model: str, seed: int) -> str:
    """Identity of a fit: technique, options, what it may see of the task, model, seed and version. Not the test
    split."""
    if isinstance(rung, MachineDependent):
        rung = rung.settle()
    seen = [[[dict(example.input), example.reference] for example in part] for part in (task.train, task.dev)]
    definition = [
        task.instruction,
        encode(task.form),
        list(task.fields),
        list(task.constraints),
        task.persona,
        dict(task.label_notes),
        [[name, list(patterns)] for name, patterns in task.rules.items()],  # order decides ties
        task.max_tokens,
        task.overflow,
        task.metrics[0],
    ]
    # Every option by name, also those at their default (which encode leaves out): a changed default is another fit.
    options = {name: getattr(rung, name) for name in getattr(rung, "__dataclass_fields__", {})} or dict(choice.options)
    kind = f"{type(rung).__module__}:{type(rung).__qualname__}"
    return digest([kind, options, digest(seen), definition, model, seed, __version__])


@dataclass(frozen=True)
class FitRequest:
    """What is to be fitted: a rung (as it was chosen, and made) on a task with the model of that fingerprint."""

    choice: RungChoice
    rung: Rung
    task: Task
    model: str
    seed: int = 0

    @property
    def key(self) -> str:
        return fit_key(self.choice, self.rung, self.task, self.model, self.seed)


@dataclass(frozen=True)
class FitResources:
    """Where it is fitted: what is remembered, what it may use, how it may look, and below which folder it works."""

    store: Store
    resources: Resources
    evaluate: Callable[[Program, Sequence[Example]], Any]
    home: Path
    progress: Callable[[Progress], None]


async def fit(request: FitRequest, given: FitResources) -> Fitted:
    """Fit, or load what an earlier climb fitted under the same key.

    Raises FitError (or what the rung raised on purpose) when it cannot be fitted; its folder of work is kept for a
    resume.
    """
    choice, rung, task, key = request.choice, request.rung, request.task, request.key
    resources, progress = given.resources, given.progress
    folder, work = given.home / "programs" / key, given.home / "fits" / key
    stored = given.store.fits.get(key)
    if stored is not None and (folder / "program.json").exists():
        kept = json.loads(stored)
        training = decode(Training, kept["training"]) if kept.get("training") else None
        return Fitted(programs.load(folder, resources), folder, decode(Offline, kept["offline"]), True, training)
    work.mkdir(parents=True, exist_ok=True)

    courses: list[Training] = []
    said = 0.0

    async def pause(waited: float) -> None:
        nonlocal said
        if waited >= said:
            progress(Progress("wait", round(waited), None, "another climb is fitting this rung"))
            said = waited + 5
        await asyncio.sleep(0.5)

    async with file_lock_async(work / ".lock", pause):  # one fit of a key at a time
        started, cpu = time.perf_counter(), time.process_time()
        with metered() as meter:
            context = Context(resources, work, given.evaluate, request.seed, progress, courses.append)
            try:
                program = await rung.fit(task, context)
            except RungError:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise  # no fault of the rung: what is recommended without it would not be what was asked
                raise FitError(
                    f"{type(error).__name__}: {error}", remedy="see the log, or leave this rung out"
                ) from error
        spent, used = meter.total, (time.perf_counter() - started, time.process_time() - cpu)
        if rung.traits.tuned:  # a training that another rung shares has been paid for all the same
            used = (max(used[0], spent.seconds), max(used[1], spent.cpu_seconds))
        offline = Offline(*used, spent)
        notes = {"rung": choice.title, "task": task.name, "task_hash": task.hash, "metric": task.metrics[0]}
        programs.save(program, folder, notes=notes, link=True)
        training = courses[-1] if courses else None
        payload = {"offline": encode(offline), "folder": str(folder), "training": encode(training)}
        given.store.fits.put(key, json.dumps(payload))
    return Fitted(programs.load(folder, resources), folder, offline, False, training)
