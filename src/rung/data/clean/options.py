"""What is filtered: the one place where the options of cleaning are declared, for Python and for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.safety.private import KINDS, RECORDS

Mode = Literal["drop", "list", "off"]


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """Filters and their bounds. Raises InputError for values that do not go together."""

    exact: bool = option(True, "Drop rows that are there already.", flags=("--exact/--no-exact",))
    near: float = option(0.8, "Drop near-duplicates from this Jaccard similarity on (0.4 to 1); 0 keeps them.")
    against: tuple[str, ...] = option(
        (), "Drop rows whose input stands in this file (a test set); may be repeated.", metavar="FILE"
    )
    leak: float = option(0.8, "Similarity from which on an input counts as that of the other file.")
    min_tokens: int = option(0, "Drop rows of fewer tokens.", low=0)
    max_tokens: int = option(0, "Drop rows of more tokens; 0 is no bound.", low=0)
    model: str = option("", "Count the tokens of this model, given as provider:name.", flags=("-m", "--model"))
    language: tuple[str, ...] = option((), "Keep rows in this language (en, de, ...); may be repeated.")
    pii: Literal["mask", "drop", "off"] = option("mask", "What to do with personal data and secrets.")
    records: bool = option(
        False, "The rows are records about people: look for names, dates, places and numbers too.", flags=("--records",)
    )
    toxic: Mode = option("drop", "What to do with rows that hold harmful text.")
    toxic_words: str = option("", "Words that are harmful wherever they stand, one a line.", metavar="FILE")
    harmful: str = option("", "Harmful texts to learn the filter from; needs --harmless.", metavar="FILE")
    harmless: str = option("", "Harmless texts to learn the filter from; needs --harmful.", metavar="FILE")
    labels: Mode = option("list", "What to do with contradictions and doubtful labels.")
    style: Mode = option("list", "What to do with answers that are written unlike the rest.")
    kinds: tuple[str, ...] = field(default=())
    """Kinds of personal data that are looked for; empty: the common ones, with ``records`` all."""

    def __post_init__(self) -> None:
        for name, number in (("near", self.near), ("leak", self.leak)):
            if number and not 0.4 <= number <= 1:
                raise InputError(f"--{name} is {number}", remedy="expected 0 (off) or 0.4 to 1", code="threshold")
        if self.max_tokens and self.max_tokens < self.min_tokens:
            raise InputError(
                f"--max-tokens {self.max_tokens} is below --min-tokens {self.min_tokens}",
                remedy="correct one of them",
                code="bounds",
            )
        if bool(self.harmful) != bool(self.harmless):
            raise InputError("one of --harmful and --harmless is missing", remedy="name both files", code="half-a-pair")

    @property
    def private(self) -> frozenset[str]:
        """Kinds of personal data and secrets that are looked for."""
        return frozenset(self.kinds or (RECORDS if self.records else KINDS))
