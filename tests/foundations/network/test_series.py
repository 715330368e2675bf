"""A forecast sees nothing of what comes, beats naive ones where there is something to learn, and says when it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.foundations.network.series import SeriesForecaster, forecast

RNG = np.random.default_rng(0)
DAYS = 50 + 20 * np.sin(np.arange(500) * 2 * np.pi / 24) + RNG.normal(0, 1, 500)


def test_a_wave_is_foreseen_better_than_by_naive_methods() -> None:
    model = SeriesForecaster(4, 24, window=12, units=12, epochs=40).fit(DAYS[:400])
    starts = np.arange(400, 497, 4)
    truth = np.array([DAYS[at : at + 4] for at in starts])
    off = {name: np.abs(model.each(DAYS, starts, name) - truth).mean() for name in model.errors}
    assert off["lstm"] < 0.35 * off["naive"]
    assert off["seasonal"] < 0.3 * off["naive"]
    said = model.predict(DAYS[:400])
    assert said.values.shape == (4,)
    assert (said.low <= said.high).all()


def test_what_comes_is_not_seen() -> None:
    model = SeriesForecaster(3, 24, window=8, units=4, epochs=1).fit(DAYS[:200])
    other = DAYS.copy()
    other[300:] = 1e6
    for name in model.errors:
        assert (model.each(DAYS, [300], name) == model.each(other, [300], name)).all()  # type: ignore[arg-type]


def test_naive_and_seasonal_are_what_they_say() -> None:
    series = np.arange(200.0)
    model = SeriesForecaster(5, 3, window=4, method="seasonal").fit(series)
    assert model.predict(series).values.tolist() == [197, 198, 199, 197, 198]
    assert SeriesForecaster(2, window=4, method="naive").fit(series).predict(series).values.tolist() == [199, 199]


def test_a_random_walk_leaves_nothing_to_learn() -> None:
    said = forecast(np.cumsum(RNG.normal(size=300)), 2)
    assert said.errors["lstm"] > 0.9 * said.errors["naive"]


def test_a_constant_series_goes_on() -> None:
    said = forecast(np.full(120, 7.0), 3)
    np.testing.assert_allclose(said.values, 7, atol=0.2)


@pytest.mark.parametrize(
    ("series", "options", "code"),
    [
        ([1.0] * 20, {"horizon": 4}, "short-series"),
        ([[1.0, 2.0]] * 200, {"horizon": 1}, "shape"),
        ([1.0, float("nan")] * 100, {"horizon": 1}, "input"),
        (["a"] * 100, {"horizon": 1}, "input"),
        ([1.0] * 200, {"horizon": 0}, "input"),
        ([1.0] * 200, {"horizon": 1, "method": "seasonal"}, "input"),
        ([1.0] * 200, {"horizon": 1, "method": "oracle"}, "input"),
    ],
)
def test_bad_input(series: Any, options: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        SeriesForecaster(**options).fit(series)
    assert caught.value.code == code
