"""Sampling, incremental text and beams, without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.types import Sampling
from rung.models.engine.decode import Beams, Text, Words, draw, log_softmax

BYTES = Words([bytes([i]) for i in range(256)], frozenset({0}))


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_text_comes_whole_whatever_the_cut(text: str) -> None:
    state = Text(BYTES, ())
    pieces = [state.add(byte) for byte in text.encode()]
    assert "".join(pieces) + state.close() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_an_unfinished_character_is_replaced_at_the_end() -> None:
    state = Text(BYTES, ())
    assert state.add("é".encode()[0]) == ""
    assert state.close() == "\ufffd"


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_stop_strings_are_never_sent(text: str, stops: list[str]) -> None:
    state = Text(BYTES, stops)
    sent = ""
    for byte in text.encode():
        sent += state.add(byte)
        if state.stopped:
            break
    sent += state.close()
    assert sent == state.text
    assert not any(stop in sent for stop in stops)
    assert text.startswith(sent)
    assert state.stopped == any(stop in text for stop in stops)


def test_draw_follows_the_cuts() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    random = np.random.default_rng(0)

    def shares(sampling: Sampling) -> list[float]:
        counts = np.bincount([draw(logits, sampling, random) for _ in range(6_000)], minlength=4)
        return [float(c) for c in counts / counts.sum()]

    assert shares(Sampling(temperature=1)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.025)
    assert shares(Sampling(temperature=1, top_k=2)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.025)
    assert shares(Sampling(temperature=1, top_p=0.75)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.025)
    squared = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert shares(Sampling(temperature=0.5)) == pytest.approx(list(squared / squared.sum()), abs=0.025)
    assert shares(Sampling(temperature=1, top_k=1))[0] == 1
    masked = np.where([True, False, True, False], logits, np.float32(-np.inf)).astype(np.float32)
    assert {draw(masked, Sampling(temperature=2), random) for _ in range(500)} == {0, 2}


def test_wide_beams_find_the_best_sequence() -> None:
    def logits(tokens: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        seed = 3
        for token in tokens:
            seed = seed * 11 + token + 1
        return (np.random.default_rng(seed).standard_normal(8) * 2).astype(np.float32)

    words = Words([bytes([97 + i]) for i in range(8)], frozenset({0}))
    length = 3
    job = Beams((1,), length, "m", words, Sampling(beams=64, max_tokens=length, logprobs=True), None)
    feeds = job.advance(logits(())[None])
    lines: list[tuple[int, ...]] = [()]
    while feeds:
        lines = [(*lines[f.parent][: f.keep], *f.tokens) for f in feeds]
        feeds = job.advance(np.stack([logits(line) for line in lines]))
    job.finish(None)
    reply = job.future.result(0)

    best: tuple[float, tuple[int, ...]] = (-1e9, ())

    def walk(tokens: tuple[int, ...], total: float) -> None:
        nonlocal best
        if tokens and (tokens[-1] == 0 or len(tokens) == length):
            best = max(best, (total / len(tokens), tokens))
            return
        for token, value in enumerate(log_softmax(logits(tokens))):
            walk((*tokens, token), total + float(value))

    walk((), 0.0)
    assert reply.text == "".join(chr(97 + t) for t in best[1] if t)
    assert reply.logprobs is not None
    assert sum(reply.logprobs) / len(reply.logprobs) == pytest.approx(best[0])
