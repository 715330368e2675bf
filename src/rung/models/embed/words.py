"""Word vectors from a file, averaged: word2vec (text and binary), GloVe, fastText's ``.vec``; plain or gzipped.

``words:FILE``, ``words:glove`` (GloVe 6B, 50 dimensions, pulled by name). ``pooling=mean`` or ``sif``; ``limit=N``
reads the first N words (such files begin with the most frequent). A text's words are runs of letters and digits, looked
up as they are written and then in lower case; unknown words do not count.

SIF's word probabilities and common direction are a corpus's: ``fitted=FILE.npz`` (written by ``fit_embedder`` or
``rung vectors fit``). Without it a word of rank r in the file gets the probability that Zipf's law gives it,
1 / (r * H), and nothing is taken away.

``subwords:FILE.npz``: fastText vectors that were trained here (``rung lab words fasttext --to FOLDER``); a word that
was never seen gets the mean of its known pieces.
"""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.system.files import atomic_write
from rung.foundations.text.words import words as words_of
from rung.foundations.words.fasttext import FastText
from rung.models import hub
from rung.models.embed import Spec, unit
from rung.models.embed.pooling import Sif, fit_sif

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORD = re.compile(r"\w+(?:['’]\w+)?")
FASTTEXT = 793712314
"""The first four bytes of a fastText binary model, as a little-endian integer."""


class WordsEmbedder:
    """The mean (plain or SIF) of a text's word vectors, scaled to unit length. ``words`` in the file's order, ``table``
    of shape (words, dimensions) as in the file."""

    closed = True

    def __init__(
        self, name: str, words: Sequence[str], table: NDArray[np.float32], *, sif: Sif | None = None, salt: str = ""
    ) -> None:
        self.name = name
        self.words = words
        self.table = table
        self.dimensions = int(table.shape[1])
        self.fingerprint = digest(["words", salt])
        self._rows = {word: row for row, word in reversed(list(enumerate(words)))}  # of twins the first counts
        self._sif = sif
        self._weights: NDArray[np.float32] | None = None if sif is None else sif.weights(words)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows of unit length. A text without known words gets the
        vector of equal components."""
        rows = self._sums(texts, self._weights)
        return unit(rows if self._sif is None else self._sif.remove(rows).astype(rows.dtype))

    def tokens(self, text: str) -> list[str]:
        """The known words of a text, as they are spelled in the file."""
        return [self.words[row] for row in self._find(text)]

    def vocabulary(self) -> tuple[list[str], NDArray[np.float32]]:
        """Every word, and unit vectors of shape (words, dimensions)."""
        import numpy as np

        return list(self.words), unit(np.array(self.table, np.float32))

    def fit(self, texts: Sequence[str]) -> Sif:
        """What SIF must know of a corpus of such texts."""
        return fit_sif(texts, self.tokens, lambda sif: self._sums(texts, sif.weights(self.words)))

    def _find(self, text: str) -> list[int]:
        found = (self._rows.get(word, self._rows.get(word.lower())) for word in _WORD.findall(text))
        return [row for row in found if row is not None]

    def _sums(self, texts: Sequence[str], weights: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Means of the (weighted) word vectors, shape (len(texts), dimensions); zero for no known word."""
        import numpy as np
        from scipy.sparse import csr_matrix

        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        lists = [self._find(text) for text in texts]
        ends = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(item) for item in lists], out=ends[1:])
        used, ids = np.unique(np.fromiter(chain.from_iterable(lists), np.int64), return_inverse=True)
        scale = np.ones(len(ids), np.float32) if weights is None else weights[used][ids]
        counts = np.maximum(np.diff(ends), 1)
        scale = np.divide(scale, np.repeat(counts, np.diff(ends)), dtype=np.float32)
        table = np.asarray(self.table[used], np.float32)
        # Of a file on disk only the rows that occur are read; a text's sum goes by its own words' order, whatever is
        # beside.
        return np.asarray(csr_matrix((scale, ids, ends), shape=(len(lists), len(used))) @ table, np.float32)


def zipf(words: Sequence[str]) -> Sif:
    """Probabilities of words that stand in the order of their frequency, by Zipf's law."""
    import math

    total = math.log(max(len(words), 1)) + 0.5772
    return Sif({word: 1 / (rank * total) for rank, word in reversed(list(enumerate(words, 1)))})


