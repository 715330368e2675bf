"""The alarm of drift: silent on what has not changed, loud on what has."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from rung.alignment.audit.drift import Monitor
from rung.alignment.audit.signs import drift, read_signs
from rung.core.errors import InputError
from tests.alignment.words import Words


def texts(count: int, seed: int, topic: str = "refund order parcel late money card bill account") -> list[str]:
    draw = random.Random(seed)
    words = topic.split() + [f"w{at}" for at in range(30)]
    return [" ".join(draw.choices(words, k=8)) for _ in range(count)]


def test_a_shift_raises_the_alarm_soon() -> None:
    monitor = Monitor(cast(Any, Words()), texts(200, 0))
    assert monitor.watch(texts(200, 1)).at == 0
    found = monitor.watch(["poem moon rhyme verse sonnet stanza " + text for text in texts(150, 2, "moon rhyme verse")])
    assert 200 < found.at < 350
    assert found.strangest


def test_the_alarm_is_false_as_seldom_as_it_says() -> None:
    """40 streams of 400 unshifted texts at alpha 0.05: the number of alarms is at most binomial (40, 0.05)."""
    alarms = 0
    for seed in range(40):
        stream = texts(480, 100 + seed)
        alarms += Monitor(cast(Any, Words()), stream[:80], alpha=0.05, seed=seed).watch(stream[80:]).at > 0
    assert alarms <= 5  # more has a probability below 0.02 even if the rate were 0.05 exactly


def test_too_little_to_compare_with_is_refused() -> None:
    with pytest.raises(InputError):
        Monitor(cast(Any, Words()), texts(10, 0))


def test_signs_say_what_has_changed() -> None:
    before = read_signs([(at, text) for at, text in enumerate(texts(20, 0))])
    assert drift(before, read_signs([(at, text) for at, text in enumerate(texts(20, 1))])) == []
    hacked = read_signs([(at, "to visit the park and to visit the park and to visit the park") for at in range(20)])
    found = " ".join(drift(before, hacked))
    assert "several prompts" in found
    assert "repeat" in found
    assert "'the'" in found or "'park'" in found or "'to'" in found or "'visit'" in found or "'and'" in found
