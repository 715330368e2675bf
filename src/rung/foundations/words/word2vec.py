"""word2vec: a word is known by the company it keeps (Mikolov 2013).

**Skip-gram** takes a word's vector and is to say which words stand near it; **CBOW** takes the mean of the vectors
nearby and is to say which word stands between. A softmax over all words would cost too much, so each true pair is told
apart from a few **negative** ones, drawn by frequency to the power of 0.75: sigmoid(x . y) is pushed to 1 for the true
and to 0 for the drawn. Words in like company get like vectors, and differences such as king - man + woman fall out.

The text is read in blocks of running words, many blocks at once. A block's words, the words around it and the negatives
that it shares (Ji et al. 2016) are gathered once; then all pairs of a block are one matrix product, and which pairs
count is a matrix of weights. Windows are as wide as a die says (1 to ``window``), as in the original, so that near
words count more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rung.foundations.words.vocabulary import TextVocabulary, add_rows

if TYPE_CHECKING:
    from rung.foundations.words import Floats, Ids

BLOCK = 32
"""Running words of a block."""
TOGETHER = 32
"""Blocks that are computed before the vectors move, at most; so few that the most frequent word stands in them FREQUENT
times."""
FREQUENT = 16
SHARED = 16
"""Negative words that a block shares; they weigh as much as ``negatives`` for each pair would."""


@dataclass(frozen=True, slots=True)
class SkipgramPlan:
    """``threshold`` thins out frequent words; ``rate`` falls to nothing over the ``epochs``."""

    dimensions: int = 100
    window: int = 5
    negatives: int = 5
    epochs: int = 3
    rate: float = 0.025
    threshold: float = 1e-3
    seed: int = 0


class InputVectors(Protocol):
    """Where the vectors of words that predict come from, and what learns."""

    def look(self, ids: Ids) -> Floats:
        """Vectors of shape (*ids.shape, dimensions)."""
        ...

    def learn(self, ids: Ids, change: Floats) -> None:
        """Add what each of these words' vectors should change by; ids of shape (n,), change (n, dimensions)."""
        ...


@dataclass(frozen=True)
class WordTable:
    """A vector for each word."""

    rows: Floats

    def look(self, ids: Ids) -> Floats:
        return self.rows[ids]

    def learn(self, ids: Ids, change: Floats) -> None:
        add_rows(self.rows, ids, change)


@dataclass(frozen=True, slots=True)
class WordBlocks:
    """Words of blocks with ``window`` words on both sides, shape (blocks, window + BLOCK + window); which pairs count,
    shape (blocks, BLOCK, window + BLOCK + window); the negatives of each block, shape (blocks, SHARED)."""

    near: Ids
    counted: Floats
    drawn: Ids
    window: int

    @property
    def centre(self) -> Ids:
        return self.near[:, self.window : self.window + BLOCK]


def fresh(rows: int, dimensions: int, seed: int) -> Floats:
    """Small random vectors, as word2vec begins."""
    rng = np.random.default_rng(seed)
    return ((rng.random((rows, dimensions), np.float32) - 0.5) / dimensions).astype(np.float32)


def train(
    vocabulary: TextVocabulary,
    plan: SkipgramPlan,
    *,
    cbow: bool = False,
    inputs: InputVectors | None = None,
    tell: Callable[[float], None] = lambda share: None,
) -> Floats:
    """Vectors of shape (words, dimensions). ``inputs`` replaces the table of words (fastText does); ``tell`` hears how
    much of the text is done."""
    rng = np.random.default_rng(plan.seed)
    words: InputVectors = inputs or WordTable(fresh(len(vocabulary.words), plan.dimensions, plan.seed))
    outputs = np.zeros((len(vocabulary.words), plan.dimensions), np.float32)
    noise = vocabulary.noise()
    for epoch in range(plan.epochs):
        ids = vocabulary.thinned(plan.threshold, rng)
        most = np.bincount(ids).max() / len(ids)
        together = int(np.clip(FREQUENT / (BLOCK * most), 1, TOGETHER))
        for share, near, counted in _blocks(ids, plan.window, rng, together):
            done = (epoch + share) / plan.epochs
            rate = np.float32(max(plan.rate * (1 - done), plan.rate * 1e-4))
            drawn = np.minimum(np.searchsorted(noise, rng.random((len(near), SHARED))), len(noise) - 1)
            blocks = WordBlocks(near, counted, drawn, plan.window)
            (_bag if cbow else _skip)(words, outputs, blocks, rate, np.float32(plan.negatives / SHARED))
            tell(done)
    return words.look(np.arange(len(vocabulary.words)))


