"""How long a training will take on this machine: tokens to compute, over a measured speed."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rung.core.codec import digest
from rung.core.settings import Settings
from rung.core.system.files import write_file
from rung.core.system.machine import machine
from rung.tuning.batches import TokenRow, split
from rung.tuning.compute.precision import settle
from rung.tuning.compute.session import Session, open_session
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import Base

FILE = "measured.json"
"""Figures of this machine with their times, kept in the cache."""
HELD = 900.0
"""Seconds that a measured speed is believed: what else runs on the machine changes it twofold and more."""
FORWARD = 0.4
"""Share of a training step that is its forward pass (measured on the built-in model in both precisions)."""
FINISH = 40.0
"""Seconds for loading, pre-flight, one export and its parity check, where none has been measured yet."""
PROBED = 16
"""Rows of a probe's step at most."""


def computed(rows: Sequence[TokenRow], recipe: Recipe) -> float:
    """Tokens that all steps compute (a common prefix once a micro-batch), from a sample of one epoch's steps."""
    from rung.tuning.compute.replicas import wanted

    pieces = wanted(recipe)
    sample = [
        sum(len(batch.ids) for batch in split(rows[start : start + recipe.batch], recipe.tokens, pieces))
        for start in range(0, min(len(rows), 32 * recipe.batch), recipe.batch)
    ]
    return sum(sample) / len(sample) * recipe.total(len(rows))


def speed_key(base: Base, recipe: Recipe) -> str:
    """What a measured speed holds for."""
    recipe = settle(recipe)
    kind = [recipe.method, recipe.precision, recipe.share, recipe.rank, recipe.bits, recipe.dora, recipe.checkpointing]
    return figure_key("computed tokens a second", base.key, *kind)


def seconds(rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe, rate: float, frozen: float) -> float:
    """Wall seconds of a training at ``rate`` computed tokens a second; ``frozen`` is the share of layers that are
    computed once for every row."""
    steps, total = math.ceil(len(rows) / recipe.batch), recipe.total(len(rows))
    checks = math.ceil(total / recipe.interval) if recipe.interval else total / steps * recipe.checks
    looked = checks * FORWARD * sum(len(batch.ids) for batch in split(dev, recipe.tokens))
    everything = (*rows, *dev) if frozen else ()
    once = FORWARD * frozen / (1 - frozen) * sum(len(batch.ids) for batch in split(everything, recipe.tokens))
    return (computed(rows, recipe) + looked + once) / max(rate, 1e-9)


def measure(session: Session, rows: Sequence[TokenRow], recipe: Recipe) -> float:
    """Computed tokens a second of a training step, the better of two on a few rows. The session is as before
    afterwards."""
    from rung.tuning.compute.replicas import Replicas

    ordered = sorted(rows, key=len)
    half, middle = max(1, min(PROBED, recipe.batch) // 2), len(ordered) // 2
    few = session.front(ordered[max(0, middle - half) : middle + half])
    session.keep(few, recipe.tokens, lambda _: None)
    best = 0.0
    with Replicas.of(session, recipe) as replicas:
        batches = split(few, recipe.tokens, replicas.count)
        for _ in range(2):
            began = time.perf_counter()
            replicas.gradient(batches, 1.0)
            best = max(best, sum(len(batch.ids) for batch in batches) / (time.perf_counter() - began))
    session.grad.zero_()
    return best


def forecast(base: Base, rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe) -> float:
    """Seconds that training on ``rows`` will take at most; a speed that was not measured lately is measured, which
    takes some seconds."""
    recipe, cache = settle(recipe), Settings().cache
    key = speed_key(base, recipe)
    if (rate := recall(cache, key, HELD)) is None:
        session = open_session(base, recipe)
        rate = measure(session, rows, recipe)
        remember(cache, key, rate)
    return seconds(rows, dev, recipe, rate, 1 - recipe.share)


def finish_key(base: Base, kind: str) -> str:
    """What the measured cost of everything but training holds for."""
    return figure_key("tokens beside training", base.key, kind)


def finishing(base: Base, kind: str, recipe: Recipe, cache: Path) -> float:
    """Seconds that loading, pre-flight, one export and its check will take: the last time's, at the speed of now."""
    cost, rate = recall(cache, finish_key(base, kind)), recall(cache, speed_key(base, recipe))
    return FINISH if cost is None or rate is None else cost / rate


def finished(base: Base, kind: str, recipe: Recipe, seconds: float, cache: Path) -> None:
    """Keep what everything but training took, in tokens that a step computes in that time: the seconds of a busy hour
    say nothing of a quiet one."""
    if (rate := recall(cache, speed_key(base, recipe))) is not None:
        remember(cache, finish_key(base, kind), seconds * rate)


def figure_key(*parts: object) -> str:
    """What a figure holds for: this processor with its features and cores, this torch, and ``parts``."""
    here = machine()
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return digest([here.processor, list(here.features), here.cores, torch, threads, *map(str, parts)])


def recall(cache: Path, key: str, within: float = math.inf) -> float | None:
    """A figure measured before and not more than ``within`` seconds ago, or None."""
    value, at = _read(cache).get(key, (None, 0.0))
    return value if within == math.inf or 0 <= time.time() - at <= within else None


def remember(cache: Path, key: str, value: float) -> None:
    """Keep a figure for the next time; a cache that cannot be written is no error."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_file(cache / FILE, json.dumps({**_read(cache), key: [value, time.time()]}, indent=1).encode())
    except OSError:
        return


def _read(cache: Path) -> dict[str, tuple[float, float]]:
    try:
        document = json.loads((cache / FILE).read_text(encoding="utf-8"))
        return {str(name): (float(value), float(at)) for name, (value, at) in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