# ---------------------------------------------------------------- files


def read(path: Path, limit: int = 0) -> tuple[list[str], NDArray[np.float32]]:
    """Words and vectors of a file, shape (words, dimensions); of ``limit`` > 0 the first so many.

    Raises InputError, with the line where there is one, for a file that is none of the formats.
    """
    import numpy as np

    try:
        with path.open("rb") as plain:
            start = plain.read(4)
        stream: IO[bytes]
        with gzip.open(path) if start[:2] == b"\x1f\x8b" else path.open("rb") as stream:  # type: ignore[assignment]
            head = stream.readline(1 << 20)
            if int.from_bytes(head[:4], "little") == FASTTEXT:
                raise InputError(
                    "this is a fastText model; its word vectors are wanted",
                    file=path,
                    remedy="give the .vec file beside it",
                )
            sizes = head.split()
            if len(sizes) == 2 and all(size.isdigit() for size in sizes):
                count, width = int(sizes[0]), int(sizes[1])
                ahead = stream.peek(1 << 16)[: 1 << 16]  # type: ignore[attr-defined]
                count = min(count, limit) if limit else count
                if _binary(ahead, width):
                    return _read_binary(stream, path, count, width)
                return _read_text(stream, path, limit, width, 2)
            return _read_text(chain([head], stream), path, limit, len(sizes) - 1, 1)
    except OSError as error:
        raise InputError(f"cannot read word vectors: {error}", file=path, remedy="correct the path") from None
    except (EOFError, np.exceptions.DTypePromotionError) as error:
        raise InputError(f"the file is cut off: {error}", file=path, remedy="fetch it again") from None


def _binary(ahead: bytes, width: int) -> bool:
    """Whether what follows the header is word2vec's binary format: a word, a space, then ``width`` floats as bytes."""
    line = ahead.partition(b"\n")[0].split(b" ")
    try:
        values = [float(value) for value in line[1 : width + 1]]
    except ValueError:
        return True
    return len(values) < width


def _read_binary(stream: IO[bytes], path: Path, count: int, width: int) -> tuple[list[str], NDArray[np.float32]]:
    import numpy as np

    words: list[str] = []
    table = np.empty((count, width), np.float32)
    held, at = b"", 0
    for row in range(count):
        while (space := held.find(b" ", at)) < 0 or len(held) < space + 1 + 4 * width:
            block = stream.read(1 << 20)
            if not block:
                raise InputError(f"the file ends after {row:,} of {count:,} words", file=path, remedy="fetch it again")
            held, at = held[at:] + block, 0
        words.append(held[at:space].lstrip(b"\n").decode("utf-8", "replace"))
        at = space + 1 + 4 * width
        table[row] = np.frombuffer(held, "<f4", width, space + 1)
    return words, table


def _read_text(
    lines: Iterator[bytes] | IO[bytes], path: Path, limit: int, width: int, first: int
) -> tuple[list[str], NDArray[np.float32]]:
    import numpy as np

    words: list[str] = []
    rows: list[NDArray[np.float32]] = []
    if width < 1:
        raise InputError(
            "no vectors: a line is a word and its numbers", file=path, line=first, remedy="correct the file"
        )
    for number, line in enumerate(lines, first):
        if limit and len(words) >= limit:
            break
        parts = line.rstrip().rsplit(b" ", width)
        if len(parts) == 1 and not parts[0]:
            continue
        try:
            row = np.array(parts[1:], dtype=np.bytes_).astype(np.float32)
        except ValueError:
            row = np.empty(0, np.float32)
        if len(row) != width or not np.isfinite(row).all():
            raise InputError(f"expected a word and {width} numbers", file=path, line=number, remedy="correct the line")
        words.append(parts[0].decode("utf-8", "replace"))
        rows.append(row)
    if not words:
        raise InputError("the file holds no word vectors", file=path, remedy="name another file")
    return words, np.stack(rows)


