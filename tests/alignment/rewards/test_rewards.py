"""Rewards: metrics as they are, what is refused, defences that shrink a planted gap, and a reward learnt from pairs."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from rung.alignment.rewards.model import RewardModel, calibration, fit_reward, open_reward_model
from rung.alignment.rewards.pairs import AnswerPair, divide, read_pairs, sift_pairs
from rung.alignment.rewards.reward import Reward, read_weights
from rung.alignment.rewards.robust import clip, defend, minimum, read_defences, residual
from rung.core.errors import FitError, InputError
from rung.core.types import Case, Message, Score
from rung.metrics import load_metric
from rung.metrics.mean import Mean
from tests.alignment.words import Place, Words

PLACE = cast(Any, Place())


def case(output: str, reference: str = "yes") -> Case:
    return Case({"text": "?"}, output, reference, output)


def test_the_reward_is_the_metric_that_a_climb_measures_by() -> None:
    reward = Reward.of({"exact": 2.0}, PLACE)
    assert reward.parts[0][0] is load_metric("exact", PLACE)
    parts = asyncio.run(reward.score([case("yes"), case("no")]))
    assert [reward.total(part) for part in parts] == [2.0, 0.0]


class _Odd(Mean):
    name = "odd"

    def __init__(self, value: object) -> None:
        self.value = value

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        if isinstance(self.value, Exception):
            raise self.value
        return [Score(cast(float, self.value)) for _ in cases]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "high", ValueError("broken")])
def test_a_reward_that_is_no_number_is_told_with_its_name(value: object) -> None:
    with pytest.raises(FitError) as caught:
        asyncio.run(Reward(((_Odd(value), 1.0),)).score([case("a")]))
    assert caught.value.code == "reward"


@pytest.mark.parametrize("given", [[], {}, {"exact": "much"}, 3, {"exact": float("nan")}])
def test_weights_that_are_none_are_refused(given: object) -> None:
    with pytest.raises(InputError):
        read_weights(given)


def test_defences_take_away_what_length_and_one_part_pay() -> None:
    lengths = np.array([1.0, 2.0, 3.0, 10.0])
    quality = np.array([0.2, 0.9, 0.4, 0.1])
    paid = quality + 0.2 * lengths
    left = residual(paid, quality[:, None], lengths)
    assert abs(np.corrcoef(left, lengths)[0, 1]) < 1e-9
    parts = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert minimum(parts.sum(1), parts, lengths[:2]).tolist() == [1.0, 0.0]
    assert clip(0.3)(paid, quality[:, None], lengths).max() == 0.3
    assert defend(read_defences("clip:0.5"), [0.2, 0.9], [{"a": 0.2}, {"a": 0.9}], [1, 1]) == [0.2, 0.5]
    with pytest.raises(InputError):
        read_defences(["clip"])


def preferred(count: int, seed: int = 0) -> list[AnswerPair]:
    """The better answer says "please", of as many letters as the other word."""
    draw = random.Random(seed)
    words = [f"w{at}" for at in range(40)]
    pairs = []
    for at in range(count):
        rest = draw.sample(words, 6)
        asked = (Message("user", f"question {at} {draw.choice(words)}"),)
        pairs.append(
            AnswerPair(str(at), asked, " ".join(["please", *rest]), " ".join(["hurry!", *draw.sample(words, 6)]))
        )
    return pairs


def test_a_reward_is_learnt_and_labels_by_coin_teach_nothing(tmp_path: Path) -> None:
    model, report = fit_reward(preferred(240), cast(Any, Words()), heads=3)
    assert report.accuracy.low > 0.85
    assert report.shuffled.low < 0.75
    assert report.length.value < report.accuracy.value
    assert report.gain.low > 0
    assert report.error < 0.25
    model.save(tmp_path / "reward")
    again = RewardModel.load(tmp_path / "reward", PLACE)
    texts = ["please w1 w2", "hurry! w1 w2"]
    assert np.allclose(again.score(["q"] * 2, texts), model.score(["q"] * 2, texts))
    metric = open_reward_model(str(tmp_path / "reward"), PLACE)
    good, bad = asyncio.run(metric.score([case(text) for text in texts]))
    assert 0 <= bad.value < good.value <= 1
    replace(model, heads=model.heads * np.nan).save(tmp_path / "broken")
    with pytest.raises(InputError, match="no finite numbers"):
        RewardModel.load(tmp_path / "broken", PLACE)


def test_calibration_is_zero_where_what_is_said_comes_true() -> None:
    assert calibration(np.array([0.75] * 75 + [0.25] * 25)) == pytest.approx(0.0, abs=1e-9)
    assert calibration(np.full(100, 0.6)) == pytest.approx(0.4)


def test_no_conversation_is_learnt_from_and_held_out() -> None:
    pairs = preferred(60) + preferred(60)
    learnt, held = divide(pairs, 0.3, 0)
    assert not {pair.asked for pair in learnt} & {pair.asked for pair in held}


def test_equal_and_contradicting_pairs_are_left_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{at}", "chosen": "a", "rejected": "b"} for at in range(11)]
    rows += [{"prompt": "same", "chosen": "a", "rejected": "a "}]
    rows += [{"prompt": "both", "chosen": "a", "rejected": "b"}, {"prompt": "both", "chosen": "b", "rejected": "a"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(read_pairs([path])) == 11
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    with pytest.raises(InputError) as caught:
        read_pairs([path])
    assert caught.value.code == "few-pairs"


def test_rows_that_teach_nothing_are_counted_by_reason_in_any_order(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": f"q{at}", "chosen": "a", "rejected": "b"} for at in range(12)]
    against = [{**row, "chosen": "b", "rejected": "a"} for row in rows]
    rows += [against[0], against[1], against[1], rows[2]]  # as many each, two against one, the same again
    rows += [{"prompt": "same", "chosen": "a", "rejected": "a "}, {"prompt": "none", "chosen": "", "rejected": "a"}]
    rows += [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}, "{broken"]
    path = tmp_path / "pairs.jsonl"
    kept = []
    for turn in (rows, rows[::-1]):
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in turn))
        sifted = sift_pairs([path])
        assert sifted.rows == len(rows)
        assert sifted.left == {
            "equal": 1, "empty": 1, "contradictory": 3, "repeated": 2, "no_pair": 1, "unreadable": 1
        }  # fmt: skip
        assert len(sifted.pairs) + sum(sifted.left.values()) == len(rows)
        assert "3 that others contradict" in sifted.why
        assert "pairs.jsonl:" in sifted.why
        kept.append({(pair.asked, pair.chosen) for pair in sifted.pairs})
    assert kept[0] == kept[1]
    assert ("q1", "b") in kept[0]
    with pytest.raises(InputError, match="there is no"):
        sift_pairs([tmp_path / "none.jsonl"])
