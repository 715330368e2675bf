"""A picture as a text: its pixels row by row are the symbols, and a transformer says how likely each grey is after
those before.

Such a model knows the exact probability of every picture (Van den Oord et al. 2016; Chen et al. 2020), and makes one
pixel after
another: as many steps as there are pixels, whatever the quality. A diffusion model makes all pixels at once, in as many
steps as one cares to wait for. The transformer is the language models' own (``language.transformer``); the class is the
first symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.foundations.language import tensors
from rung.foundations.language.training import TrainingPlan, cross_entropy, fit
from rung.foundations.language.transformer import DecoderModel, DecoderShape, KeyValueCache
from rung.foundations.network.layers import Array
from rung.foundations.network.training import classes_of


@dataclass(frozen=True)
class PixelTransformer:
    """Makes pictures of ``shape`` in ``greys`` steps from 0 to 1, of as many ``classes`` as it learnt."""

    model: DecoderModel
    shape: tuple[int, ...]
    greys: int
    classes: int

    @classmethod
    def train(
        cls,
        pictures: Array,
        labels: Array,
        plan: TrainingPlan | None = None,
        batch: int = 32,
        tell: Callable[[int, float], None] = lambda step, loss: None,
    ) -> PixelTransformer:
        """Learn from pictures (n, ...) from 0 to 1 and their labels 0, 1, ...; greys are rounded to 17 steps.

        Raises InputError for numbers outside 0 to 1, FitError (code "diverged") when the loss is no longer a number.
        """
        if not (np.isfinite(pictures).all() and pictures.min() >= 0 and pictures.max() <= 1):
            raise InputError(
                "got pictures with numbers outside 0 to 1", remedy="divide by the largest value there can be"
            )
        torch, greys, plan = tensors(), 17, plan or TrainingPlan(steps=800, rate=4e-3)
        classes = classes_of(labels, len(pictures))
        symbols = np.rint(pictures.reshape(len(pictures), -1) * (greys - 1)).astype(np.int64)
        rows = torch.from_numpy(np.concatenate([labels[:, None] + greys, symbols], 1))
        shape = DecoderShape(
            greys + classes, width=64, layers=2, heads=4, groups=4, hidden=128, position="learned", places=rows.shape[1]
        )
        model = DecoderModel.fresh(shape, plan.seed)
        rng = np.random.default_rng(plan.seed)
        batches = (rows[torch.from_numpy(rng.integers(len(rows), size=batch))] for _ in range(plan.steps))
        fit(model.weights, lambda some: cross_entropy(model.logits(some[:, :-1]), some[:, 1:]), batches, plan, tell)
        return cls(model, pictures.shape[1:], greys, classes)

    @property
    def pixels(self) -> int:
        """Steps that a picture takes."""
        return int(np.prod(self.shape))

    def sample(self, labels: Array, seed: int = 0) -> NDArray[np.float32]:
        """A picture for each label, of shape (n, *shape), each pixel drawn from what the model says. Raises InputError
        for labels that it was not trained on."""
        if labels.min() < 0 or labels.max() >= self.classes:
            raise InputError(f"got labels {labels.min()} to {labels.max()}", remedy=f"ask for 0 to {self.classes - 1}")
        torch = tensors()
        source, cache = torch.Generator().manual_seed(seed), KeyValueCache()
        ids, out = torch.from_numpy(labels.astype(np.int64)[:, None] + self.greys), []
        with torch.no_grad():
            for _ in range(self.pixels):
                odds = torch.softmax(self.model.logits(ids, cache=cache, last=True)[:, -1, : self.greys], -1)
                ids = torch.multinomial(odds, 1, generator=source)
                out.append(ids)
        drawn = torch.cat(out, 1).numpy() / (self.greys - 1)
        return np.asarray(drawn.reshape(len(labels), *self.shape), np.float32)
