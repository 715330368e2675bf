"""What comes next in a series of numbers: an LSTM that reads a window and says all of the next ``horizon`` steps at
once.

It says how far each step will be from the last one seen, so that it has only to learn what the naive forecast (nothing
changes) misses; with a ``season`` it also sees how far the series went from the same point a season ago. Its rivals are
the naive forecast and the seasonal one (as a season ago: Hyndman and Athanasopoulos 2021, 5.2). The last fifth of what
it is fitted on is kept to choose among the three and to say how far off they are; where the network is no better,
``auto`` does not use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.foundations.network.layers import Array, Dense
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Last, Lstm
from rung.foundations.network.training import FitPlan, absolute_error, fit

METHODS = ("naive", "seasonal", "lstm")


@dataclass(frozen=True)
class SeriesForecast:
    """The next steps; ``low`` and ``high`` hold 80% of the errors seen while choosing. ``errors``: mean absolute error
    of each method there, in the series' own unit."""

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    method: str
    errors: dict[str, float]


@dataclass
class SeriesForecaster:
    """Forecasts ``horizon`` steps from a history; ``season`` is the number of steps after which things repeat (0: they
    do not).

    >>> SeriesForecaster(6, season=24).fit(counts).predict(counts[-48:]).values  # doctest: +SKIP
    """

    horizon: int
    season: int = 0
    window: int = 24
    units: int = 24
    epochs: int = 30
    seed: int = 0
    method: str = "auto"
    errors: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Raises InputError for settings that cannot be."""
        if self.horizon < 1 or self.window < 2 or self.season < 0:
            raise InputError(
                f"got horizon {self.horizon}, window {self.window}, season {self.season}",
                remedy="give a horizon of at least 1, a window of at least 2 and a season of 0 (none) or more",
            )
        if self.method not in ("auto", *METHODS) or (self.method == "seasonal" and not self.season):
            known = ("auto", *METHODS) if self.season else ("auto", "naive", "lstm")
            raise InputError(
                f"got method {self.method!r} with season {self.season}", remedy=f"known: {', '.join(known)}"
            )

    @property
    def needs(self) -> int:
        """Steps of history that a forecast reads."""
        return max(self.window, self.season + self.window - self.horizon, self.season + 1)

    def fit(self, series: Sequence[float] | Array) -> SeriesForecaster:
        """Learn from a series. Raises InputError where it is too short, or holds what is no number."""
        values = checked(series)
        least = self.needs + 12 * self.horizon + 8
        if len(values) < least:
            raise InputError(
                f"got a series of {len(values)} steps, expected at least {least} for a horizon of {self.horizon} and a season of "
                f"{self.season}",
                remedy="give a longer series, or ask for a shorter horizon, window or season",
                code="short-series",
            )
        self._scale = float(np.std(np.diff(values))) or 1.0
        starts = np.arange(self.needs, len(values) - self.horizon + 1)
        truth = sliding_window_view(values, self.horizon)[starts]
        kept = max(1, len(starts) // 5)
        seen, tried = starts[: -kept - self.horizon + 1], starts[-kept:]
        wanted = (truth[: len(seen)] - values[seen - 1][:, None]) / self._scale
        layers = [Lstm(self.units), Last(), Dense(self.horizon, gain=0.1)]
        self._network = NeuralNetwork(layers, (self.window, 2 if self.season else 1), self.seed)
        best, inputs, ahead = (np.inf, self._network.vector.copy()), self._inputs(values, tried), truth[-kept:]

        def watch(epoch: int, loss: float) -> bool:
            nonlocal best
            off = float(np.abs(self._lstm(inputs, values[tried - 1]) - ahead).mean())
            if off < best[0]:
                best = off, self._network.vector.copy()
            return False

        if self.method in ("auto", "lstm"):
            plan = FitPlan(self.epochs, batch=32, rate=4e-3, decay=1e-2, seed=self.seed)
            fit(self._network, (self._inputs(values, seen), wanted.astype(np.float32)), absolute_error, plan, watch)
            self._network.vector[...] = best[1]
        methods = [name for name in METHODS if self.method in ("auto", name) and (name != "seasonal" or self.season)]
        off = {name: self._say(name, values, tried) - ahead for name in methods}
        self.errors = {name: float(np.abs(rows).mean()) for name, rows in off.items()}
        self.chosen = min(self.errors, key=lambda name: self.errors[name])
        self._spread = np.quantile(off[self.chosen], [0.9, 0.1], axis=0)
        return self

    def predict(self, history: Sequence[float] | Array) -> SeriesForecast:
        """The steps that follow ``history``, whose last ``needs`` steps are read. Raises InputError for a shorter
        one."""
        values = checked(history)
        if len(values) < self.needs:
            raise InputError(
                f"got a history of {len(values)} steps, expected {self.needs}",
                remedy="give more of it",
                code="short-series",
            )
        said = self._say(self.chosen, values, np.array([len(values)]))[0]
        high, low = self._spread
        return SeriesForecast(said, said - high, said - low, self.chosen, dict(self.errors))

    def each(self, series: Sequence[float] | Array, starts: Array, method: str) -> NDArray[np.float64]:
        """Forecasts of one method from each of ``starts`` (the first step that is not known, at least ``needs``), of
        shape (len(starts), horizon)."""
        return self._say(method, checked(series), np.asarray(starts))

    def _say(self, method: str, values: Array, starts: Array) -> NDArray[np.float64]:
        last = values[starts - 1]
        if method == "naive":
            return np.repeat(last[:, None], self.horizon, 1)
        if method == "seasonal":
            ahead = np.arange(self.horizon) % self.season - self.season
            return values[starts[:, None] + ahead]
        return self._lstm(self._inputs(values, starts), last)

    def _lstm(self, inputs: Array, last: Array) -> NDArray[np.float64]:
        return last[:, None] + self._network.predict(inputs).astype(np.float64) * self._scale

    def _inputs(self, values: Array, starts: Array) -> NDArray[np.float32]:
        """The window before each start as distances from its last step; and the window of a season before, ``horizon``
        steps later, as distances from what was a season before that last step: how things went on then."""
        back = starts[:, None] + np.arange(-self.window, 0)
        channels = [values[back] - values[starts - 1][:, None]]
        if self.season:
            then = np.minimum(back - self.season + self.horizon, starts[:, None] - 1)
            channels.append(values[then] - values[starts - 1 - self.season][:, None])
        inputs = np.stack(channels, -1) / self._scale
        return np.asarray(np.clip(inputs, -20, 20), np.float32)


def forecast(series: Sequence[float] | Array, horizon: int, *, season: int = 0, seed: int = 0) -> SeriesForecast:
    """Fit on a series and say its next ``horizon`` steps by the method that did best on its last fifth.

    Raises InputError for a series that is too short or holds what is no number.
    """
    return SeriesForecaster(horizon, season, seed=seed).fit(series).predict(series)


def checked(series: Sequence[float] | Array) -> NDArray[np.float64]:
    """The series as float64. Raises InputError for one that is not a row of numbers."""
    try:
        values = np.asarray(series, np.float64)
    except (TypeError, ValueError):
        raise InputError("got a series that holds what is no number", remedy="give numbers, one a step") from None
    if values.ndim != 1:
        raise InputError(f"got a series of {values.ndim} dimensions", remedy="give one number a step", code="shape")
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"step {at} of the series is {values[at]}", remedy="fill the gap or cut the series there")
    return values
