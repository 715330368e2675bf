"""When an episode must end whatever the policy thinks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rung.core.errors import InputError

if TYPE_CHECKING:
    from rung.agents.loop.view import View


@dataclass(frozen=True, slots=True)
class EpisodeLimits:
    """Hard limits of one episode; None is none, 0 is nothing at all. ``steps`` are decisions, ``seconds`` time spent at
    work, ``calls`` the calls of a tool by its name, ``wait`` the seconds of one call, ``bytes`` what is kept of an
    observation. ``reserve`` are tokens set aside for the closing answer. ``patience`` are seconds that a question waits
    for a person. ``loops``: going round in circles ends it too."""

    steps: int = 50
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None
    calls: Mapping[str, int] = field(default_factory=dict)
    wait: float = 60.0
    bytes: int = 16_384
    reserve: int = 128
    patience: float | None = None
    loops: bool = True

    def __post_init__(self) -> None:
        given = {
            name: getattr(self, name)
            for name in ("steps", "tokens", "money", "seconds", "wait", "bytes", "reserve", "patience")
        }
        for name, value in {**given, **{f"calls.{tool}": most for tool, most in self.calls.items()}}.items():
            if value is None and name in ("tokens", "money", "seconds", "patience"):
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value) or value < 0:
                raise InputError(
                    f"limit {name} is {value!r}, expected a number of 0 or more", remedy=f"write limits: {{{name}: 20}}"
                )

    def allowance(self, view: View) -> int | None:
        """Tokens that the next decision may take; None: as many as it likes."""
        return None if self.tokens is None else max(0, self.tokens - view.usage.tokens - self.reserve)

    def reached(self, view: View) -> str:
        """The name of the limit that the episode has come to, or nothing."""
        if view.steps >= self.steps:
            return "steps"
        if self.tokens is not None and view.usage.tokens + self.reserve >= self.tokens:
            return "tokens"
        if self.money is not None and view.usage.money >= self.money:
            return "money"
        if self.seconds is not None and view.seconds >= self.seconds:
            return "seconds"
        return ""
