"""How a collection is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from rung.core.errors import InputError
from rung.core.protocols import Filter
from rung.retrieval.rank.fuse import Fusion

Mode = Literal["hybrid", "dense", "keyword"]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search. ``where`` is a metadata filter. ``weight`` is the share of the dense score under ``weighted``
    (0 to 1). ``diversity`` is MMR's lambda: 1 is relevance alone, 0 difference alone, None no MMR. ``rerank`` names
    a reranker. ``depth`` is how many candidates fusion, MMR and rerank choose from. ``highlights`` False: hits come
    without them, sooner."""

    mode: Mode = "hybrid"
    k: int = 10
    where: Filter | None = None
    fusion: Fusion = "adaptive"
    weight: float | None = None
    diversity: float | None = None
    rerank: str | None = None
    depth: int = 100
    highlights: bool = True

    def check(self) -> None:
        """Raises InputError for options that no search could have."""
        for what, value, known in (("mode", self.mode, get_args(Mode)), ("fusion", self.fusion, get_args(Fusion))):
            if value not in known:
                raise InputError(f"unknown {what} {value!r}", remedy=f"one of {', '.join(known)}")
        if self.k < 1 or self.depth < 1:
            raise InputError(f"got k {self.k} and depth {self.depth}, expected at least 1", remedy="leave them out")
        for name, share in (("weight", self.weight), ("diversity", self.diversity)):
            if share is not None and not 0 <= share <= 1:
                raise InputError(f"got {name} {share}, expected 0 to 1", remedy="leave it out")
