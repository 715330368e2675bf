"""How long a training will take on this machine: tokens to compute, over a speed that is measured once and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from rung.core.settings import Settings
from rung.tuning import speed
from rung.tuning.batches import TokenRow, split
from rung.tuning.precision import settle
from rung.tuning.recipe import Recipe
from rung.tuning.session import Session, losses, open_session
from rung.tuning.weights import Base

FORWARD = 0.4
"""Share of a training step that is its forward pass (measured on the built-in model in both precisions)."""
FINISH = 40.0
"""Seconds for loading, pre-flight, one export and its parity check, where none has been measured yet."""
PROBED = 8
"""Rows of a probe's step."""


def computed(rows: Sequence[TokenRow], recipe: Recipe) -> float:
    """Tokens that all steps compute (a common prefix once a micro-batch), from a sample of one epoch's steps."""
    sample = [
        sum(len(batch.ids) for batch in split(rows[start : start + recipe.batch], recipe.tokens))
        for start in range(0, min(len(rows), 32 * recipe.batch), recipe.batch)
    ]
    return sum(sample) / len(sample) * recipe.total(len(rows))


def speed_key(base: Base, recipe: Recipe) -> str:
    """What a measured speed holds for."""
    recipe = settle(recipe)
    kind = [recipe.method, recipe.precision, recipe.share, recipe.rank, recipe.bits, recipe.dora, recipe.checkpointing]
    return speed.key("tokens a second", base.key, *kind)


def seconds(rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe, rate: float, frozen: float) -> float:
    """Wall seconds of a training at ``rate`` computed tokens a second; ``frozen`` is the share of layers that are computed once
    for every row."""
    steps, total = math.ceil(len(rows) / recipe.batch), recipe.total(len(rows))
    checks = math.ceil(total / recipe.interval) if recipe.interval else total / steps * recipe.checks
    looked = checks * FORWARD * sum(len(batch.ids) for batch in split(dev, recipe.tokens))
    everything = (*rows, *dev) if frozen else ()
    once = FORWARD * frozen / (1 - frozen) * sum(len(batch.ids) for batch in split(everything, recipe.tokens))
    return (computed(rows, recipe) + looked + once) / max(rate, 1e-9)


def measure(session: Session, rows: Sequence[TokenRow], recipe: Recipe) -> float:
    """Computed tokens a second of a training step, the better of two on a few rows. The session is as before afterwards."""
    ordered = sorted(rows, key=len)
    middle = len(ordered) // 2
    few = session.front(ordered[max(0, middle - PROBED // 2) : middle + PROBED // 2])
    session.keep(few, recipe.tokens, lambda _: None)
    batches = split(few, recipe.tokens)
    best = 0.0
    session.model.train()
    for _ in range(2):
        began = time.perf_counter()
        for batch in batches:
            losses(session, batch).sum().backward()
        best = max(best, sum(len(batch.ids) for batch in batches) / (time.perf_counter() - began))
    session.grad.zero_()
    return best


def forecast(base: Base, rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe) -> float:
    """Seconds that training on ``rows`` will take at most; a speed that is not known yet is measured, which takes some seconds."""
    recipe, cache = settle(recipe), Settings().cache
    key = speed_key(base, recipe)
    if (rate := speed.recall(cache, key)) is None:
        session = open_session(base, recipe)
        rate = measure(session, rows, recipe)
        speed.remember(cache, key, rate)
    return seconds(rows, dev, recipe, rate, 1 - recipe.share)


def finish_key(base: Base, kind: str) -> str:
    """What the measured time of everything but training holds for."""
    return speed.key("seconds beside training", base.key, kind)


def finishing(base: Base, kind: str, cache: Path) -> float:
    """Seconds that loading, pre-flight, one export and its check took the last time here."""
    found = speed.recall(cache, finish_key(base, kind))
    return FINISH if found is None else found
