"""Documents, a chunker and an embedder of known vectors; light, since processes that are killed import it too."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rung.core.types import Document, Passage

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "juniper",
    "kelp",
    "lagoon",
    "meadow",
    "nectar",
    "orchid",
    "pebble",
]


class Hashed:
    """An embedder of known vectors: a bag of words by their hashes; counts what it was asked."""

    name = "hashed"

    def __init__(self, dimensions: int = 32, fingerprint: str = "1") -> None:
        self.dimensions, self.fingerprint = dimensions, fingerprint
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[sum(map(ord, word)) * 7919 % self.dimensions] += 1
            row += 1e-3
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return out


def paragraphs(document: Document) -> list[Passage]:
    """One passage a line."""
    out, at = [], 0
    for line in document.text.split("\n"):
        if line:
            out.append(Passage(f"{document.id}#{at}", document.id, at, at + len(line), line, document.metadata))
        at += len(line) + 1
    return out


def made(count: int, seed: int = 0, lines: int = 3) -> list[Document]:
    chance = random.Random(seed)
    return [
        Document(
            f"d{number}",
            "\n".join(" ".join(chance.choices(WORDS, k=8)) + f" n{number}" for _ in range(lines)),
            {"tenant": chance.choice("abc"), "year": 2000 + number % 7, "tags": chance.sample(["x", "y", "z"], 2)},
        )
        for number in range(count)
    ]
