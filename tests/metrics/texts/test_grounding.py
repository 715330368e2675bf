"""Support, faithfulness, citations and context: never NaN, strict about numbers, names and negation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.types import Case, Step
from rung.metrics import load_metric
from rung.metrics.texts.grounding import SUPPORTED, claims, missing, support
from rung.models.providers.fake import Fake
from tests.metrics.material import Shelf

LAMP = "The safety lamp was invented in 1815 by Humphry Davy, who did not patent it."
OTTER = "The sea otter eats sea urchins. It weighs 30 kg."


def case(output: Any, *, cited: list[tuple[str, list[str]]] | None = None, reference: Any = "Davy") -> Case:
    steps = [Step("retrieve", reply=json.dumps([{"text": LAMP}, {"text": OTTER}]))]
    if cited is not None:
        quotes = list(dict.fromkeys(quote for _, found in cited for quote in found))
        body = {
            "claims": [{"text": text, "marks": [quotes.index(quote) + 1 for quote in found]} for text, found in cited],
            "citations": [{"mark": at, "quote": quote} for at, quote in enumerate(quotes, 1)],
        }
        steps.append(Step("cite", reply=json.dumps(body)))
    return Case({"question": "q"}, output, reference, steps=tuple(steps))


async def value(name: str, item: Case) -> float:
    return (await load_metric(name, Shelf()).score([item]))[0].value


@pytest.mark.parametrize(
    ("claim", "source", "held"),
    [
        ("Humphry Davy invented the safety lamp.", LAMP, True),
        ("The lamp was invented in 1815.", LAMP, True),
        ("The lamp was invented in 1816.", LAMP, False),
        ("Faraday said that Michael Faraday invented the safety lamp.", LAMP, False),
        ("The sea otter does not eat sea urchins.", "The sea otter eats sea urchins.", False),
        ("Sea otters eat urchins.", OTTER, True),
        ("Trains run on rails.", LAMP, False),
        ("", LAMP, False),
        ("Davy", "", False),
    ],
)
def test_support(claim: str, source: str, held: bool) -> None:
    assert (support(claim, source) >= SUPPORTED) is held


@given(st.text(max_size=60), st.text(max_size=120))
def test_support_is_a_share(claim: str, source: str) -> None:
    assert 0.0 <= support(claim, source) <= 1.0


def test_claims_are_sentences_without_marks() -> None:
    assert claims("A was there [1]. B came at 3.5 [2][3]; C left") == ["A was there.", "B came at 3.5", "C left"]
    assert claims(" ... ") == []
    assert claims("- It glows; it burns oil.\n2. It is old.") == ["It glows", "it burns oil.", "It is old."]
    assert claims("Dr. Clanny built one, e.g. In Sunderland. Élie saw it") == [
        "Dr. Clanny built one, e.g. In Sunderland.",
        "Élie saw it",
    ]
    assert claims("Change it to 9844888101. You want 12 - 3 more") == [
        "Change it to 9844888101.",
        "You want 12 - 3 more",
    ]


def test_numbers_and_names_that_a_source_lacks() -> None:
    assert missing("It was invented in 1816.", LAMP) == "1816"
    assert missing("The lamp of George Stephenson", LAMP) == "George"
    assert missing("In 1815 the lamp of Davy was built.", LAMP) == ""
    assert missing("It was 1,815 m and Paris", "1815 m near paris") == ""


async def test_faithfulness() -> None:
    assert await value("faithfulness", case("Humphry Davy invented the safety lamp. Otters eat urchins.")) == 1.0
    assert await value("faithfulness", case("Humphry Davy invented the safety lamp. Otters eat whales in 1900.")) == 0.5
    assert await value("faithfulness", case("...")) == 1.0
    assert await value("faithfulness", Case({"text": "a"}, "Davy", None)) == 0.0
    field = Case({"passage": LAMP, "question": "Who?"}, "Humphry Davy", None)
    assert await value("faithfulness", field) == 1.0


async def test_a_judge_decides_what_words_leave_open() -> None:
    class Judged(Shelf):
        def model(self, name: str | None = None) -> Any:
            return Fake(name="echo")

    metric = load_metric("faithfulness:judge", Judged())
    scores = await metric.score([case("Davy constructed the famous safety lamp himself")])
    assert scores[0].value in (0.0, 1.0)
    assert metric.name == "faithfulness:judge"
    with pytest.raises(InputError, match="faithfulness takes no"):
        load_metric("faithfulness:strict", Shelf())


async def test_citations() -> None:
    good = ("Humphry Davy invented the safety lamp.", [LAMP])
    bad = ("Otters eat urchins.", [LAMP])
    bare: tuple[str, list[str]] = ("Otters eat urchins.", [])
    assert await value("citation-precision", case("x", cited=[good, bad])) == 0.5
    assert await value("citation-recall", case("x", cited=[good, bad])) == 0.5
    assert await value("citation-precision", case("x", cited=[good, bare])) == 1.0
    assert await value("citation-recall", case("x", cited=[good, bare])) == 0.5
    assert await value("citation-precision", case("x", cited=[bare])) == 0.0
    assert await value("citation-precision", case("x", cited=[])) == 1.0
    assert await value("citation-recall", case("x", cited=[])) == 1.0
    assert await value("citation-recall", case("x")) == 0.0
    both = ("Davy invented a lamp and the sea otter eats sea urchins", [LAMP, OTTER, "Trains run on rails."])
    assert await value("citation-precision", case("x", cited=[both])) == pytest.approx(2 / 3)


async def test_context() -> None:
    assert await value("context-recall", case("x")) == 1.0
    assert await value("context-precision", case("x")) == 1.0
    assert await value("context-precision", case("x", reference="the sea urchins")) == 0.5
    assert await value("context-recall", case("x", reference=["trains", "30 kg"])) == 1.0
    assert await value("context-recall", case("x", reference="trains")) == 0.0
    assert await value("context-recall", Case({"q": "x"}, "y", "z")) == 0.0
    broken = Case({"q": "x"}, "y", "z", steps=(Step("retrieve", reply="{"), Step("cite", reply="[")))
    assert await value("context-precision", broken) == 0.0
    assert await value("citation-recall", broken) == 0.0


def test_signs_that_are_not_seen_change_no_verdict() -> None:
    assert (
        support("The soft\u00adware costs 4\u200b0 euro.", "The software costs 40 euro in \u200bVienna.") >= SUPPORTED
    )
    assert missing("Vi\u200benna", "In Vienna.") == ""
    assert claims("\ufeffIt is\u200b so.") == ["It is so."]


def test_claims_in_scripts_without_spaces_are_compared_by_their_letters() -> None:
    assert support("北京大学在北京", "北京大学在北京的西边。") >= SUPPORTED
    assert support("上海是中国的首都", "京都有很多寺庙。") < SUPPORTED