def _blocks(
    ids: Ids, window: int, rng: np.random.Generator, together: int = TOGETHER
) -> Iterator[tuple[float, Ids, Floats]]:
    """Blocks with the words around them, shape (blocks, window + BLOCK + window), and which pairs count, shape (blocks,
    BLOCK, window + BLOCK + window): 1 where a word is within the other's window. Beyond the text's ends nothing
    counts."""
    step, wide = BLOCK * together, BLOCK + 2 * window
    padded = np.concatenate([np.zeros(window, np.int64), ids, np.zeros(step + window, np.int64)])
    offset = np.abs(np.arange(wide)[None, :] - window - np.arange(BLOCK)[:, None])
    for start in range(0, len(ids), step):
        count = min(together, -(-(len(ids) - start) // BLOCK))
        at = start + BLOCK * np.arange(count)[:, None] + np.arange(wide)
        width = rng.integers(1, window + 1, (count, BLOCK, 1))
        centre = start + BLOCK * np.arange(count)[:, None] + np.arange(BLOCK)
        real = (at >= window) & (at < len(ids) + window)
        counted = (offset > 0) & (offset <= width) & real[:, None, :] & (centre < len(ids))[:, :, None]
        yield start / len(ids), padded[at], counted.astype(np.float32)


def _sigmoid(x: Floats) -> Floats:
    np.clip(x, -12, 12, out=x)
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)
    return x


def _skip(words: InputVectors, outputs: Floats, blocks: WordBlocks, rate: np.float32, weight: np.float32) -> None:
    """A step of skip-gram; ``weight`` is a shared negative's."""
    near, counted, drawn, centre = blocks.near, blocks.counted, blocks.drawn, blocks.centre
    others = np.concatenate([near, drawn], 1)
    x, y = words.look(centre), outputs[others]
    push = _sigmoid(x @ y.transpose(0, 2, 1))
    push *= -rate
    wide = near.shape[1]
    push[:, :, :wide] += rate
    push[:, :, :wide] *= counted
    push[:, :, wide:] *= counted.sum(2, keepdims=True) * weight
    words.learn(centre.ravel(), (push @ y).reshape(-1, y.shape[2]))
    add_rows(outputs, others.ravel(), (push.transpose(0, 2, 1) @ x).reshape(-1, y.shape[2]))


def _bag(words: InputVectors, outputs: Floats, blocks: WordBlocks, rate: np.float32, weight: np.float32) -> None:
    """A step of CBOW."""
    near, counted, drawn, centre = blocks.near, blocks.counted, blocks.drawn, blocks.centre
    total = counted.sum(2, keepdims=True)
    share = counted / np.maximum(total, 1)
    here = (total > 0).astype(np.float32)
    bag = share @ words.look(near)
    true, false = outputs[centre], outputs[drawn]
    pull = (rate - rate * _sigmoid((bag * true).sum(2, keepdims=True))) * here
    push = _sigmoid(bag @ false.transpose(0, 2, 1)) * (-rate * here * weight)
    change = pull * true + push @ false
    width = bag.shape[2]
    # As in the original, each word of the bag moves by the whole change of their mean.
    words.learn(near.ravel(), (counted.transpose(0, 2, 1) @ change).reshape(-1, width))
    add_rows(outputs, centre.ravel(), (pull * bag).reshape(-1, width))
    add_rows(outputs, drawn.ravel(), (push.transpose(0, 2, 1) @ bag).reshape(-1, width))
