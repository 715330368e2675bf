"""Other demonstrations for a prompt: which examples are shown, and how many."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from rung.prompts.program import PromptProgram
from rung.prompts.search.bootstrap import swapped
from rung.prompts.search.propose.proposal import Material, Proposal, with_selector
from rung.prompts.select import Kind, Selector


def nearest(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The training examples most like the input, how many varied around what the parent shows; then the same but
    diverse."""
    kinds: tuple[Kind, ...] = ("knn", "mmr")
    for kind in kinds:
        for k in _counts(parent, kind, (4, 8, 2, 1, 12)):
            if k < len(material.pool):
                yield _shown(parent, material.selector(kind, k), "nearest", f"{kind}, {k} for each input")


def coverage(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """Examples that together cover the input's words."""
    for k in _counts(parent, "coverage", (5, 3, 8)):
        if k < len(material.pool):
            yield _shown(parent, material.selector("coverage", k), "coverage", f"coverage, {k} for each input")


def balanced(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One fixed draw for every input, labels in turn."""
    labels = len(material.task.form.labels)
    for draw in range(16):
        for k in dict.fromkeys((min(max(labels, 4), 12), 4, 8)):
            if k <= len(material.pool):
                fixed = Selector("random", k, material.pool, seed=material.seed + draw)
                yield _shown(parent, fixed, "balanced", f"{k} fixed, labels in turn, draw {draw + 1}")


def bootstrap(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """Held-out training examples that the parent answers rightly (Khattab et al. 2023); then those it gets wrong, with
    the right answer."""
    found = (("answered rightly", material.right), ("answered wrongly", [result.example for result in material.wrong]))
    for word, examples in found:
        for k in (8, 4, 2):
            if k <= len(examples) or (examples and k == 2):
                drawn = Selector("random", min(k, len(examples)), examples, seed=material.seed)
                yield _shown(parent, drawn, "bootstrap", f"{drawn.k} held-out training examples that it {word}")


def swap(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One of the parent's fixed demonstrations for another, of a reference that is often missed."""
    selector = parent.selector
    if selector is None or selector.kind != "random" or not selector.shown or len(material.pool) <= selector.k:
        return
    rng = random.Random(material.seed)
    for _ in range(24):
        shots = swapped(selector.shown, material.pool, material.feedback, material.metric, rng)
        out = [example.id for example in selector.shown if example not in shots]
        new = [example.id for example in shots if example not in selector.shown]
        yield _shown(
            parent,
            Selector.fixed(shots, seed=material.seed),
            "swap",
            f"{', '.join(out) or 'none'} for {', '.join(new) or 'none'}",
        )


def bare(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """No demonstrations, or half as many."""
    if (selector := parent.selector) is None:
        return
    if selector.kind == "random" and selector.k > 1:
        half = selector.shown[: selector.k // 2]
        yield _shown(parent, Selector.fixed(half, seed=selector.seed), "fewer", f"the first {len(half)} demonstrations")
    yield Proposal(with_selector(parent, None), "fewer", "no demonstrations")


def _shown(parent: PromptProgram, selector: Selector, source: str, note: str) -> Proposal:
    return Proposal(with_selector(parent, selector), source, f"demonstrations: {note}")


def _counts(parent: PromptProgram, kind: Kind, usual: Sequence[int]) -> list[int]:
    selector = parent.selector
    if selector is None or selector.kind != kind:
        return list(usual)
    k = selector.k
    return [n for n in dict.fromkeys((2 * k, k // 2, k + 1, k - 1, *usual)) if 1 <= n <= 16 and n != k]
