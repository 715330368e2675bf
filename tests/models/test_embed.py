from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest

from rung.core.errors import FetchError, InputError
from rung.core.protocols import Embedder
from rung.core.settings import Settings
from rung.models import Pool, hub, open_embedder
from rung.models.embed import Spec
from rung.models.embed.static import StaticEmbedder, split


@pytest.fixture
def static() -> StaticEmbedder:
    if not hub.present("static", Settings().cache):
        pytest.skip("type: rung models pull static")
    embedder = open_embedder()
    assert isinstance(embedder, StaticEmbedder)
    return embedder


def test_without_vectors_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path))
    with pytest.raises(FetchError, match="rung models pull static"):
        Pool().embedder()


@pytest.mark.parametrize(
    ("name", "kind", "argument", "options"),
    [
        ("static", "static", "", {}),
        ("hf:models/bert?pooling=cls&length=64", "hf", "models/bert", {"pooling": "cls", "length": "64"}),
        ("hf:C:\\models\\bert", "hf", "C:\\models\\bert", {}),
        ("words:what?.vec", "words", "what?.vec", {}),
        ("openai:e@http://127.0.0.1:1/v1?dimensions=4", "openai", "e@http://127.0.0.1:1/v1", {"dimensions": "4"}),
    ],
)
def test_names_are_taken_apart_and_put_together(name: str, kind: str, argument: str, options: dict[str, str]) -> None:
    spec = Spec.parse(name)
    assert (spec.kind, spec.argument, dict(spec.options)) == (kind, argument, options)
    assert Spec.parse(spec.name) == spec


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sttaic", "static"),
        ("static:x", "takes no argument"),
        ("static?pooling=mean", "no option 'pooling'"),
        ("static?cache=perhaps", "on, off"),
    ],
)
def test_a_wrong_name_says_what_is_right(name: str, said: str, static: StaticEmbedder) -> None:
    with pytest.raises(InputError) as caught:
        open_embedder(name)
    assert said in str(caught.value)


@pytest.mark.model
def test_vectors_are_unit_means_of_their_tokens(static: StaticEmbedder) -> None:
    assert isinstance(static, Embedder)
    texts = ["I lost my card", "my card is gone", "the weather is nice", "", "\ud800 broken", "a" * 20_000]
    vectors = static.embed(texts)
    assert vectors.shape == (6, static.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    mean = static._stored[static.tokens(texts[0])].astype(np.float32).mean(axis=0)
    assert np.allclose(vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert np.array_equal(static.embed(texts * 300)[-6:], vectors)
    assert static.embed([]).shape == (0, 256)


def words_as_learned(static: StaticEmbedder, text: str) -> list[int]:
    """The token ids that the embedder adds up for a text."""
    ids, _ = static._words.take(static._words.numbers(split(text)))
    return [int(token) for token in ids]


@pytest.mark.model
def test_remembered_words_give_the_tokens_of_the_whole_text(static: StaticEmbedder) -> None:
    rng = random.Random(5)
    signs = [
        *"ab Z09 ▁\n\t.,;()'\"é日²\u200b\ud800\r \u00a0",
        "<s>",
        "</s>",
        "<unk>",
        "  ",
        "word",
        "it's",
        "e.g. ",
        "\n\n",
    ]
    texts = ["".join(rng.choice(signs) for _ in range(rng.randint(0, 30))) for _ in range(3000)]
    texts += [" ", "  ", "\n", "a ", " a", "a\n", "<s>", "²,", "x² y"]
    static.embed(texts)
    for text in texts:
        assert words_as_learned(static, text) == static.tokens(text), ascii(text)


@pytest.mark.model
def test_no_token_crosses_a_place_where_texts_are_cut(static: StaticEmbedder) -> None:
    static.embed(["x"])
    crossing = re.compile(r"[^▁]▁|\n|[a-zA-Z][\0-@\[-`{-\x7f]|[\0-@\[-`{-\x7f][a-zA-Z]|[0-9].|.[0-9]")
    named = re.compile(r"<0x..>|</?s>|<unk>")
    assert not [t for t in static._tokenizer.get_vocab() if crossing.search(t) and not named.fullmatch(t)]


@pytest.mark.model
def test_what_is_remembered_is_bounded_and_changes_nothing(
    static: StaticEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"word{i} and w{i * 7}." for i in range(1000)]
    wanted = static.embed(texts)
    monkeypatch.setattr("rung.models.embed.static.WORDS", 100)
    monkeypatch.setattr("rung.models.embed.static.BATCH", 10)
    small = StaticEmbedder(static._folder)
    assert np.array_equal(small.embed(texts), wanted)
    assert len(small._words) <= 130
    assert small._words._runs == len(small._words)
    monkeypatch.setattr("rung.models.embed.static.WORDS", 1 << 18)
    monkeypatch.setattr("rung.models.embed.static.CHARACTERS", 200)
    assert np.array_equal(small.embed(texts), wanted)
    assert small._words.size <= 500


@pytest.mark.model
def test_the_vocabulary_is_words_with_their_vectors(static: StaticEmbedder) -> None:
    words, vectors = static.vocabulary()
    assert len(words) == len(set(words)) == len(vectors) > 10_000
    assert np.allclose(vectors[words.index("king")], static.embed(["king"])[0], atol=1e-6)
