"""What an alignment has done so far: one row an update, and why it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rung.core.errors import FitError
from rung.core.types import Progress, Usage


@dataclass(frozen=True, slots=True)
class Update:
    """One update. ``reward`` and its ``parts`` are means over answers, before defences and penalties in the parts,
    after them in the reward. ``kl`` is the mean over actions of KL(policy || reference) over all possible actions,
    ``kl3`` the estimate of it from the actions taken (k3); ``moved`` the measured KL(before || after) of the step,
    where the method measures it (else nan). ``cut`` is the share of answers that ended at the limit, ``flat`` of
    prompts whose answers were all rewarded alike, ``clipped`` of actions whose ratio was cut in the last pass.
    ``mismatch``: mean distance in log-probability between sampler and trainer. ``step`` 0 of ``gold``: not looked at.
    ``explained`` is the share of the returns' variance that the critic saw beforehand."""

    step: int
    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)
    gold: float | None = None
    kl: float = 0.0
    kl3: float = 0.0
    moved: float | None = None
    fraction: float | None = None
    entropy: float = 0.0
    length: float = 0.0
    cut: float = 0.0
    flat: float = 0.0
    clipped: float = 0.0
    mismatch: float | None = None
    explained: float | None = None
    norm: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    note: str = ""

    def point(self) -> dict[str, Any]:
        """As one flat line of numbers, for curves."""
        values = {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}
        return values | {f"reward/{name}": value for name, value in self.parts.items()}


@dataclass(frozen=True, slots=True)
class Course:
    """An alignment in progress or done. ``good`` is the last update after which nothing was wrong: what ``stopped``
    goes back to where it ended early (``flagged``). ``ahead`` is the next that may become it, once its distance from
    the reference is measured, on what is played after it."""

    step: int = 0
    total: int = 0
    updates: tuple[Update, ...] = ()
    baseline: float | None = None
    before: tuple[float, ...] = ()
    idle: int = 0
    good: int = 0
    ahead: int = 0
    stopped: str = ""
    flagged: bool = False
    resumed: int = 0

    @property
    def usage(self) -> Usage:
        """What was sampled and how long all of it took."""
        return Usage(
            calls=self.step,
            completion_tokens=sum(update.tokens for update in self.updates),
            seconds=sum(update.seconds for update in self.updates),
            cpu_seconds=sum(update.cpu_seconds for update in self.updates),
        )


def _ignore(_: Progress) -> None:
    pass


def _forget(_: Update) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Spectator:
    """Who watches: ``progress`` is told often, ``record`` gets every update, ``stop`` ends the run behind the update
    under way."""

    progress: Callable[[Progress], None] = _ignore
    record: Callable[[Update], None] = _forget
    stop: threading.Event | None = None

    @property
    def stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def check(self, state: Course) -> None:
        """Raises FitError where the run is to stop."""
        if self.stopped:
            raise FitError(
                f"the alignment was stopped behind update {state.step} of {state.total}",
                remedy="run the same command again to go on",
                code="stopped",
            )


UNWATCHED = Spectator()

COLUMNS = ("step", "reward", "gold", "KL", "entropy", "length", "flat", "tokens", "CPU s")


def lines(updates: Sequence[Update], most: int = 12) -> list[list[str]]:
    """Updates as rows of texts under COLUMNS, at most ``most`` of them, evenly spread; the last always."""
    step = max(1, -(-len(updates) // most))
    shown = [update for at, update in enumerate(updates) if at % step == 0 or at == len(updates) - 1]
    rows = [list(COLUMNS)]
    for one in shown:
        gold = "" if one.gold is None else f"{one.gold:.3f}"
        rows.append(
            [
                str(one.step),
                f"{one.reward:.3f}",
                gold,
                f"{one.kl:.4f}",
                f"{one.entropy:.2f}",
                f"{one.length:.1f}",
                f"{one.flat:.2f}",
                f"{one.tokens:,}",
                f"{one.cpu_seconds:.1f}",
            ]
        )
    return rows
