from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.core.types import Usage
from rung.models import prices


def test_every_built_in_price_is_dated_and_sourced() -> None:
    table = prices._table(prices.BUILT_IN)
    assert len(table) >= 10
    assert date.fromisoformat(prices.version()) >= date(2026, 11, 23)
    for name, price in table.items():
        assert name.partition(":")[0] in ("openai", "anthropic", "google")
        assert price.prompt > 0
        assert price.prompt < price.completion or "embedding" in name  # these write nothing
        assert price.cached is None or price.cached < price.prompt
        assert "seen 20" in price.source


def test_money_counts_cached_tokens_at_their_own_rate() -> None:
    price = prices.Price(2.0, 8.0, 0.5)
    assert price.money(Usage(1, 1_000_000, 500_000, 400_000)) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)
    assert prices.Price(2.0, 8.0).money(Usage(1, 1_000_000, 0, 400_000)) == pytest.approx(2.0)


def test_long_prompts_cost_what_their_band_says() -> None:
    price = prices.Price(1.0, 2.0, above=1000, long=prices.Price(10.0, 20.0))
    assert price.money(Usage(1, 1000, 10)) == pytest.approx((1000 + 20) / 1e6)
    assert price.money(Usage(1, 1001, 10)) == pytest.approx((10_010 + 200) / 1e6)


def test_snapshots_cost_what_their_model_costs_and_others_are_unpriced() -> None:
    assert prices.find("openai:gpt-4.1-2025-04-14") == prices.find("openai:gpt-4.1") is not None
    assert prices.find("anthropic:claude-haiku-4-5-20251001") == prices.find("anthropic:claude-haiku-4-5") is not None
    for name in ("openai:gpt-4.1-turbo", "openai:gpt-4.1@http://127.0.0.1:1/v1", "openai:gpt", "nobody:x"):
        assert prices.find(name) is None


def test_own_prices_win(tmp_path: Path) -> None:
    mine = tmp_path / "prices.yaml"
    mine.write_text(
        "models: {'openai:gpt-4.1': {prompt: 1, completion: 2}, 'openai:m@http://h/v1': {prompt: 0, completion: 0}}"
    )
    assert prices.find("openai:gpt-4.1", str(mine)) == prices.Price(1.0, 2.0)
    assert prices.find("openai:m@http://h/v1", str(mine)) == prices.Price(0.0, 0.0)
    assert prices.find("openai:gpt-4.1-mini", str(mine)) == prices.find("openai:gpt-4.1-mini")


def test_a_price_that_has_ended_is_no_price(tmp_path: Path) -> None:
    for days, known in ((0, True), (-1, False)):
        mine = tmp_path / f"prices{days}.yaml"
        mine.write_text(f"models: {{a:b: {{prompt: 1, completion: 2, until: {date.today() + timedelta(days)}}}}}")
        assert (prices.find("a:b", str(mine)) is not None) is known


@pytest.mark.parametrize(
    "text",
    [
        "models: [",
        "models: 3",
        "{}",
        "models: {a: {prompt: 1}}",
        "models: {a: {prompt: -1, completion: 2}}",
        "models: {a: {prompt: true, completion: 2}}",
        "models: {a: {prompt: cheap, completion: 2}}",
        "models: {a: {prompt: .nan, completion: 2}}",
        "models: {a: {prompt: 1, completion: 2, output: 3}}",
        "models: {a: {prompt: 1, completion: 2, above: 5}}",
        "models: {a: {prompt: 1, completion: 2, until: soon}}",
    ],
)
def test_a_table_that_cannot_be_read_names_the_file(tmp_path: Path, text: str) -> None:
    mine = tmp_path / "prices.yaml"
    mine.write_text(text)
    with pytest.raises(InputError) as caught:
        prices.find("a", str(mine))
    assert str(mine) in str(caught.value)
    assert caught.value.remedy
    with pytest.raises(InputError):
        prices.find("a", str(tmp_path / "absent.yaml"))
