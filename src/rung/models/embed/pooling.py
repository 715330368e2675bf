"""From one vector a token to one vector a text.

``mean`` and ``max`` over the tokens; ``cls``: the first token's; ``last``: the last one's; ``sif``: smooth inverse
frequency (Arora, Liang and Ma 2017): the mean with weights a / (a + p(token)), less its part along the common direction
of a corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.core.system.arrays import read_arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("mean", "max", "cls", "last", "sif")
A = 1e-3
"""SIF's a; its authors find 1e-3 to 1e-4 good."""


@dataclass(frozen=True)
class Sif:
    """What SIF knows of a corpus: the probability of each token (by its spelling), and the common direction, of unit
    length (None: nothing is taken away)."""

    chances: dict[str, float]
    direction: NDArray[np.float32] | None = None

    def weights(self, tokens: Sequence[str]) -> NDArray[np.float32]:
        """a / (a + p) of each token; an unseen one has p = 0."""
        import numpy as np

        return np.array([A / (A + self.chances.get(token, 0.0)) for token in tokens], np.float32)

    def remove(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of shape (n, dimensions) less their part along the common direction."""
        if self.direction is None:
            return rows
        along: NDArray[np.float32] = (rows * self.direction).sum(axis=1, keepdims=True)
        return rows - along * self.direction

    def save(self, path: Path) -> None:
        """Write it as an ``.npz`` without pickles, in one step."""
        import numpy as np

        from rung.foundations.text.tfidf import save_arrays

        tokens = sorted(self.chances)
        direction = np.zeros(0, np.float32) if self.direction is None else self.direction
        save_arrays(
            path,
            {
                "tokens": np.frombuffer("\n".join(tokens).encode("utf-8", "replace"), np.uint8),
                "chances": np.array([self.chances[token] for token in tokens]),
                "direction": direction,
            },
        )

    @classmethod
    def load(cls, path: Path) -> Sif:
        """Raises InputError when the file is not what ``save`` writes."""
        import numpy as np

        try:
            file = read_arrays(path)
            tokens, direction = file["tokens"].tobytes().decode().split("\n"), file["direction"].astype(np.float32)
            chances = dict(zip(tokens, file["chances"].tolist(), strict=True))
            return cls(chances, direction if len(direction) else None)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"cannot read what was fitted for SIF: {error}", file=path, remedy="fit it again: rung vectors fit"
            ) from None


def pool(states: NDArray[np.float32], kind: str, weights: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """One vector of shape (dimensions,) from the states of a text's tokens, shape (tokens, dimensions), in their order.

    ``weights`` of shape (tokens,) are SIF's. Of no tokens the vector is zero.
    """
    import numpy as np

    if not len(states):
        return np.zeros(states.shape[1], np.float32)
    if kind == "max":
        return np.asarray(states.max(axis=0))
    if kind == "cls":
        return np.asarray(states[0])
    if kind == "last":
        return np.asarray(states[-1])
    if kind == "sif" and weights is not None:
        return np.asarray(weights @ states / np.float32(len(states)), np.float32)
    return np.asarray(states.mean(axis=0))


def fit_sif(
    texts: Sequence[str],
    tokens: Callable[[str], Iterable[str]],
    rows: Callable[[Sif], NDArray[np.float32]],
) -> Sif:
    """Token probabilities of ``texts``, and the first right singular vector of their SIF vectors (``rows`` computes
    these, of shape (len(texts), dimensions), before anything is taken away). Raises InputError without a token."""
    import numpy as np

    counts: Counter[str] = Counter(token for text in texts for token in tokens(text))
    total = sum(counts.values())
    if not total:
        raise InputError("the texts have no known words", remedy="fit on texts in the embedder's language")
    sif = Sif({token: count / total for token, count in counts.items()})
    matrix: Any = rows(sif).astype(np.float64)
    direction = np.linalg.eigh(matrix.T @ matrix)[1][:, -1]
    direction *= np.sign(direction[np.argmax(np.abs(direction))])  # of the two, always the same
    return Sif(sif.chances, direction.astype(np.float32))
