"""The rung."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Resources, Rung, Traits
from rung.core.types import RungChoice, Task
from rung.prompts.patterns.asking.written import Written
from rung.prompts.program import PromptProgram
from rung.prompts.search.optimize.cost import judging, too_small
from rung.prompts.search.optimize.search import PromptSearch
from rung.prompts.search.propose.sources import SOURCES


@dataclass(frozen=True)
class Optimized:
    """Searches instructions and demonstrations under a budget of model calls; keeps edits that win on dev in a paired
    test.

    ``calls`` is the hard budget of the search, the reflector's and judges' calls included. ``start`` is the rung whose
    prompt it begins with; ``prompt``, a template file or saved prompt, is used instead where it is given. ``reflector``
    names the model that rewrites instructions; empty: the one that answers. ``dev``: examples used at most. ``width``:
    edits in a step. ``alpha``: an edit is kept when its one-sided p is at most this. ``sources``: where edits may come
    from; empty: everywhere.
    """

    traits: ClassVar[Traits] = Traits(optional=True)

    calls: int = 400
    start: str = "zero-shot"
    prompt: str = ""
    reflector: str = ""
    dev: int = 48
    width: int = 8
    alpha: float = 0.2
    sources: tuple[str, ...] = ()
    hash: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.calls < 1 or self.dev < 8 or self.width < 2 or not 0 < self.alpha < 1:
            raise ValueError("expected calls of at least 1, dev of at least 8, width of at least 2 and alpha in 0 to 1")
        if unknown := [name for name in self.sources if name not in SOURCES]:
            raise ValueError(f"there is no source {', '.join(unknown)}; sources: {', '.join(SOURCES)}")
        if self.start == "optimized" or self.start not in registry.table("rung"):
            raise ValueError(f"start is {self.start!r}, expected the name of a rung that asks with a prompt")
        if self.prompt:  # an edited template, or root, is another search
            object.__setattr__(self, "hash", Written(self.prompt).hash)

    def obstacle(self, task: Task, resources: Resources) -> str:
        if len(task.dev) < 8:
            return f"{len(task.dev)} dev examples are too few to tell better from worse"
        if why := self.first().obstacle(task, resources):
            return f"{self.prompt or self.start}, which it starts with: {why}"
        dev = min(self.dev, len(task.dev))
        return too_small(self.calls, dev, 1 + judging(task, resources))

    def first(self) -> Rung:
        """The rung whose prompt the search begins with. Raises InputError for a template with a mistake in it."""
        return Written(self.prompt) if self.prompt else make_rung(RungChoice(self.start))

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        return await PromptSearch(self, task, context).run()
