"""Looking before training: the pre-flight checks alone, and a learning-rate range test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rung.tuning.batches import Chat, TokenRow, shuffle, split
from rung.tuning.checks.preflight import inspect
from rung.tuning.compute.precision import settle
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.trainer.optimizer import adamw
from rung.tuning.trainer.recipe import RATES, Recipe
from rung.tuning.weights import Base, load_torch
from rung.tuning.work import Lessons, encode_lessons


@dataclass(frozen=True, slots=True)
class Range:
    """Rates tried, in rising order, the smoothed loss at each, and the suggestion."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def __str__(self) -> str:
        from rung.tuning.trainer.curves import spark

        return (
            f"loss by learning rate, {self.rates[0]:.1e} to {self.rates[-1]:.1e}: {spark(self.losses)}\n"
            f"steepest fall near {self.suggestion:.1e}: set rate: {self.suggestion:.1e}"
        )


def find_rate(session: Session, rows: Sequence[TokenRow], recipe: Recipe, steps: int = 30) -> Range:
    """Learning-rate range test (Smith 2017, arXiv:1506.01186): the rate grows geometrically over ``steps`` from a tenth
    of the method's lowest usual rate, until the smoothed loss is four times its least. The suggestion is where it falls
    steepest. The session's weights are as before afterwards."""
    import torch

    low, _, high = RATES[recipe.method]
    low, high = low / 10, high * 10
    rows = session.front(rows)
    kept = session.vector.clone()
    optimizer, _ = adamw(session.vector, session.grad, low, decay=recipe.decay)
    order = [
        place
        for epoch in range(steps * recipe.batch // max(1, len(rows)) + 1)
        for place in shuffle(len(rows), epoch, recipe.seed)
    ]
    rates, smoothed, mean, least = [], [], 0.0, math.inf
    session.grad.zero_()
    session.model.train()
    try:
        for step in range(steps):
            rate = low * (high / low) ** (step / max(1, steps - 1))
            batches = split(
                [rows[place] for place in order[step * recipe.batch : (step + 1) * recipe.batch]], recipe.tokens
            )
            count = sum(len(batch.targets) for batch in batches)
            loss = 0.0
            for batch in batches:
                part = losses(session, batch).sum() / count
                loss += float(part.detach())
                if math.isfinite(loss):
                    part.backward()
            if not math.isfinite(loss):
                break
            mean = 0.7 * mean + 0.3 * loss
            value = mean / (1 - 0.7 ** (step + 1))
            rates.append(rate)
            smoothed.append(value)
            least = min(least, value)
            if value > 4 * least:
                break
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], recipe.clip)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            session.push()
            session.grad.zero_()
    finally:
        session.set(kept)
        session.grad.zero_()
    falls = [
        (smoothed[place + 1] - smoothed[place - 1]) / (math.log(rates[place + 1]) - math.log(rates[place - 1]))
        for place in range(1, len(rates) - 1)
    ]
    best = falls.index(min(falls)) + 1 if falls else 0
    return Range(tuple(rates), tuple(smoothed), rates[best] if rates else recipe.peak)


def probe(base: Base, lessons: Lessons, recipe: Recipe, *, rates: bool = False, colour: bool = False) -> str:
    """The pre-flight's findings (or those of the range test) as text; nothing is written. A failed check is in the
    text."""
    load_torch()
    recipe = settle(recipe)
    chat = Chat(base)
    rows, dev, _ = encode_lessons(chat, lessons)
    session = open_session(base, recipe)
    if rates:
        return str(find_rate(session, rows, recipe))
    return str(inspect(session, chat, (rows, dev), lessons.conversations, recipe, colour=colour))
