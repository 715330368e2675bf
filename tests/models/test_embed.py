from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rung.core.errors import FetchError
from rung.core.protocols import Embedder
from rung.core.settings import Settings
from rung.models import Pool, hub
from rung.models.embed import StaticEmbedder


def test_without_vectors_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path))
    with pytest.raises(FetchError, match="rung models pull static"):
        Pool().embedder()


@pytest.mark.model
def test_vectors_are_unit_means_of_their_tokens() -> None:
    if not hub.present("static", Settings().cache):
        pytest.skip("type: rung models pull static")
    embedder = Pool().embedder()
    assert isinstance(embedder, Embedder)
    assert isinstance(embedder, StaticEmbedder)
    texts = ["I lost my card", "my card is gone", "the weather is nice", "", "\ud800 broken", "a" * 20_000]
    vectors = embedder.embed(texts)
    assert vectors.shape == (6, embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    tokenizer, table = embedder._load()
    ids = tokenizer.encode(texts[0], add_special_tokens=False).ids
    mean = table[ids].mean(axis=0)
    assert np.allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert np.array_equal(embedder.embed(texts * 300)[-6:], vectors)
    assert embedder.embed([]).shape == (0, 256)
