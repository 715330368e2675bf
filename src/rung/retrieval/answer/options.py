"""What a person may choose when a collection is asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from rung.core.parts.option import option
from rung.retrieval.answer.rag import Reader, Reading
from rung.retrieval.answer.refusal import RefusalModel
from rung.retrieval.filter.text import read
from rung.retrieval.rank.options import Mode, SearchOptions

JUDGED = 8
"""Passages that the model itself looks at."""


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a question is answered from a collection (see Reading and SearchOptions)."""

    reader: str = option(
        "copy", "copy: a phrase of the passages; mark: sentences with marks; quote: words of the passages; write: free."
    )
    mode: str = option("hybrid", "hybrid, dense or keyword.")
    k: int = option(3, "How many passages are shown to the model.", flags=("-k",), low=1)
    where: str | None = option(None, "'lang=en year>=2020', or JSON.", metavar="FILTER")
    rerank: str = option("", "model: the model looks at the first ones; or a reranker.")
    refine: str = option("", "rewrite, sub-questions or hypothetical.")
    refuse: float | None = option(None, "Refuse below this probability; 0: never refuse.", low=0.0, high=1.0)

    def search(self) -> SearchOptions:
        """Raises InputError for a filter that cannot be read; a mode that is none is refused by the collection."""
        reranker = self.rerank if self.rerank != "model" else ""
        condition = None if self.where is None else read(self.where)
        return SearchOptions(mode=cast(Mode, self.mode), k=self.k, where=condition, rerank=reranker or None)

    def reading(self) -> Reading:
        """Raises InputError for a reader or a refinement that is none."""
        gate: RefusalModel | None = RefusalModel()
        if self.refuse is not None:
            gate = replace(RefusalModel(), threshold=self.refuse) if self.refuse else None
        judged = JUDGED if self.rerank == "model" else 0
        reader = cast(Reader, self.reader)
        return Reading(reader, self.refine, gate=gate, strict=self.reader == "mark", rerank=judged)
