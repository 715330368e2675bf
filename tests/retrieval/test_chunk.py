"""Every chunker: passages are the document's own text, nothing is lost, none is too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.core.errors import InputError
from rung.core.types import Document, Passage
from rung.foundations.text.sentences import WORD, each_unit, lines, sentences, weigh
from rung.retrieval.chunk import Chunker, chunker
from rung.retrieval.chunk.outline import outline


class Letters:
    """A vector of letter counts: texts about different things differ."""

    name = "letters"
    fingerprint = "letters"
    dimensions = 26

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.array([[1 + text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


SPECS = ("fixed:12:0", "fixed:12:6", "sentences:12", "sentences:12:6", "recursive:12", "recursive:12:6", "semantic:12")
MARKDOWN = (
    """Before.

# Rivers

The Danube flows through Vienna. It is long, 2850 km. Dr. Smith went there in 1901.

## Bends

- one bend
- two bends

```python
# no heading

x = 1
```

### Deep

"""
    + "A sentence of seven words is here. " * 12
)
PYTHON = '''"""Doc."""
import os

@decorated
def first(a):
    """Says a."""
    return a

class Thing:
    x = 1

    def method(self):
        return self.x

    async def other(self):
        return 2

after = 3
'''
pieces = st.one_of(
    st.sampled_from(["# Head\n", "## Sub\n", "```\n", "\n\n", "\n", ". ", "! ", "x" * 100, "- item\n", "東京は日本。", "é ", "e.g. ", "    ", "\t"]),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)  # fmt: skip
texts = st.lists(pieces, max_size=60).map("".join)


def make(spec: str) -> Chunker:
    return chunker(spec, Letters())


def check(document: Document, passages: list[Passage]) -> None:
    at = 0
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text.strip() == passage.text != ""
        assert passage.id == f"{document.id}#{passage.start}-{passage.end}"
        assert passage.document == document.id
        assert not document.text[at : passage.start].strip()  # nothing between passages is lost
        at = max(at, passage.end)
    assert not document.text[at:].strip()
    assert len({passage.id for passage in passages}) == len(passages)
    assert passages == sorted(passages, key=lambda passage: (passage.start, passage.end))


@pytest.mark.parametrize("spec", SPECS)
@given(text=texts, language=st.sampled_from(["", "python", "go"]))
def test_the_contract_of_every_chunker(spec: str, text: str, language: str) -> None:
    document = Document("d", text, {"language": language} if language else {})
    passages = make(spec).split(document)
    check(document, passages)
    assert passages == make(spec).split(document)
    for passage in passages:
        # An ASCII run longer than WORD is several words, and may be weighed as one.
        assert len(list(each_unit(passage.text))) <= 12 + sum(len(run) // WORD for run in passage.text.split())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    "document", [Document("m", MARKDOWN), Document("p", PYTHON, {"language": "python"})], ids=["md", "py"]
)
def test_structured_documents(spec: str, document: Document) -> None:
    check(document, make(spec).split(document))


def test_windows_and_their_overlap() -> None:
    document = Document("d", " ".join(f"w{n}" for n in range(25)))
    found = [passage.text.split() for passage in chunker("fixed:10:3").split(document)]
    assert [(words[0], words[-1]) for words in found] == [("w0", "w9"), ("w7", "w16"), ("w14", "w23"), ("w21", "w24")]
    assert len(chunker("fixed:10").split(Document("d", " ".join(["w"] * 20)))) == 2
    assert chunker("fixed:10").split(Document("d", " \n ")) == []


def test_sentences_stay_whole_and_overlap_by_sentences() -> None:
    text = "One two three four. Five six seven. Eight nine ten eleven. Twelve thirteen."
    found = [passage.text for passage in chunker("sentences:8:4").split(Document("d", text))]
    assert found == [
        "One two three four. Five six seven.",
        "Five six seven. Eight nine ten eleven.",
        "Eight nine ten eleven. Twelve thirteen.",
    ]


def test_recursion_follows_the_structure() -> None:
    found = chunker("recursive:24").split(Document("m", MARKDOWN, {"kind": "markdown", "pages": ["x"]}))
    by_text = {passage.text.partition("\n")[0]: passage.metadata for passage in found}
    assert by_text["Before."] == {"kind": "markdown", "pages": ["x"]}
    assert by_text["## Bends"]["heading"] == "Rivers > Bends"
    assert by_text["### Deep"]["heading"] == "Rivers > Bends > Deep"
    fenced = next(passage for passage in found if "```" in passage.text)
    assert fenced.text.count("```") == 2
    code = chunker("recursive:8").split(Document("p", PYTHON, {"language": "python"}))
    headings = [passage.metadata.get("heading") for passage in code]
    assert [name for name in headings if name] == ["first", "Thing", "Thing > method", "Thing > other"]
    assert next(passage for passage in code if passage.metadata.get("heading") == "first").text.startswith("@decorated")


def test_a_semantic_chunker_parts_where_the_subject_changes() -> None:
    first, second = "Aba cab dab abba cab bad. " * 4, "Xyz zyx wyz zyx vxy wyx. " * 4
    cuts = [passage.start for passage in chunker("semantic:60", Letters()).split(Document("d", first + second))]
    assert len(first) in cuts


def test_the_page_of_a_passage() -> None:
    document = Document(
        "a.pdf", "One first page is here.\n\nA second page is here.", {"pages": ["0-23", "25-47"], "kind": "pdf"}
    )
    found = chunker("sentences:8").split(document)
    assert [passage.metadata for passage in found] == [{"kind": "pdf", "page": 1}, {"kind": "pdf", "page": 2}]


@pytest.mark.parametrize(
    ("spec", "words"),
    [("fixed:x", "no chunker"), ("lines:3", "no chunker"), ("fixed:4", "at least 8"), ("recursive:20:15", "at most half"),
     ("semantic:40:3", "no chunker"), ("semantic:40", "needs an embedder")],
)  # fmt: skip
def test_wrong_chunkers_are_refused(spec: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        chunker(spec)


@pytest.mark.parametrize("spec", ["fixed:256:32", "sentences:200:40", "recursive:400:0", "semantic:90"])
def test_the_text_form_reads_back(spec: str) -> None:
    assert str(make(spec)) == spec
    assert str(make(str(make(spec)))) == spec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid 3.50 to J. Doe, e.g. twice. Then he left!", ["Dr. Smith paid 3.50 to J. Doe, e.g. twice.", "Then he left!"]),
        ('He said "No." Then "Yes!" came.', ['He said "No."', 'Then "Yes!" came.' ]),
        ("A title\n\nA text. - no item\n- an item\n2. two", ["A title", "A text.", "- no item", "- an item", "2. two"]),
        ("これは本です。それは？はい", ["これは本です。", "それは？", "はい"]),
        ("Row:\n| a | b. c |\n| d |\n# Head\nText", ["Row:", "| a | b. c |", "| d |", "# Head\nText"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[span.start : span.end] for span in sentences(text)] == expected


def test_lines_end_sentences_of_an_answer() -> None:
    text = "One line\nand another. Third\n\n...\n- 4. i.e. so"
    assert [text[span.start : span.end] for span in lines(text)] == [
        "One line",
        "and another.",
        "Third",
        "- 4. i.e. so",
    ]


def test_long_lines_take_linear_time_and_are_cut() -> None:
    for text in ("y" * 400_000, "word " * 80_000, "# " * 90_000, "```\n" * 40_000, "A. " * 50_000, "\n " * 200_000):
        for spec in ("fixed:200", "sentences:200", "recursive:200"):
            document = Document("d", text)
            found = chunker(spec).split(document)
            assert all(weigh(passage.text) <= 201 for passage in found)


def test_headings_in_fences_are_none() -> None:
    marks: Any = outline(Document("d", "# A\n~~~\n# B\n```\n# C\n~~~\n# D #\n#E"))
    assert [mark.path for mark in marks] == [("A",), ("D",)]
