"""What a dry run says of rungs that are trained."""

from __future__ import annotations

import pytest

from rung.core.settings import Settings
from rung.core.types import FitForecast, RungChoice, Usage
from rung.ladder.prepare.estimate import Forecaster
from rung.models import Pool
from rung.tuning.tune import Tune
from tests import desk


async def test_a_training_that_two_rungs_share_is_counted_once(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forecast(self: Tune, *_: object) -> FitForecast:
        return FitForecast(Usage(prompt_tokens=900, seconds=60.0), 5.0, self.method)

    monkeypatch.setattr(Tune, "forecast", forecast)
    monkeypatch.setattr(Tune, "obstacle", lambda *_: "")
    rungs = tuple(RungChoice(name) for name in ("lora-f16", "lora-q8", "full-tuning"))
    first, second, other = await Forecaster(desk.task(rungs=rungs), settings, pool).forecast()
    assert (first.usage.tokens, first.seconds) == (900, 65.0)
    assert (second.usage.tokens, second.seconds) == (0, 5.0)
    assert second.note.startswith("trained with lora-f16")
    assert (other.usage.tokens, other.seconds) == (900, 65.0)
