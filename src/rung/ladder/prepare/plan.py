"""What a climb will try, in which order, with which model."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.protocols import Embedder, Model, Resources, Rung, Traits
from rung.core.settings import Settings
from rung.core.types import RungChoice, Task


@dataclass(frozen=True)
class AttemptResources:
    """The resources of a climb, with the model that this part of it climbs with as the default."""

    pool: Resources
    default: str

    def model(self, name: str | None = None) -> Model:
        return self.pool.model(name or self.default)

    def embedder(self, name: str | None = None) -> Embedder:
        return self.pool.embedder(name)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One rung to climb with one model (none: "")."""

    title: str
    choice: RungChoice
    model: str


def plan(task: Task, settings: Settings) -> list[Attempt]:
    """The rungs to climb in order, with each of the task's models; rungs without a model come once. A rung that is
    optional is climbed only where it is named, an agent only where the task has something to act in, or where it is
    named."""
    known = map(RungChoice, registry.usable("rung"))
    choices = task.rungs or tuple(choice for choice in known if _unasked(make_rung(choice).traits, task))
    models = task.models or (settings["model"],)
    attempts: list[Attempt] = []
    for index, model in enumerate(models):
        for choice in choices:
            uses = make_rung(choice).traits.uses_model
            if not uses and index:
                continue
            title = f"{choice.title}@{model.partition(':')[2] or model}" if uses and len(models) > 1 else choice.title
            attempts.append(Attempt(title, choice, model if uses else ""))
    return attempts


def _unasked(traits: Traits, task: Task) -> bool:
    return not traits.optional and (not traits.acts or bool(task.environment or task.tools))


def about(rung: Rung) -> str:
    """The first paragraph of a rung's docstring."""
    return " ".join((type(rung).__doc__ or "").partition("\n\n")[0].split())


def alone(task: Task, title: str) -> str:
    """What to type to climb one rung by itself; a built-in task is named by its name, which fits into a table."""
    built_in = task.name in registry.table("pack") and str(registry.load("pack", task.name)) == task.path
    where = task.name if built_in or not task.path else shlex.quote(task.path)
    return f"rung climb {where} --rung {title.partition('@')[0]}"
