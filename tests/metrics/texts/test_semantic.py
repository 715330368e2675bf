from __future__ import annotations

import pytest

from rung.core.types import Case, Failure
from rung.metrics import load_metric
from rung.metrics.texts.semantic import SemanticSimilarity
from tests.metrics.material import Shelf, WordEmbedder


async def test_cosine_with_the_nearest_reference() -> None:
    metric = SemanticSimilarity(WordEmbedder())
    cases = [
        Case({}, "red lamp", "lamp red"),
        Case({}, "red lamp", ["blue desk", "a red lamp b"]),
        Case({}, None, "red lamp", failure=Failure("parse", "empty")),
        Case({}, "wood", "metal"),
    ]
    same, near, failure, far = await metric.score(cases)
    assert same.value == pytest.approx(1)
    assert near.value == pytest.approx(2 / 8**0.5)
    assert "cosine 0.707 with 'a red lamp b'" in near.why
    assert failure.value == 0
    assert far.value == 0


async def test_embeds_every_text_once() -> None:
    seen: list[str] = []

    class Counting(WordEmbedder):
        def embed(self, texts):  # type: ignore[no-untyped-def]
            seen.extend(texts)
            return super().embed(texts)

    await SemanticSimilarity(Counting()).score([Case({}, "a", "b"), Case({}, "b", ["a", "c"])])
    assert sorted(seen) == ["a", "b", "c"]


def test_spec_names_the_embedder() -> None:
    assert load_metric("semantic:minilm", Shelf()).name == "semantic:minilm"
