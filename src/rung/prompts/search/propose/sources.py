"""Every source of proposals by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rung.prompts.program import PromptProgram
from rung.prompts.search.propose import demonstrations, wording
from rung.prompts.search.propose.proposal import Material, Proposal, editable
from rung.prompts.search.propose.reflection import REFLECTION

Source = Callable[[PromptProgram, Material], Iterator[Proposal]]
SOURCES: dict[str, Source | None] = {
    "nearest": demonstrations.nearest,
    "balanced": demonstrations.balanced,
    "bootstrap": demonstrations.bootstrap,
    "notes": wording.notes,
    "wording": wording.wording,
    "coverage": demonstrations.coverage,
    "rendering": wording.rendering,
    REFLECTION: None,
    "constraints": wording.constraints,
    "merge": wording.merge,
    "swap": demonstrations.swap,
    "parts": wording.parts,
    "fewer": demonstrations.bare,
}
"""Every source by name, in the order in which each is first asked; ``reflection`` asks a model and is a function of its
own."""

_WORDS = {"notes", "wording", "rendering", REFLECTION, "constraints", "parts"}


def propose(name: str, parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """What the source ``name`` makes of ``parent``, best guesses first."""
    source = SOURCES[name]
    if source is None or (name in _WORDS and not editable(parent)):
        return iter(())
    return source(parent, material)
