"""A house's rules and its tone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from rung import tasks
from rung.core.errors import InputError
from rung.core.types import Case, Task
from rung.metrics import load_metric
from rung.metrics.rules.policy import PolicyMetric, read_policy
from rung.metrics.texts.tone import Voice, read_voice, sentences
from tests.metrics.material import Shelf

END = "\n\nHa det fint ute,\nFjellbua"
RETURNS = {"facts": "Returns: 30 days from delivery, unused.", "message": "Can I return the 2 axes?"}


@pytest.fixture(scope="module")
def house() -> PolicyMetric:
    return PolicyMetric(read_policy(tasks.locate("support-reply").parent / "policy.yaml"))


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        ("Yes, you have 30 days for it.", ""),
        ("Yes, send the 2 axes back within 30 days.", ""),
        ("Yes, send them back.", "states the time for returns"),
        ("You have 45 days to return them, not 30 days.", "no return after 30 days"),
        ("You have 30 days. The fee is 49 kr.", "no figure of its own: '49'"),
        ("You have 30 days. Or try XXL.", "no other shop"),
        ("You have 30 days. You should have read the page.", "no blame"),
        ("You have 30 days, and we promise a smile.", "no promise"),
        ("You have 30 days. Mail us your card number.", "asks for no secrets"),
        ("You have 30 days. " + "Go on. " * 50, "short: "),
    ],
)
def test_each_rule_is_seen_when_broken(house: PolicyMetric, body: str, broken: str) -> None:
    score = house.grade(Case(RETURNS, f"Hei,\n\n{body}{END}", None))
    assert score.value == (0.0 if broken else 1.0), score.why
    assert broken in score.why


def test_greeting_signature_and_conditions(house: PolicyMetric) -> None:
    assert "signed: is missing" in house.grade(Case(RETURNS, "Hei,\n\nYou have 30 days.", None)).why
    assert "greets: is missing" in house.grade(Case(RETURNS, f"You have 30 days.{END}", None)).why
    stove = {"facts": "Glo stove: for canisters.", "message": "Can I return to the trail with it?"}
    assert (
        house.grade(Case(stove, f"Hei,\n\nYes, it is light.{END}", None)).value == 1.0
    )  # the rule on returns does not hold


@pytest.fixture(scope="module")
def replies() -> Task:
    return tasks.load("support-reply")


def test_the_shipped_replies_keep_the_rules_and_the_tone(replies: Task) -> None:
    rows = [*replies.train, *replies.dev, *replies.test]
    for spec, least in ((replies.metrics[0], 1.0), (replies.metrics[1], 0.6)):
        metric = load_metric(spec, Shelf())
        right = asyncio.run(metric.score([Case(row.input, row.reference, row.reference) for row in rows]))
        assert np.mean([score.value for score in right]) >= least
    cold = "Kindly be advised that your request has been forwarded. We apologise for any inconvenience!"
    found = asyncio.run(metric.score([Case(rows[0].input, cold, None), Case(rows[0].input, "", None)]))
    assert found[0].value < 0.35
    assert found[1].value == 0.0


def test_the_tone_is_told_on_held_out_sentences(replies: Task) -> None:
    """The card's figure: ten draws of 120 sentences to learn from and 40 to tell apart."""
    texts, own = read_voice(tasks.locate("support-reply").parent / "tone.jsonl")
    shares = []
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(texts))
        learnt, held = order[:120], order[120:]
        voice = Voice([texts[at] for at in learnt], [own[at] for at in learnt])
        shares.append(
            np.mean(
                [(value > 0.5) == own[at] for value, at in zip(voice([texts[at] for at in held]), held, strict=True)]
            )
        )
    assert np.mean(shares) >= 0.8
    said = {sentence for row in (*replies.dev, *replies.test) for sentence in sentences(str(row.reference))}
    assert len(said & set(texts)) <= 12  # the voice has not simply read the answers


def test_wrong_files_are_told_with_the_rule(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    for text, message in (
        ("rules: []", "holds no rules"),
        ("rules: [{name: a, must: 'x', never: 'y'}]", "rule a"),
        ("rules: [{name: a, must: '('}]", "not a pattern"),
        ("rules: [{name: a, most: 'x'}]", "limit"),
        ("rules: [{name: a, must: x}, {name: a, must: y}]", "one name"),
        (": :", "cannot be read"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_policy(file)
    with pytest.raises(InputError, match="there is no file nothing"):
        load_metric("policy:nothing.yaml", Shelf())
    with pytest.raises(InputError, match="needs a file"):
        load_metric("tone:", Shelf())
    voice = tmp_path / "tone.jsonl"
    voice.write_text('{"text": "a b c", "own": true}\n', encoding="utf-8")
    with pytest.raises(InputError, match="one side"):
        load_metric(f"tone:{voice}", Shelf())


def test_a_copy_of_the_pack_reads_its_own_rules(tmp_path: Path) -> None:
    path = tasks.init(tmp_path / "own", kind="support-reply")
    (tmp_path / "own" / "policy.yaml").write_text("rules: [{name: loud, must: 'HURRAH'}]", encoding="utf-8")
    metric = load_metric(tasks.load(path).metrics[0], Shelf())
    assert asyncio.run(metric.score([Case(RETURNS, f"Hei,\n\nYou have 30 days.{END}", None)]))[0].value == 0.0
