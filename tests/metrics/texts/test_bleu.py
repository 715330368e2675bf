from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from rung.core.types import Case, Failure
from rung.metrics.texts.bleu import BLEU, CHRF, Bleu, Chrf
from tests.metrics.material import pairs

PEERS = [(BLEU, sacrebleu.BLEU(), "bleu"), (CHRF, sacrebleu.CHRF(), "chrf")]


@pytest.mark.parametrize(("metric", "peer", "_"), PEERS, ids=["bleu", "chrf"])
async def test_corpus_score_equals_sacrebleu(metric: Bleu | Chrf, peer: object, _: str) -> None:
    data = pairs(60)
    scores = await metric.score([Case({}, a, b) for a, b in data])
    expected = peer.corpus_score([a for a, _ in data], [[b for _, b in data]]).score  # type: ignore[attr-defined]
    assert 100 * metric.reduce(scores)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "peer", "_"), PEERS, ids=["bleu", "chrf"])
async def test_every_resample_equals_sacrebleu_on_it(metric: Bleu | Chrf, peer: object, _: str) -> None:
    data = [(a[:90], b[:120]) for a, b in pairs(25)]
    scores = await metric.score([Case({}, a, b) for a, b in data])
    draws = np.random.default_rng(1).integers(0, 25, (12, 25))
    found = 100 * metric.reduce(scores, draws)
    for value, row in zip(found, draws, strict=True):
        said, wanted = [data[i][0] for i in row], [data[i][1] for i in row]
        assert value == pytest.approx(peer.corpus_score(said, [wanted]).score, abs=1e-9)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("metric", "peer", "_"), PEERS, ids=["bleu", "chrf"])
@pytest.mark.parametrize(
    "said",
    [
        ["", ""],
        ["zzz qqq", "xx"],
        ["the cat sat", ""],
        ["the", "a"],
        ["the cat sat on the mat today", "no match here ok"],
    ],
)
async def test_degenerate_corpora(metric: Bleu | Chrf, peer: object, _: str, said: list[str]) -> None:
    wanted = ["the cat sat on the mat", "it ran"]
    scores = await metric.score([Case({}, a, b) for a, b in zip(said, wanted, strict=True)])
    expected = peer.corpus_score(said, [wanted]).score  # type: ignore[attr-defined]
    assert 100 * metric.reduce(scores)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "peer", "_"), PEERS, ids=["bleu", "chrf"])
async def test_several_references(metric: Bleu | Chrf, peer: object, _: str) -> None:
    data = pairs(20)
    other = [b.upper()[:60] for _, b in data[5:] + data[:5]]
    scores = await metric.score([Case({}, a, [b, c]) for (a, b), c in zip(data, other, strict=True)])
    expected = peer.corpus_score([a for a, _ in data], [[b for _, b in data], other]).score  # type: ignore[attr-defined]
    assert 100 * metric.reduce(scores)[0] == pytest.approx(expected, abs=1e-9)


async def test_a_failed_item_counts_as_an_empty_answer() -> None:
    cases = [Case({}, "the cat sat on the mat", "the cat sat on the mat")]
    cases.append(Case({}, None, "it ran far away then", failure=Failure("model", "down")))
    expected = sacrebleu.BLEU().corpus_score(["the cat sat on the mat", ""], [[c.reference for c in cases]]).score
    assert 100 * BLEU.reduce(await BLEU.score(cases))[0] == pytest.approx(expected)


@pytest.mark.parametrize("text", ["北京大学在北京的西边", "東京は日本の首都です"])
async def test_a_text_without_spaces_equals_itself_and_a_part_of_it_is_like_it(text: str) -> None:
    pytest.importorskip("sacrebleu")
    same, part = await BLEU.score([Case({}, text, text)]), await BLEU.score([Case({}, text[:-2], text)])
    assert BLEU.reduce(same)[0] == pytest.approx(1.0)
    assert 0.5 < BLEU.reduce(part)[0] < 1
