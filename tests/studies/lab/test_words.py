"""What is measured of word vectors: WordNet's paths, misspellings, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.models.embed import open_embedder
from rung.studies.lab.words.vectors import WordVectors, misspell
from rung.studies.lab.words.wordnet import NounPaths
from rung.studies.study import Lab
from tests.foundations.words.test_words import ANIMALS, TOOLS, fable


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    """Animals and tools, each a step below their kind, both kinds below one top."""
    kinds = {1: ("thing", ()), 2: ("animal", (1,)), 3: ("tool", (1,))}
    kinds |= {4 + at: (word, (2,)) for at, word in enumerate(ANIMALS)}
    kinds |= {9 + at: (word, (3,)) for at, word in enumerate(TOOLS)}
    data = ["  1 This software and database", *(
        f"{at:08d} 03 n 01 {word} 0 {len(above):03d} "
        + " ".join(f"@ {top:08d} n 0000" for top in above) + " | what it is" for at, (word, above) in kinds.items()
    )]  # fmt: skip
    index = [f"{word} n 1 1 @ 1 0 {at:08d}" for at, (word, _) in kinds.items()]
    (tmp_path / "data.noun").write_text("\n".join(data))
    (tmp_path / "index.noun").write_text("\n".join(["  licence", *index]))
    return tmp_path


def test_paths_of_wordnet(wordnet: Path) -> None:
    paths = NounPaths.read(wordnet)
    assert paths.similarity("horse", "horse") == 1
    assert paths.similarity("horse", "animal") == 1 / 2
    assert paths.similarity("horse", "goat") == 1 / 3
    assert paths.similarity("horse", "drill") == 1 / 5
    assert len({value for _, _, value in paths.pairs((*ANIMALS, *TOOLS), 60, 0)}) == 2
    (wordnet / "data.noun").write_text("what is this")
    with pytest.raises(InputError):
        NounPaths.read(wordnet)


async def test_vectors_are_measured_and_open_as_embedders(wordnet: Path, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(fable(1000))
    study = WordVectors(
        ("random", "skipgram", "fasttext"), text=(str(tmp_path / "t.txt"),), wordnet=wordnet, dimensions=12,
        epochs=2, to=tmp_path / "out", near="horse",
    )  # fmt: skip
    found = await study.measure(None, lab)
    chance, skip, fast = found.methods
    assert skip.similarity[0][2] == chance.similarity[0][2] > 20
    assert len(skip.near) == 5
    assert fast.misspelled is not None
    assert open_embedder(f"words:{tmp_path / 'out' / 'skipgram.vec'}").dimensions == 12
    assert open_embedder(f"subwords:{tmp_path / 'out' / 'fasttext.npz'}").dimensions == 12
    assert not (tmp_path / "out" / "random.vec").exists()
    assert "WordNet" in study.table(found)
    with pytest.raises(InputError) as caught:
        await WordVectors(("word3vec",)).measure(None, lab)
    assert caught.value.code == "method"


def test_a_misspelling_is_another_word_of_the_same_beginning() -> None:
    rng = np.random.default_rng(0)
    wrong = [misspell("kettle", rng) for _ in range(50)]
    assert all(word[0] == "k" and abs(len(word) - 6) < 2 for word in wrong)
    assert len(set(wrong)) > 10
