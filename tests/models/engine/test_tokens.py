"""Many texts in one call give what each gives alone, and long ones are not cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rung.models.engine.tokens import Tokenizer, _parts
from tests.tuning.conftest import write_gguf


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    pytest.importorskip("openvino_genai")
    return Tokenizer(write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf"), 512)


def test_together_and_alone(tokenizer: Tokenizer) -> None:
    texts = ["the", "", "a longer text with the word the", "é你", "the", "\ud800 half", "x" * 300]
    assert tokenizer.encode_all(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_all([]) == []


def test_beyond_the_context_nothing_is_cut(tokenizer: Tokenizer) -> None:
    text = " ".join(f"word{i}" for i in range(900))
    short = tokenizer.encode(" word1 word2")
    assert tokenizer.encode(text)[: len(short) - 1] != []
    assert len(tokenizer.encode(text)) == len(text), "one token a character under this vocabulary"


@given(st.text(alphabet=" ab\n", max_size=60), st.integers(1, 9))
@example("no spaces at all here", 4)
@settings(max_examples=25)
def test_parts_are_the_text(text: str, size: int) -> None:
    parts = _parts(text, size)
    assert "".join(parts) == text
    assert all(0 < len(part) <= size for part in parts)
