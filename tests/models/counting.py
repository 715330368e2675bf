"""An embedder that notes what it is asked; light, since a process that is killed imports it too."""

from __future__ import annotations

from typing import Any

import numpy as np


class Counting:
    name = "counting"
    dimensions = 8

    def __init__(self, fingerprint: str = "one") -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []

    def embed(self, texts: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        self.asked += texts
        rows = np.array([[hash(text) % 97 + i for i in range(8)] for text in texts], np.float32).reshape(-1, 8)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
