"""Work that grows with the length of a text, whatever it repeats. Where it grew with the square, these 100 kB took minutes: the
limit is generous, and a run within it says that nothing does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rung.core.errors import InputError
from rung.core.types import Document, Hit, Passage
from rung.metrics.texts.grounding import claims, support
from rung.retrieval.answer.cite import cite, locate
from rung.retrieval.answer.span import candidates
from rung.retrieval.chunk import chunker
from rung.retrieval.chunk.outline import TITLE, outline
from rung.retrieval.filter.conditions import NESTED, check
from rung.retrieval.filter.text import read

LENGTH = 100_000
UNITS = (".", "!?", '."', " ", "\t", "\n", "# ", " #", "_ ", "A-", "[1] ", "```\n", "1. ")


def hit(text: str) -> Hit:
    return Hit(Passage("p", "d", 0, len(text), text), 1.0, {}, ())


WORK: dict[str, Callable[[str], object]] = {
    "recursive": lambda text: chunker("recursive:200:20").split(Document("d", text)),
    "sentences": lambda text: chunker("sentences:200:40").split(Document("d", text)),
    "claims": claims,
    "cite": lambda text: cite(text, [hit("The bridge was built in 1901.")]),
    "cited": lambda text: cite("The Bridge was built. It is A-grade.", [hit(text)]),
    "support": lambda text: support("The Bridge of A-1", text),
    "candidates": lambda text: candidates("what was built", [hit(text)]),
}


@pytest.mark.timeout(40)
@pytest.mark.parametrize("name", WORK)
def test_repeated_signs_cost_what_their_number_is(name: str) -> None:
    for unit in UNITS:
        WORK[name]("# a" + unit * (LENGTH // len(unit)) + "x")


@pytest.mark.timeout(40)
def test_underscores_between_words_are_not_tried_in_every_way() -> None:
    assert locate("_ " * 40 + "y", "_" * 5000) is None
    span = locate("snake case", "a snake_case name")
    assert span is not None
    assert (span.start, span.end) == (2, 12)


@pytest.mark.timeout(40)
def test_a_long_heading_is_not_repeated_whole_in_every_passage() -> None:
    document = Document("d", "# " + "h" * LENGTH + " ##\n\n" + "words and more. " * 4000)
    assert [mark.path for mark in outline(document)] == [("h" * TITLE,)]
    passages = chunker("recursive:200").split(document)
    assert sum(len(str(passage.metadata)) for passage in passages) < 4 * LENGTH


@pytest.mark.timeout(40)
def test_filters_have_a_depth() -> None:
    deep: dict[str, object] = {"a": 1}
    for _ in range(NESTED):
        deep = {"any": [deep]}
    assert check(deep).parts
    with pytest.raises(InputError) as caught:
        check({"all": [deep]})
    assert caught.value.code == "filter-too-deep"
    for text in ("(" * 5000 + "a=1", "(" * 60 + "a=1" + ")" * 60, '{"any":[' * 50_000):
        with pytest.raises(InputError) as caught:
            read(text)
        assert caught.value.code == "filter-too-deep"
    assert read("(" * 40 + "a=1" + ")" * 40) == {"a": {"eq": 1}}
    assert len(read("a=1 " * 20_000)["all"]) > 10_000
