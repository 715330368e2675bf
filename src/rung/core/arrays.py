"""Arrays in a file (``.npz``)."""

from __future__ import annotations

import zlib
from pathlib import Path
from struct import error as StructError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file, read whole, so that damage is found here and not at the first use.

    Raises OSError when the file is not there or cannot be read, ValueError when it is not what was written.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            # Reading a member whole checks its CRC-32, which the zip format keeps.
            return {name: stored[name] for name in stored.files}
    except (BadZipFile, EOFError, KeyError, TypeError, AttributeError, RuntimeError, StructError, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error
