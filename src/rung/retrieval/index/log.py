"""An append-only file of changes: what was synced is there after a crash, a torn end is cut off, nothing in between.

A record is a header (magic, operation, lengths, CRC-32 of header and body) and a body: JSON of ids and metadata, then the
vectors as little-endian float32.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER = struct.Struct("<4sBIQQI")
_MAGIC = b"rung"
_OPERATIONS: tuple[Operation, ...] = ("add", "upsert", "delete")
Operation = Literal["add", "upsert", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    operation: Operation
    ids: Sequence[str]
    vectors: NDArray[np.float32] | None = None
    metadata: Sequence[Mapping[str, Any]] | None = None


def pack(change: Change) -> bytes:
    head = json.dumps([list(change.ids), change.metadata], ensure_ascii=True, separators=(",", ":")).encode()
    tail = b"" if change.vectors is None else change.vectors.astype("<f4", copy=False).tobytes()
    front = (_MAGIC, _OPERATIONS.index(change.operation), len(change.ids), len(head), len(tail))
    check = zlib.crc32(tail, zlib.crc32(head, zlib.crc32(repr(front).encode())))
    return _HEADER.pack(*front, check) + head + tail


def read(path: Path, dimensions: int) -> Iterator[tuple[Change, int]]:
    """Each whole change and the offset where it ends; stops at the first that is torn. No file: nothing."""
    import numpy as np

    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        size = os.fstat(stream.fileno()).st_size
        while True:
            raw = stream.read(_HEADER.size)
            if len(raw) < _HEADER.size:
                return
            *front, check = _HEADER.unpack(raw)
            magic, operation, count, head_size, tail_size = front
            if magic != _MAGIC or operation >= len(_OPERATIONS) or stream.tell() + head_size + tail_size > size:
                return
            head, tail = stream.read(head_size), stream.read(tail_size)
            if zlib.crc32(tail, zlib.crc32(head, zlib.crc32(repr(tuple(front)).encode()))) != check:
                return
            ids, metadata = json.loads(head)
            vectors = np.frombuffer(tail, "<f4").reshape(count, dimensions).astype(np.float32) if tail else None
            yield Change(_OPERATIONS[operation], ids, vectors, metadata), stream.tell()


class Log:
    """The open end of a log. Opened at ``size``: what lies after it was never acknowledged and is cut off."""

    def __init__(self, path: Path, size: int) -> None:
        self._stream: IO[bytes] = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._stream.truncate(size)
        self._stream.seek(size)
        self.size = size
        self._synced = True

    def append(self, change: Change) -> None:
        """Raises OSError when it could not be written whole; then the log is as it was."""
        data = memoryview(pack(change))
        try:
            written = 0
            while written < len(data):
                written += self._stream.write(data[written:])
        except OSError:
            self._stream.truncate(self.size)
            self._stream.seek(self.size)
            raise
        self.size += len(data)
        self._synced = False

    def sync(self) -> None:
        if not self._synced:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._stream.fileno())
            self._synced = True

    def close(self) -> None:
        self._stream.close()
