"""Text to tokens with openvino-genai's tokenizer, many pieces in one call: a call costs about 0.5 ms, a piece in it 2
us."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rung.core.system.extras import require

PIECES = 1024
"""Texts that go to the tokenizer together."""

CELLS = 1 << 20
"""Tokens of a padded batch at most (8 bytes each)."""

_LOCK = threading.Lock()
"""Held while a tokenizer is loaded: it takes most of a core."""


class Tokenizer:
    """The tokenizer in a GGUF file or model folder; it cuts what is longer than ``context`` tokens, so longer texts go
    to it in parts. Loaded on first use."""

    def __init__(self, path: Path, context: int) -> None:
        self._path, self._context = path, context
        self._inner: Any = None

    @property
    def inner(self) -> Any:
        with _LOCK:
            if self._inner is None:
                self._inner = require("openvino_genai", "embedded", "the embedded engine").Tokenizer(self._path)
            return self._inner

    def encode(self, text: str) -> list[int]:
        """Tokens of text as the tokenizer reads it (spelled control tokens become control tokens)."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The same of many texts; one that comes again is computed once. Takes time in proportion to their length."""
        found: dict[str, list[int]] = {"": []}
        for batch in self._batches(sorted({text for text in texts if text}, key=len)):
            clean = [text.encode("utf-8", "replace").decode() for text in batch]  # half surrogates have no tokens
            encoded = self.inner.encode(clean, add_special_tokens=False)
            masks = encoded.attention_mask.data.astype(bool)
            for text, row, mask in zip(batch, encoded.input_ids.data, masks, strict=True):
                found[text] = row[mask].tolist()
        for text in [text for text, ids in found.items() if len(ids) >= self._context]:
            found[text] = [token for part in self.encode_all(_parts(text, self._context // 4)) for token in part]
        return [found[text] for text in texts]

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        for text in texts:  # in order of length, so that little is padded
            most = min(len(text.encode("utf-8", "replace")), self._context)
            if batch and (len(batch) == PIECES or (len(batch) + 1) * most > CELLS):
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch


def _parts(text: str, size: int) -> list[str]:
    """The text in parts of at most ``size`` characters (so of at most four times as many tokens), cut before single
    spaces where there are any: there a tokenizer cuts as well."""
    out, at = [], 0
    while at < len(text):
        end = min(at + size, len(text))
        if end < len(text) and (spaces := [m.start() for m in re.finditer(r"(?<=\S) (?=\S)", text[at : end + 1])]):
            end = at + spaces[-1]
        out.append(text[at:end])
        at = end
    return out
