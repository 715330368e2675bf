"""Words as vectors, one method a file: prediction (word2vec), counts (GloVe), parts of words (fastText); two languages,
one space."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ids = NDArray[np.int64]
