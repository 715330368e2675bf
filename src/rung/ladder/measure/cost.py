"""What an answer costs: tokens, money, CPU time with its noise, latency and memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event, Thread

import numpy as np

from rung.core.types import Result, Usage
from rung.ladder.records import Online

RERUN = 0.18
"""By how much of itself CPU time an answer is unsure, however many answers there are: the same climb on the same
machine gave 25% more in one run than in another, so each of the two is known within 25% / sqrt(2) (docs/results.md)."""


@dataclass
class Peak:
    """The largest resident memory of the process so far, in MB; None where it cannot be read."""

    mb: float | None = None


@contextmanager
def watching(peak: Peak) -> Iterator[None]:
    """Sample resident memory 20 times a second during the block."""
    done = Event()
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: not measured, and shown as such
        yield
        return
    page = os.sysconf("SC_PAGE_SIZE")

    def sample() -> None:
        while True:
            peak.mb = max(peak.mb or 0.0, int(statm.read_text().split()[1]) * page / 1e6)
            if done.wait(0.05):
                return

    thread = Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def online(results: Sequence[Result], peak: Peak, core_hour: float) -> Online:
    """Average cost of answers; CPU time is what the answers' own usage says (it survives a resume)."""
    n = len(results)
    total = sum((result.answer.usage for result in results), Usage())
    alone = sorted(result.seconds for result in results if result.alone)
    cpu = total.cpu_seconds / n
    noise = cpu_noise([result.answer.usage.cpu_seconds for result in results])
    return Online(
        n=n,
        tokens=total.tokens / n,
        prompt_tokens=total.prompt_tokens / n,
        completion_tokens=total.completion_tokens / n,
        cached_tokens=total.cached_tokens / n,
        money=total.money / n,
        cpu_seconds=cpu,
        cost=total.money / n + cpu / 3600 * core_hour,
        noise=noise / 3600 * core_hour,
        alone=len(alone),
        p50=median(alone) if alone else None,
        p95=float(np.quantile(alone, 0.95)) if alone else None,
        peak_mb=peak.mb,
    )


def cpu_noise(seconds: Sequence[float]) -> float:
    """Half the width of the interval of mean CPU seconds: the answers' own spread (two standard errors) and RERUN
    together."""
    values = np.asarray(seconds, np.float64)
    spread = 2 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return math.hypot(spread, RERUN * float(values.mean()))
