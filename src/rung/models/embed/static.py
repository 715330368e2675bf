"""Text to vectors without a language model: static word vectors, averaged.

The vectors are WordLlama's (256 dimensions, token embeddings of a large model reduced and trained for similarity),
whose two files come out of its wheel (see hub.py); its own code is not needed.

Most of the time went to the tokenizer, and texts repeat their words. So the tokens of words, and of the letters-only
and other pieces that unknown words are made of, are remembered. That changes no result: no token of this vocabulary has
a space after another character, or a line break at all, so byte-pair merges never cross the place before a space or a
line break, and a text's tokens are its words' tokens.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.models import hub
from rung.models.embed import Spec, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 512
WORDS = 1 << 18
"""Words that are remembered at most, but for those of one batch. When they are too many, all are forgotten: to count
their uses would cost more than to learn them anew."""
FEW = 8
"""Texts that are not worth loading what only many need: a process that asks one question should not wait for it."""
CHARACTERS = 1 << 23
"""Characters of remembered words at most."""

SPACE = "▁"
_WORDS = re.compile(r" +[^ \n]*|\n[^ \n]*")
_PIECES = re.compile(rf"{SPACE}*(?:[a-zA-Z]+|[0-9\n]|[^a-zA-Z0-9\n{SPACE}]+)|{SPACE}+")
SPECIAL = ("<s>", "</s>", "<unk>")
_SPECIAL = re.compile(r"(</?s>|<unk>)")
TOGETHER = 64
"""Pieces that are tokenised as one text, a line each, which takes half as long as each alone."""


class _Runs(dict[str, int]):
    """Texts to consecutive numbers, each with a run of token ids. A new text gets the next number, is noted in
    ``fresh``, and its ids are to be added before the next are asked for. ``size`` is the texts' characters."""

    def __init__(self) -> None:
        self.fresh: list[str] = []
        self.forget()

    def __missing__(self, text: str) -> int:
        self[text] = number = len(self)
        self.fresh.append(text)
        self.size += len(text)
        return number

    def forget(self) -> None:
        import numpy as np

        self.clear()
        self.fresh.clear()
        self.size = self._runs = self._ids = 0
        self._start, self._flat = np.zeros(1024, np.int64), np.zeros(4096, np.int32)

    def numbers(self, texts: Iterable[str]) -> NDArray[np.int64]:
        import numpy as np

        return np.fromiter(map(self.__getitem__, texts), np.int64)

    def add(self, ids: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
        """The runs of the fresh texts, one after another, and how long each is."""
        import numpy as np

        self._start = _room(self._start, self._runs + len(counts) + 1)
        self._flat = _room(self._flat, self._ids + len(ids))
        self._start[self._runs + 1 : self._runs + len(counts) + 1] = self._ids + np.cumsum(counts)
        self._flat[self._ids : self._ids + len(ids)] = ids
        self._runs += len(counts)
        self._ids += len(ids)
        self.fresh.clear()

    def take(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The runs of those numbers, one after another, and where each begins, with the end of the last."""
        import numpy as np

        first = self._start[numbers]
        counts = self._start[numbers + 1] - first
        past = np.zeros(len(numbers) + 1, np.int64)
        np.cumsum(counts, out=past[1:])
        return self._flat[np.repeat(first - past[:-1], counts) + np.arange(past[-1])], past


def _room(array: NDArray[Any], size: int) -> NDArray[Any]:
    """The array, or a copy of twice the length where it is too short."""
    import numpy as np

    return array if size <= len(array) else np.concatenate([array, np.zeros(max(size, 2 * len(array)), array.dtype)])


class StaticEmbedder:
    """Mean of the static vectors of a text's tokens, scaled to unit length. ``folder`` holds the two files."""

    name = "static"
    dimensions = 256

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer: Any = None
        self._bare: Any = None
        self._lock = threading.Lock()
        self._words = _Runs()
        self._pieces = _Runs()

    @property
    def fingerprint(self) -> str:
        return hub.CATALOGUE["static"].members[0].sha256[:32]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), 256), float32, rows of unit length. A text without tokens gets the vector of
        equal components, so that no row is zero or NaN."""
        import numpy as np

        out = np.empty((len(texts), self.dimensions), np.float32)
        with self._lock:
            if self._tokenizer is None:
                self._load()
            if self._bare is None:
                if len(texts) <= FEW:
                    return unit(self._each(texts))
                self._grow()
            for start in range(0, len(texts), BATCH):
                out[start : start + BATCH] = self._sums(texts[start : start + BATCH])
        return unit(out)

    def tokens(self, text: str) -> list[int]:
        """The text's token ids, as the tokenizer gives them."""
        with self._lock:
            if self._tokenizer is None:
                self._load()
            return list(self._tokenizer.encode(_clean(text), add_special_tokens=False).ids)

    closed = False

    def vocabulary(self) -> tuple[list[str], NDArray[np.float32]]:
        """The words that are one token (letters only, after a space), and their unit vectors of shape (words, 256)."""
        with self._lock:
            if self._tokenizer is None:
                self._load()
        known = self._tokenizer.get_vocab()
        words = sorted(token[1:] for token in known if token.startswith(SPACE) and token[1:].isalpha())
        return words, unit(self._stored[[known[SPACE + word] for word in words]].astype("float32"))

    def _each(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same sums as ``_sums``, added in the same order, text by text."""
        import numpy as np

        out = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(out, texts, strict=True):
            ids = self._tokenizer.encode(_clean(text), add_special_tokens=False).ids
            if ids:
                self._stored[ids].astype(np.float32).sum(axis=0, out=row)
        return out

    def _sums(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The sums of the texts' token vectors, shape (len(texts), 256)."""
        import numpy as np
        from scipy.sparse import csr_matrix

        if len(self._words) > WORDS or self._words.size > CHARACTERS:
            self._words.forget()
        lists = [split(text) for text in texts]
        numbers = self._words.numbers(chain.from_iterable(lists))
        if self._words.fresh:
            self._words.add(*self._learn(self._words.fresh))
        ids, past = self._words.take(numbers)
        ends = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(words) for words in lists], out=ends[1:])
        ends = past[ends]
        if past[-1] < 1 << 31:
            ends = ends.astype(np.int32)
        shape = (len(lists), len(self._table))
        return np.asarray(csr_matrix((np.ones(len(ids), np.float32), ids, ends), shape=shape) @ self._table)

    def _learn(self, words: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The token ids of words, one after another, and how many each has."""
        import numpy as np

        if len(self._pieces) > WORDS or self._pieces.size > CHARACTERS:
            self._pieces.forget()
        parts = [self._cut(word) for word in words]
        numbers = self._pieces.numbers(chain.from_iterable(parts))
        if self._pieces.fresh:
            self._pieces.add(*self._encode(self._pieces.fresh))
        ids, past = self._pieces.take(numbers)
        ends = np.cumsum([len(part) for part in parts])
        return ids, np.diff(past[ends], prepend=0)

    def _encode(self, pieces: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The same of pieces, by the tokenizer. They go to it as lines, many in one text: a line break is a token of
        its own."""
        import numpy as np

        if any("\n" in piece for piece in pieces):
            each = [item.ids for item in self._bare.encode_batch_fast(pieces, add_special_tokens=False)]
            flat = np.fromiter(chain.from_iterable(each), np.int32)
            return flat, np.array([len(ids) for ids in each], np.int64)
        texts = ["\n".join([*pieces[at : at + TOGETHER], ""]) for at in range(0, len(pieces), TOGETHER)]
        found = self._bare.encode_batch_fast(texts, add_special_tokens=False)
        flat = np.fromiter(chain.from_iterable(item.ids for item in found), np.int32)
        breaks = np.flatnonzero(flat == self._break)
        return np.delete(flat, breaks), np.diff(breaks, prepend=-1) - 1

    def _cut(self, word: str) -> list[str]:
        """A word as the tokenizer spells it; if it is all ASCII, cut between letters, digits and other characters: no
        token has two of these, and none has two digits. A line break is a piece of its own."""
        if word.isalpha() and word.isascii():
            return [SPACE + word]
        if word in SPECIAL:
            return [word]
        spelled = f"{SPACE}{word}" if word[:1] != "\n" else word
        if not word.isascii():
            return [part for part in re.split(r"(\n)", _clean(spelled).replace(" ", SPACE)) if part]
        return _PIECES.findall(spelled.replace(" ", SPACE) if " " in spelled else spelled)

    def _load(self) -> None:
        """What every text needs: the tokenizer, and the table as it is stored."""
        why = "the static embedder"
        weights, config = hub.CATALOGUE["static"].members
        tokenizer = require("tokenizers", "embedded", why).Tokenizer.from_file(str(self._folder / config.file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        load = require("safetensors.numpy", "embedded", why).load_file
        self._stored = load(self._folder / weights.file)["embedding.weight"]
        self._tokenizer = tokenizer

    def _grow(self) -> None:
        """What many texts need: the table as float32, and a tokenizer of pieces of words."""
        import numpy as np

        make = require("tokenizers", "embedded", "the static embedder").Tokenizer
        # The same model without the step that puts a space before a text and writes spaces as ▁: words bring theirs.
        bare = make(self._tokenizer.model)
        bare.add_special_tokens(list(SPECIAL))
        bare.no_padding()
        bare.no_truncation()
        self._table = np.ascontiguousarray(self._stored, np.float32)
        self._break = int(bare.token_to_id("<0x0A>"))
        self._bare = bare


def split(text: str) -> list[str]:
    """A text's words: their tokens, one word after another, are the text's.

    A word is what follows a space (the text counts as following one), and may begin with more spaces; one that begins
    with a line break follows none. The name of a special token is a word: the tokenizer looks for those first, and
    takes what is between them for texts.
    """
    if not text:
        return []
    if not text.isascii():
        text = text.replace(SPACE, " ")  # what the tokenizer makes of a space
    if "<" in text and _SPECIAL.search(text):
        parts = _SPECIAL.split(text)
        return [word for part in parts for word in ([part] if part in SPECIAL else split(part))]
    if "\n" in text or "  " in text or text[0] == " " or text[-1] == " ":
        return [piece[1:] if piece[0] == " " else piece for piece in _WORDS.findall(f" {text}")]
    return text.split(" ")


def _clean(text: str) -> str:
    """Lone surrogates become question marks: the tokenizer takes none."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def open_static(spec: Spec, settings: Settings) -> StaticEmbedder:
    """``static``: the embedder over the pulled vectors. Raises FetchError when they are not there."""
    if spec.argument:
        from rung.core.errors import InputError

        raise InputError(f"got {spec.name!r}: static takes no argument", remedy="write static")
    spec.read({})
    return StaticEmbedder(hub.locate("static", settings.cache))
