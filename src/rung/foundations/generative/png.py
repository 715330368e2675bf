"""Pictures as PNG files (RFC 2083): a signature, the size, the rows deflated, an end, each with its checksum."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of grey pixels (height, width) or coloured ones (height, width, 3), 8 bits each. Raises InputError for
    another shape."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise InputError(
            f"got pixels of shape {' x '.join(map(str, pixels.shape))} and type {pixels.dtype}",
            remedy="give uint8 of height x width, or height x width x 3",
            code="shape",
        )
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], 1)  # a row begins with its filter: 0 is none
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def sheet(pictures: NDArray[Any], columns: int = 10, zoom: int = 6) -> NDArray[np.uint8]:
    """Grey pictures (n, height, width, 1) from 0 to 1 side by side, each pixel as ``zoom`` x ``zoom``, a dark line
    between them."""
    n, height, width = pictures.shape[:3]
    rows = -(-n // columns)
    out = np.zeros((rows, height + 1, columns, width + 1), np.uint8)
    grey = np.clip(np.rint(pictures[..., 0] * 255), 0, 255).astype(np.uint8)
    for at in range(n):
        out[at // columns, :height, at % columns, :width] = grey[at]
    whole = out.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]
    return whole.repeat(zoom, 0).repeat(zoom, 1)


def curves(rows: NDArray[Any], columns: int = 6, size: tuple[int, int] = (60, 120)) -> NDArray[np.uint8]:
    """Series (n, steps) drawn as lines, each in a box of ``size`` (height, width) that its least and largest value
    fill."""
    height, width = size
    pictures = np.zeros((len(rows), height, width, 1))
    for at, row in enumerate(rows):
        span = float(np.ptp(row)) or 1.0
        ys = np.interp(np.linspace(0, len(row) - 1, width), np.arange(len(row)), (row.max() - row) / span) * (
            height - 1
        )
        tops = np.minimum(ys, np.append(ys[1:], ys[-1])).round().astype(int)
        ends = np.maximum(ys, np.append(ys[1:], ys[-1])).round().astype(int)
        for x, (top, end) in enumerate(zip(tops, ends, strict=True)):
            pictures[at, top : end + 1, x] = 1
    return sheet(pictures, columns, 1)
