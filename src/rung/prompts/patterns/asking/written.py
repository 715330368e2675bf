"""The rung that asks with a prompt somebody wrote: a template file, or a saved prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rung.core.parts.place import here
from rung.core.protocols import Context, Resources, Traits
from rung.core.settings import Settings
from rung.core.types import Task
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Kind, Selector
from rung.prompts.template.library import FoundTemplate, find
from rung.prompts.template.template import Template
from rung.store import Store, StoredPrompt, open_store


class Saved:
    """The saved prompts of the store at hand (see ``rung.core.parts.place``), opened only when one is looked up."""

    def get(self, name: str, version: int | None = None) -> StoredPrompt | None:
        with self._store() as store:
            return store.prompts.get(name, version)

    def all(self, name: str | None = None) -> list[StoredPrompt]:
        with self._store() as store:
            return store.prompts.all(name)

    def _store(self) -> Store:
        return open_store(here().store or Settings().store_url)


@dataclass(frozen=True)
class Written:
    """A template of your own: ``prompt`` names its file, or a saved prompt.

    A file is looked for beside the task file; a saved prompt is ``NAME`` or ``NAME@VERSION``. ``values`` are for
    variables that are not fields of the task. ``k`` training examples, chosen by ``select``, are shown before the
    input. ``hash`` is the content's and is found, not given: an edited template, or root, is another rung.
    """

    traits: ClassVar[Traits] = Traits(optional=True)
    prompt: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    k: int = 0
    select: Kind = "knn"
    hash: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.prompt:
            object.__setattr__(self, "hash", self.found().hash)

    def found(self) -> FoundTemplate:
        """The template joined with its roots. Raises InputError when there is none, or a mistake in it."""
        return find(self.prompt, Saved(), here().folder)

    def template(self) -> Template:
        """The template with ``values`` bound."""
        return self.found().flat.with_values(self.values)

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not self.prompt:
            return "it needs a prompt: in the task file, template: {prompt: FILE or NAME}"
        template = self.template()
        known = {variable.name for variable in template.variables}
        if missing := [name for name in template.required if name not in task.fields]:
            return f"the template wants {', '.join(missing)}: fields of the task are {', '.join(task.fields)}; give values:"
        if unread := [name for name in task.fields if name not in known]:
            return f"the template does not declare {', '.join(unread)}, a field of the task's inputs"
        if self.k and not task.train:
            return "there are no training examples to show"
        return ""

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        selector = Selector(self.select, self.k, task.train, seed=context.seed) if self.k else None
        return PromptProgram(self.template(), context.resources.model(), Options.of(task), selector)


TEMPLATE = Written()