def _load(path: Path, limit: int, cache: Path) -> tuple[list[str], NDArray[np.float32]]:
    """``read``, kept in the cache as an array that is mapped, since text takes seconds to read."""
    import numpy as np

    stem = cache / "words" / digest([file_hash(path), limit, 1])
    table, words = stem.with_suffix(".npy"), stem.with_suffix(".txt")
    if not table.is_file():
        found = read(path, limit)
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(words, durable=False) as staging:
                staging.write_text("\n".join(found[0]), encoding="utf-8")
            # Last: what is there is whole.
            with atomic_write(table, durable=False) as staging, staging.open("wb") as stream:
                np.save(stream, found[1])
        except OSError:
            return found
    listed = words.read_text(encoding="utf-8").split("\n")
    return listed, np.load(table, mmap_mode="r", allow_pickle=False)


def _glove(folder: Path, limit: int) -> tuple[list[str], NDArray[np.float32]]:
    import numpy as np

    vectors, index = hub.CATALOGUE["glove"].members
    words = require("pyarrow.parquet", "data", "the embedder words:glove").read_table(folder / index.file)["index"]
    table = np.load(folder / vectors.file, mmap_mode="r", allow_pickle=False)
    listed = [str(word) for word in words.to_pylist()]
    return (listed[:limit], table[:limit]) if limit else (listed, table)


def open_words(spec: Spec, settings: Settings) -> WordsEmbedder:
    """``words:FILE`` or ``words:glove``. Raises InputError for a file that cannot be read, FetchError for GloVe
    unpulled."""
    import numpy as np

    options = spec.read({"pooling": "mean", "limit": 0, "fitted": ""})
    pooling = spec.choose("pooling", options["pooling"], ("mean", "sif"))
    if not spec.argument:
        raise InputError(
            f"got {spec.name!r}, expected words:FILE", remedy="name a word2vec, GloVe or fastText .vec file"
        )
    if spec.argument == "glove":
        words, table = _glove(hub.locate("glove", settings.cache), options["limit"])
        salt = hub.CATALOGUE["glove"].sha256
    else:
        path = Path(spec.argument).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {path}", remedy="correct the path, or write words:glove")
        words, table = _load(path, options["limit"], settings.cache)
        salt = file_hash(path)
    sif = None
    if pooling == "sif":
        fitted = Path(options["fitted"]).expanduser() if options["fitted"] else None
        sif = Sif.load(fitted) if fitted is not None else zipf(words)
        salt += file_hash(fitted) if fitted is not None else "zipf"
        if sif.direction is not None and len(sif.direction) != table.shape[1]:
            raise InputError(
                f"what was fitted has {len(sif.direction)} dimensions, the vectors have {table.shape[1]}",
                file=fitted,
                remedy="fit it with these vectors",
            )
    elif options["fitted"]:
        raise InputError(f"got {spec.name!r}: fitted= belongs to pooling=sif", remedy="add pooling=sif")
    salt = digest([salt, options["limit"], pooling])
    return WordsEmbedder(spec.name, words, np.asanyarray(table), sif=sif, salt=salt)


# ---------------------------------------------------------------- parts of words


class SubwordsEmbedder:
    """The mean of a text's word vectors, each of unit length, scaled to unit length."""

    closed = False

    def __init__(self, name: str, model: FastText, fingerprint: str) -> None:
        self.name, self._model, self.fingerprint = name, model, fingerprint
        self.dimensions = int(model.rows.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows of unit length. A text without a known piece gets
        the vector of equal components."""
        import numpy as np

        lists = [words_of(text) for text in texts]
        known = {word: at for at, word in enumerate(dict.fromkeys(word for words in lists for word in words))}
        vectors = self._model.vectors(list(known))
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, words in enumerate(lists):
            if words:
                rows[row] = vectors[[known[word] for word in words]].mean(0)
        return unit(rows)

    def vocabulary(self) -> tuple[list[str], NDArray[np.float32]]:
        """The words that were seen, and unit vectors of shape (words, dimensions)."""
        return list(self._model.words), unit(self._model.vectors(self._model.words))


def open_subwords(spec: Spec, settings: Settings) -> SubwordsEmbedder:
    """``subwords:FILE.npz``. Raises InputError for a file that is not there or is something else."""
    spec.read({})
    path = Path(spec.argument).expanduser()
    if not spec.argument or not path.is_file():
        raise InputError(
            f"got {spec.name!r}, expected subwords:FILE.npz", remedy="train it: rung lab words fasttext --to FOLDER"
        )
    return SubwordsEmbedder(spec.name, FastText.load(path), digest(["subwords", file_hash(path)]))
