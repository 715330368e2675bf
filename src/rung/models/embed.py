"""Text to vectors without a language model: static word vectors, averaged.

The vectors are WordLlama's (256 dimensions, token embeddings of a large model reduced and trained for similarity), whose two
files come out of its wheel (see hub.py); its own code is not needed. Most of the time goes to the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.extras import require
from rung.core.settings import Settings
from rung.models import hub

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 512


class StaticEmbedder:
    """Mean of the static vectors of a text's tokens, scaled to unit length. ``folder`` holds the two files."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._parts: tuple[Any, NDArray[np.float32]] | None = None

    @classmethod
    def open(cls, settings: Settings) -> StaticEmbedder:
        """The embedder over the pulled vectors. Raises FetchError when they are not there."""
        return cls(hub.locate("static", settings.cache))

    @property
    def name(self) -> str:
        return "static"

    @property
    def fingerprint(self) -> str:
        return hub.CATALOGUE["static"].members[0].sha256[:32]

    @property
    def dimensions(self) -> int:
        return 256

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), 256), float32, rows of unit length. A text without tokens gets the vector of
        equal components, so that no row is zero or NaN."""
        import numpy as np

        tokenizer, vectors = self._load()
        out = np.empty((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), BATCH):
            batch = [text.encode("utf-8", "replace").decode() for text in texts[start : start + BATCH]]
            for row, encoded in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False), start):
                ids = encoded.ids
                if ids:
                    vectors.take(ids, axis=0).sum(axis=0, out=out[row])
                else:
                    out[row] = 1.0
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        out[norms[:, 0] < 1e-12] = 1.0
        norms[norms < 1e-12] = np.sqrt(self.dimensions)
        out /= norms
        return out

    def _load(self) -> tuple[Any, NDArray[np.float32]]:
        if self._parts is None:
            import numpy as np

            folder = self._folder or hub.locate("static", Settings().cache)
            why = "the static embedder"
            weights, config = hub.CATALOGUE["static"].members
            tokenizer = require("tokenizers", "embedded", why).Tokenizer.from_file(str(folder / config.file))
            tokenizer.no_padding()
            tokenizer.no_truncation()
            table = require("safetensors.numpy", "embedded", why).load_file(folder / weights.file)["embedding.weight"]
            self._parts = tokenizer, np.ascontiguousarray(table, np.float32)
        return self._parts
