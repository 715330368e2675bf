"""What the tests of this room share: real text to score, and resources without a network."""

from __future__ import annotations

import importlib
import inspect
import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rung.core.protocols import Embedder, Model
from rung.models.providers.fake import Fake

MODULES = ("argparse", "collections", "difflib", "json", "logging", "random", "re", "statistics", "string", "textwrap")


def texts() -> list[str]:
    """Real English of many lengths: docstrings of Python's standard library."""
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        things = [
            module,
            *(value for key, value in sorted(vars(module).items()) if key in getattr(module, "__all__", ())),
        ]
        found += [doc for thing in things if (doc := inspect.getdoc(thing)) and 20 < len(doc) < 3000]
    return sorted(set(found))


def pairs(count: int) -> list[tuple[str, str]]:
    """(prediction, reference): parts of one text, or two different ones."""
    pool, out = texts(), []
    for i in range(count):
        one, two = pool[i % len(pool)], pool[(7 * i + 3) % len(pool)]
        lines = one.split("\n")
        cut = "\n".join(lines[i % 3 :: 2]) + " " + two[: 40 + i % 50]
        out.append((cut, one) if i % 4 else (two, one))
    return out


class WordEmbedder:
    """Hashed bags of words, rows of unit length."""

    name = "words"
    fingerprint = "words-64"
    dimensions = 64

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()) or ["-"]:
                row[zlib.crc32(word.encode()) % self.dimensions] += 1
            row /= np.linalg.norm(row)
        return out


class Shelf:
    """Resources that hand out one fake model and one embedder, and note what was asked for."""

    def __init__(self, model: Model | None = None) -> None:
        self._model: Model = Fake() if model is None else model
        self.asked: list[str | None] = []

    def model(self, name: str | None = None) -> Model:
        self.asked.append(name)
        return self._model

    def embedder(self, name: str | None = None) -> Embedder:
        return WordEmbedder()
