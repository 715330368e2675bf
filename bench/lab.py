"""The lab's models beside torch.nn and gensim, one thread each, in turn in one process.

    python bench/lab.py [--rounds 3] [--width 192]
    python bench/lab.py --words FILE [--similarity FILE] [--epochs 1] [--tokens 1500000]

Without ``--words``: forward and backward passes of language models over bytes, 16 windows of 128, ours and torch.nn's of as many numbers;
CPU milliseconds a step, medians of the rounds. With it: word2vec and fastText on a text, ours and gensim's (one worker; installed for
this bench alone), in thousands of words a CPU second, and how well both agree with people's judgements of similarity.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from rung.core.text.columns import align
from rung.foundations.language.training import cross_entropy, size
from rung.foundations.words.fasttext import FastText
from rung.foundations.words.vocabulary import TextVocabulary
from rung.foundations.words.word2vec import SkipgramPlan, train
from rung.ladder.view.numbers import exact
from rung.models.embed import unit
from rung.retrieval.measure.vectors import Space, agree, read_similarity
from rung.studies.lab.corpus import text
from rung.studies.lab.language.ladder import network

BATCH, LENGTH = 16, 128


class Peer(nn.Module):  # type: ignore[misc]
    """Embedding, torch's own layers, and a product that says what comes next."""

    def __init__(self, kind: str, width: int, numbers: int) -> None:
        super().__init__()
        if kind == "transformer":
            # 4 layers with 4 d^2 numbers for attention and 2 * d * 4d for the rest, 2 * 256 * d outside.
            width = max([d for d in range(8, 512, 8) if 48 * d * d + 512 * d <= numbers], default=8)
            layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True)
            self.layers: nn.Module = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
            self.places: Any = nn.Parameter(torch.randn(LENGTH, width) * 0.02)
            inputs = width
        else:
            inputs = 64
            self.layers = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](inputs, width, batch_first=True)
            self.places = None
        self.embedding, self.out = nn.Embedding(256, inputs), nn.Linear(width, 256)
        self.mask = nn.Transformer.generate_square_subsequent_mask(LENGTH)

    def forward(self, ids: Any) -> Any:
        x = self.embedding(ids)
        if self.places is None:
            return self.out(self.layers(x)[0])
        return self.out(self.layers(x + self.places, mask=self.mask, is_causal=True))


def cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def models(width: int, rounds: int, steps: int = 6) -> None:
    lines = [["one thread, CPU ms a step", "numbers", "ours", "numbers", "torch.nn", "ratio"]]
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, LENGTH + 1)))
    for kind in ("rnn", "lstm", "gru", "transformer"):
        ours = network(kind, width, 0)
        for weight in ours.weights.values():
            weight.requires_grad_(True)
        numbers = size(ours.weights)
        peer = Peer(kind, width, numbers)

        def mine(ours: Any = ours) -> None:
            for _ in range(steps):
                cross_entropy(ours.logits(ids[:, :-1]), ids[:, 1:]).backward()

        def theirs(peer: Any = peer) -> None:
            for _ in range(steps):
                nn.functional.cross_entropy(peer(ids[:, :-1]).transpose(1, 2), ids[:, 1:]).backward()

        mine()
        theirs()
        times = [(cpu(mine), cpu(theirs)) for _ in range(rounds)]
        one, other = (1e3 * statistics.median(column) / steps for column in zip(*times, strict=True))
        own = sum(weight.numel() for weight in peer.parameters())
        lines.append([kind, f"{numbers:,}", f"{one:.1f}", f"{own:,}", f"{other:.1f}", f"{one / other:.2f}"])
    print(align(lines))


def words(places: list[str], similarity: Path | None, epochs: int, tokens: int) -> None:
    from gensim.models import FastText as GensimFastText
    from gensim.models import Word2Vec

    vocabulary = TextVocabulary.read(text(places)[0])
    ids = vocabulary.ids[:tokens]
    vocabulary = TextVocabulary(vocabulary.words, np.bincount(ids, minlength=len(vocabulary.words)) + 1, ids)
    said = [vocabulary.words[at] for at in ids]
    sentences = [said[at : at + 1000] for at in range(0, len(said), 1000)]
    pairs = read_similarity(similarity) if similarity else []
    plan = SkipgramPlan(100, epochs=epochs)
    options = {"vector_size": 100, "window": 5, "negative": 5, "sample": 1e-3, "min_count": 1, "workers": 1, "seed": 0}
    lines = [["", "k words/CPU s", "similarity", "gensim", "similarity", "ratio"]]
    kinds: dict[str, tuple[Callable[[], Any], Any]] = {
        "skip-gram": (lambda: train(vocabulary, plan), Word2Vec(sg=1, **options)),
        "CBOW": (lambda: train(vocabulary, plan, cbow=True), Word2Vec(sg=0, **options)),
        "fastText": (
            lambda: FastText.fit(vocabulary, plan).vectors(vocabulary.words),
            GensimFastText(sg=1, min_n=3, max_n=5, bucket=200_000, **options),
        ),
    }
    for name, (fit, peer) in kinds.items():
        made: list[Any] = []
        mine = cpu(lambda fit=fit, made=made: made.append(fit()))  # type: ignore[misc]
        peer.build_vocab(sentences)
        theirs = cpu(lambda peer=peer: peer.train(sentences, total_examples=peer.corpus_count, epochs=epochs))  # type: ignore[misc]
        rates = [len(ids) * epochs / spent / 1000 for spent in (mine, theirs)]
        spaces = [
            Space(vocabulary.words, unit(made[0].copy()), None),
            Space(list(peer.wv.index_to_key), unit(np.array(peer.wv.vectors)), None),
        ]
        found = [exact(agree(space, pairs, resamples=500).correlation) if pairs else "" for space in spaces]
        lines.append([name, f"{rates[0]:.0f}", found[0], f"{rates[1]:.0f}", found[1], f"{rates[0] / rates[1]:.2f}"])
    print(f"{len(ids):,} tokens, {len(vocabulary.words):,} words, {epochs} pass{'es' * (epochs > 1)}, 100 dimensions")
    print(align(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", nargs="+")
    parser.add_argument("--similarity", type=Path)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=1_500_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if asked.words:
            words(asked.words, asked.similarity, asked.epochs, asked.tokens)
        else:
            models(asked.width, asked.rounds)


if __name__ == "__main__":
    main()
