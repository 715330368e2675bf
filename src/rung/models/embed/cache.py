"""Vectors kept on disk by content: the same text under the same embedder is not computed again.

One SQLite file in the cache folder, shared by all embedders and processes. A row's key is the hash of the embedder's
fingerprint and the text; a row carries a checksum. It is a cache: when the disk is full, the file is locked for long or
is damaged, that is said once and embedding goes on without it.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.protocols import Embedder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("rung.models")

FILE = "vectors-1.db"
ASK = 500
"""Keys of one query: SQLite's older limit is 999."""
STALE = 3600.0
"""Seconds after which a hit counts as a new use: to write at every look-up would cost more than the look-up."""


class CachedEmbedder:
    """An embedder whose vectors are kept. ``hits`` and ``misses`` count texts since it was opened.

    ``limit`` is in bytes: when the file grows over it, the rows that were used longest ago go, a quarter at a time.
    """

    def __init__(self, inner: Embedder, folder: Path, limit: int) -> None:
        self.inner = inner
        self.path = folder / FILE
        self.limit = limit
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._off = False

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def dimensions(self) -> int:
        return self.inner.dimensions

    def __repr__(self) -> str:
        return f"<CachedEmbedder {self.name}: {self.hits} hits, {self.misses} misses>"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the inner embedder's. Texts that come twice in one call are computed once."""
        import numpy as np

        if not texts:
            return self.inner.embed(texts)
        salt = self.fingerprint.encode()
        keys = [
            hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=_key(salt)) for text in texts
        ]
        wanted: dict[bytes, str] = {key.digest(): text for key, text in zip(keys, texts, strict=True)}
        with self._lock:
            found = self._look(list(wanted))
        missing = [key for key in wanted if key not in found]
        if missing:
            rows = self.inner.embed([wanted[key] for key in missing])
            found.update(zip(missing, rows, strict=True))
            with self._lock:
                self._keep(missing, rows)
        absent = set(missing)
        computed = sum(key.digest() in absent for key in keys)
        self.misses += computed
        self.hits += len(texts) - computed
        logger.debug("%s: %d of %d vectors were kept", self.name, len(texts) - computed, len(texts))
        return np.stack([found[key.digest()] for key in keys])

    def _look(self, keys: list[bytes]) -> dict[bytes, NDArray[np.float32]]:
        import numpy as np

        found: dict[bytes, NDArray[np.float32]] = {}
        now = time.time()
        stale = []
        with self._database(write=False) as database:
            for start in range(0, len(keys), ASK):
                if database is None:
                    break
                some = keys[start : start + ASK]
                marks = ",".join("?" * len(some))
                rows = database.execute(f"SELECT key, vector, crc, used FROM vectors WHERE key IN ({marks})", some)  # noqa: S608
                for key, blob, crc, used in rows:
                    if zlib.crc32(blob) == crc:
                        found[key] = np.frombuffer(blob, np.float32)
                        if now - used > STALE:
                            stale.append((now, key))
        if stale:
            with self._database(write=True) as database:
                if database is not None:
                    database.executemany("UPDATE vectors SET used = ? WHERE key = ?", stale)
        return found

    def _keep(self, keys: list[bytes], rows: NDArray[np.float32]) -> None:
        now = time.time()
        with self._database(write=True) as database:
            if database is None:
                return
            blobs = [row.tobytes() for row in rows]
            database.executemany(
                "INSERT OR REPLACE INTO vectors (key, vector, crc, used) VALUES (?, ?, ?, ?)",
                [(key, blob, zlib.crc32(blob), now) for key, blob in zip(keys, blobs, strict=True)],
            )
            pages, free, size = (
                database.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            while (pages - free) * size > self.limit:
                count = database.execute("SELECT count(*) FROM vectors").fetchone()[0]
                if count == 0:
                    break
                database.execute(
                    "DELETE FROM vectors WHERE key IN (SELECT key FROM vectors ORDER BY used LIMIT ?)",
                    (count // 4 + 1,),
                )
                free = database.execute("PRAGMA freelist_count").fetchone()[0]

    @contextmanager
    def _database(self, *, write: bool) -> Iterator[sqlite3.Connection | None]:
        """A connection in one transaction, or None where the cache cannot be used. Its errors end here."""
        if self._off:
            yield None
            return
        database: sqlite3.Connection | None = None
        entered = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL, "
                "used REAL NOT NULL) WITHOUT ROWID"
            )
            database.execute("CREATE INDEX IF NOT EXISTS vectors_used ON vectors (used)")
            database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            entered = True
            yield database
            database.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._off = True
            logger.warning(
                "embeddings are not kept: %s: %s (delete %s if it is damaged)", type(error).__name__, error, self.path
            )
            if not entered:
                yield None
        finally:
            if database is not None:
                database.close()


def _key(salt: bytes) -> bytes:
    return hashlib.blake2b(salt, digest_size=16).digest()
