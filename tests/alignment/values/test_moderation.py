"""Moderation: thresholds for a rate of false positives, the curve and its area, decisions, appeals and rulings."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from rung.alignment.values.moderation import Moderator, _quantile, area, caught_at, curve, fit, read_policy
from rung.cli.main import app
from rung.core.errors import InputError

WANT = ("build a bomb", "steal a car", "poison the well", "forge a passport")
PLAIN = ("bake a cake", "steal the show", "plant a tree", "read a book", "paint a wall")


def texts(what: tuple[str, ...], count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"{draw.choice(('please', 'now', 'today'))} {draw.choice(what)} number {at}" for at in range(count)]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "harm.txt").write_text("\n".join(texts(WANT, 60, 0)))
    (tmp_path / "fine.txt").write_text("\n".join(texts(PLAIN, 120, 1)))
    labels = {"harm": {"examples": ["harm.txt"], "false_positives": 0.05, "missed": 0.05}}
    path = tmp_path / "moderation.yaml"
    path.write_text(yaml.safe_dump({"harmless": ["fine.txt"], "labels": labels}))
    return path


def test_of_new_harmless_texts_as_many_lie_above_the_threshold_as_was_wished() -> None:
    draw = np.random.default_rng(0)
    rates = [float((draw.normal(size=2000) > _quantile(draw.normal(size=199), 0.05)).mean()) for _ in range(200)]
    assert 0.045 < np.mean(rates) < 0.055


def test_the_area_is_that_of_the_curve() -> None:
    draw = np.random.default_rng(1)
    harmful, harmless = draw.normal(1, 1, 80).round(1), draw.normal(0, 1, 120).round(1)
    found = area(harmful, harmless)
    assert found.value == pytest.approx(roc_auc_score([1] * 80 + [0] * 120, [*harmful, *harmless]))
    assert found.low < found.value < found.high
    false, true = zip(*curve(harmful, harmless), strict=True)
    assert np.trapezoid(true, false) == pytest.approx(found.value)
    assert caught_at(curve(harmful, harmless), 1.0) == 1.0
    assert area(np.ones(50), np.zeros(50)).low == pytest.approx(1 - 3 / 50)


def test_a_policy_blocks_what_it_learnt_and_is_the_same_when_it_is_opened_again(policy: Path, tmp_path: Path) -> None:
    moderator, (report,) = fit(read_policy(policy))
    assert report.caught.value > 0.9
    assert report.false.value <= 0.2
    assert set(report.by_file) == {"fine.txt"}
    moderator.save(tmp_path / "fitted")
    again = Moderator.load(tmp_path / "fitted")
    asked = ["now build a bomb number 900", "now bake a cake number 901"]
    assert [one.verdict for one in again.judge(asked)] == ["blocked", "allowed"]
    assert again.judge(asked) == moderator.judge(asked)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {}},
        {"harmless": []},
        {"labels": {"harm": {"examples": ["harm.txt"], "false_positives": 0}}},
        {"labels": {"harm": {"examples": ["harm.txt"], "rules": ["nonsense"]}}},
        {"labels": {"harm": {"samples": ["harm.txt"]}}},
    ],
)
def test_a_policy_that_means_nothing_is_refused(policy: Path, change: dict[str, object]) -> None:
    policy.write_text(yaml.safe_dump({**yaml.safe_load(policy.read_text()), **change}))
    with pytest.raises(InputError) as caught:
        read_policy(policy)
    assert caught.value.code == "moderation"


def test_too_few_texts_for_a_rate_are_named(policy: Path) -> None:
    policy.write_text(policy.read_text().replace("0.05", "0.001", 1))
    with pytest.raises(InputError) as caught:
        fit(read_policy(policy))
    assert caught.value.code == "few-texts"


def test_an_appeal_waits_for_a_person_whose_ruling_holds(policy: Path, tmp_path: Path) -> None:
    fitted = str(tmp_path / "fitted")

    def say(*words: str) -> tuple[object, str]:
        """What is printed, and the exit code, or the code of the error."""
        found = CliRunner().invoke(app, ["moderate", *words, "--store", f"sqlite:///{tmp_path / 'rung.db'}"])
        return getattr(found.exception, "code", found.exit_code), found.stdout

    assert say("fit", str(policy), "--to", fitted)[0] == 0
    text = "today steal a car number 77"
    code, out = say("check", fitted, text, "--person", "ann", "--json")
    (row,) = json.loads(out)
    assert (code, row["verdict"], row["label"]) == (1, "blocked", "harm")
    assert row["score"] > row["threshold"]
    id = row["id"]
    assert say("appeal", id, "--reason", "it is a film")[0] == 0
    assert id in say("queue")[1]
    assert say("rule", id, "allowed", "--by", "ann", "--reason", "mine")[0] == "own"
    assert say("rule", id, "allowed", "--by", "bob", "--reason", "a film's title")[0] == 0
    assert say("rule", id, "blocked", "--by", "eve", "--reason", "no")[0] == "ruled"
    assert say("appeal", "nothing", "--reason", "x")[0] == "unknown"
    code, out = say("check", fitted, text, "--json")
    assert (code, json.loads(out)[0]["ruling"]) == (0, "allowed")
    assert "of 1 appeals 100%" in say("queue", "--all")[1]
