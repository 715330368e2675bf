"""Arrays in a file (``.npz``)."""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from struct import error as StructError
from typing import IO, TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

BYTES = 1 << 28
"""Bytes that a file may unpack to whatever its size."""
RATIO = 20
"""Times its own size that a larger one may unpack to: ours are not compressed, a bomb unpacks to a thousand times."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file, read whole, so that damage is found here and not at the first use.

    What it says that it holds is compared with what it can hold before anything is unpacked or any memory is asked for.
    Raises OSError when the file is not there or cannot be read, ValueError when it is not what was written.
    """
    try:
        with ZipFile(path) as archive:
            parts = [part for part in archive.infolist() if part.filename.endswith(".npy")]
            size, most = sum(part.file_size for part in parts), max(BYTES, RATIO * path.stat().st_size)
            if size > most:
                raise ValueError(f"it unpacks to {size:,} bytes, at most {most:,} are read")
            found = {}
            for part in parts:
                # A member read whole is compared with its CRC-32, which the zip format keeps.
                with archive.open(part) as stream:
                    found[part.filename.removesuffix(".npy")] = _array(stream, part.file_size)
            return found
    except (BadZipFile, EOFError, KeyError, TypeError, AttributeError, RuntimeError, StructError, zlib.error,
            NotImplementedError, OverflowError, MemoryError, RecursionError, SyntaxError, ValueError) as error:  # fmt: skip
        raise ValueError(f"{path.name} is damaged: {str(error)[:200] or type(error).__name__}") from error


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """One array; its shape is compared with the bytes that there are."""
    from tokenize import TokenError

    from numpy.lib import format as npy

    head = io.BytesIO(stream.read(min(size, 1 << 16)))
    version = npy.read_magic(head)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"arrays of version {version} are not read")
    read_head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, _, kind = read_head(head)
    except TokenError as error:  # what numpy's reader of heads says of some from Python 3.12 on
        raise ValueError(error.args[0]) from error
    if math.prod(shape) * kind.itemsize != size - head.tell():
        raise ValueError(f"an array of shape {shape} does not fit in {size:,} bytes")
    stream.seek(0)
    array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return array
