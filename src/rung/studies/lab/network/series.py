"""Can a network say how many requests come next, better than "as now" and "as yesterday"?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.foundations.generative.png import curves, png
from rung.foundations.network.series import SeriesForecaster, checked
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference, holm
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.outcome import gain, mean, saved
from rung.studies.study import Lab

REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A method's mean absolute error over the origins, in units of the naive forecast's mean error (1: no better);
    ``differences`` from the other methods, paired by origin."""

    method: str
    error: Interval
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecasts of ``horizon`` steps from ``origins`` that do not overlap, behind the ``train`` steps that were learnt
    from. ``chosen``: the method that did best on the last fifth of those; ``inside``: the share of what came that its
    80% band held."""

    series: str
    steps: int
    train: int
    horizon: int
    season: int
    origins: int
    unit: float
    chosen: str
    inside: float
    cpu: float
    rows: tuple[ForecastRow, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class ForecastSeries(Experiment[Forecasts]):
    """Forecast a series with an LSTM, beside the naive forecast (as the last step) and the seasonal one (as a season
    ago), from origins that none of them was fitted on."""

    name = "series"
    records = Forecasts
    title = "Recurrent networks: the forecast of a series"
    ideas = ("network.recurrent", "network.series")

    source: str = argument(
        "A file with one number a line, or `requests`: an LLM service's, ten minutes a step.", "SERIES", REQUESTS
    )
    horizon: int = option(6, "Steps to forecast.", low=1)
    season: int = option(144, "Steps after which things repeat; 0: they do not.", low=0)
    train: float = option(0.7, "Share of the series to learn from.", low=0.1, high=0.95)
    units: int = option(24, "Cells of the LSTM.", low=1)
    epochs: int = option(30, "Passes over the windows.", low=1)
    out: str = option("", "Folder for a PNG file: what came, and what was said.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> Forecasts:
        """Raises InputError for a file that holds no series, or one too short."""
        values = load_series(self.source)
        cut = int(len(values) * self.train)
        lab.progress(Progress(self.name, 0, 1, f"{cut} steps"))
        model = SeriesForecaster(self.horizon, self.season, units=self.units, epochs=self.epochs, seed=self.seed)
        with timed() as clock:
            model.fit(values[:cut])
        origins = np.arange(cut, len(values) - self.horizon + 1, self.horizon)
        if len(origins) < 2:
            raise InputError(
                f"{len(values) - cut} steps are left to forecast, expected at least {2 * self.horizon}",
                remedy="give a longer series, or lower --train or --horizon",
                code="short-series",
            )
        truth = np.array([values[at : at + self.horizon] for at in origins])
        said = {method: model.each(values, origins, method) for method in model.errors}
        unit = float(np.abs(said["naive"] - truth).mean()) or 1.0
        off = {method: np.abs(rows - truth).mean(1) / unit for method, rows in said.items()}
        inside = [
            (told.low <= came) & (came <= told.high)
            for told, came in ((model.predict(values[:at]), came) for at, came in zip(origins, truth, strict=True))
        ]
        rows = _corrected(
            [
                ForecastRow(method, mean(errors), {name: gain(errors, off[name]) for name in off if name != method})
                for method, errors in off.items()
            ]
        )
        drawn = png(curves(np.array([truth.ravel()[:300], said["lstm"].ravel()[:300]]), 1, (120, 600)))
        return Forecasts(
            self.source,
            len(values),
            cut,
            self.horizon,
            self.season,
            len(origins),
            unit,
            model.chosen,
            float(np.mean(inside)),
            clock.cpu,
            rows,
            saved(self.out, "series.png", drawn),
        )

    def about(self, subject: None) -> str:
        return Path(self.source).name

    def table(self, found: Forecasts) -> str:
        names = [row.method for row in found.rows]
        lines = [["", "error", *(f"less {name}" for name in names)]]
        for row in found.rows:
            gaps = [change(row.differences[name]) if name in row.differences else "" for name in names]
            lines.append([row.method, exact(row.error), *gaps])
        head = (
            f"{Path(found.series).name}: {found.steps} steps, the first {found.train} to learn from; {found.origins} forecasts of "
            f"{found.horizon} steps"
        )
        foot = (
            f"Errors are mean absolute ones in units of the naive forecast's, {found.unit:.4g}. The forecaster chose {found.chosen}; "
            f"its 80% band held {found.inside:.0%} of what came. {found.cpu:.1f} CPU s of training."
        )
        return "\n\n".join([head, align(lines), foot, *found.files])


def _corrected(rows: list[ForecastRow]) -> tuple[ForecastRow, ...]:
    """p-values corrected for the number of pairs (each is there in both directions)."""
    pairs = {frozenset((row.method, name)): gap.p for row in rows for name, gap in row.differences.items()}
    ps = dict(zip(pairs, holm(list(pairs.values())), strict=True))
    return tuple(
        replace(
            row,
            differences={n: replace(gap, p=ps[frozenset((row.method, n))]) for n, gap in row.differences.items()},
        )
        for row in rows
    )


def load_series(source: str) -> NDArray[np.float64]:
    """The numbers of a file, one a line (lines with # are left out), or the series that comes along, ``requests``: its
    windows without any request are gaps of the trace and are filled by a straight line. Raises InputError naming the
    line."""
    if source == REQUESTS:
        return _requests()
    try:
        lines = Path(source).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read {source}: {getattr(error, 'strerror', '') or 'it is no text'}",
            remedy=f"name a file with one number a line, or {REQUESTS}",
        ) from None
    values: list[Any] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            values.append(float(line.strip().rstrip(",;")))
        except ValueError:
            raise InputError(
                f"got {line[:40]!r}, expected a number", remedy="write one number a line", file=source, line=number
            ) from None
    return checked(values)


@cache
def _requests() -> NDArray[np.float64]:
    text = (files("rung.studies.lab.network") / "requests.txt").read_text(encoding="utf-8")
    values = np.array([float(line) for line in text.splitlines() if not line.startswith("#")])
    gaps = np.flatnonzero(values == 0)
    there = np.flatnonzero(values)
    values[gaps] = np.interp(gaps, there, values[there])
    return values
