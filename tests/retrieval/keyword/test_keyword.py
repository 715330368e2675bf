"""The keyword index against BM25 written out plainly, and through its life: added to, changed, saved, damaged, read while written."""

from __future__ import annotations

import json
import math
import random
import threading
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError, StoreError
from rung.core.types import Span
from rung.retrieval.keyword import analysis, keyword, postings
from rung.retrieval.keyword.analysis import Analysis
from rung.retrieval.keyword.highlight import highlight
from rung.retrieval.keyword.keyword import KeywordIndex

PLAIN = Analysis(stop=False, stem=False)
TEXTS = {
    "wing": "The wing stalls when the angle of attack of the wing is too large.",
    "jet": "A jet engine burns fuel; jets are loud.",
    "café": "Un café crème, s'il vous plaît: the café opens at 9.",
    "empty": "",
    "code": "def read_file(path): return open(path).read()",
    "北": "北京是中国的首都",
}


@lru_cache(maxsize=8)
def counted(texts: tuple[tuple[str, str], ...], analysis: Analysis) -> dict[str, Counter[str]]:
    return {id: Counter(analysis.terms(text)) for id, text in texts}


def formula(
    texts: dict[str, str], query: str, analysis: Analysis, k1: float = 1.2, b: float = 0.75
) -> list[tuple[str, float]]:
    """BM25 as Lucene defines it, straight from its definition."""
    bags = counted(tuple(texts.items()), analysis)
    mean = sum(bag.total() for bag in bags.values()) / len(bags)
    lengths = {id: bag.total() for id, bag in bags.items()}
    terms = analysis.terms(query)
    df = {term: sum(term in bag for bag in bags.values()) for term in terms}
    scores = {}
    for id, bag in bags.items():
        score = 0.0
        for term in terms:
            if bag[term]:
                idf = math.log(1 + (len(bags) - df[term] + 0.5) / (df[term] + 0.5))
                score += idf * bag[term] / (bag[term] + k1 * (1 - b + b * lengths[id] / mean))
        if score > 0:
            scores[id] = score
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def corpus(size: int, seed: int = 0) -> dict[str, str]:
    """Texts whose words are as unevenly frequent as those of a language are."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(400)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return {f"t{row}": " ".join(rng.choices(words, weights, k=rng.randint(1, 60))) for row in range(size)}


def same(got: list[tuple[str, float]], wanted: list[tuple[str, float]], k: int) -> None:
    assert [score for _, score in got] == pytest.approx([score for _, score in wanted[:k]], rel=1e-5)
    exact = dict(wanted)
    for id, score in got:
        assert score == pytest.approx(exact[id], rel=1e-5)


def filled(texts: dict[str, str], analysis: Analysis = PLAIN) -> KeywordIndex:
    index = KeywordIndex(analysis)
    index.add(list(texts), list(texts.values()))
    return index


@pytest.mark.parametrize("prune", [1, 500])
@pytest.mark.parametrize("seek", [0, 1, 16])
def test_scores_are_those_of_the_formula(prune: int, seek: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "PRUNE_FROM", prune)
    monkeypatch.setattr(postings, "SEEK", seek)
    texts = corpus(600)
    index = filled(texts)
    rng = random.Random(1)
    for _ in range(40):
        query = " ".join(f"w{int(rng.paretovariate(0.3)) % 420}" for _ in range(rng.randint(1, 9)))
        for k in (1, 10, 1000):
            same(index.search(query, k), formula(texts, query, PLAIN), k)


def test_a_repeated_word_of_the_query_counts_twice() -> None:
    index = filled(TEXTS)
    (once,), (twice,) = index.search("engine", 1), index.search("engine engine", 1)
    assert twice[1] == pytest.approx(2 * once[1])


def test_ties_go_by_id_also_at_the_cut() -> None:
    index = filled(dict.fromkeys(("d", "b", "c", "a"), "same words here"))
    assert [id for id, _ in index.search("words", 3)] == ["a", "b", "c"]


def test_only_texts_with_a_word_of_the_query_are_found() -> None:
    index = filled(TEXTS)
    assert index.search("zeppelin", 5) == []
    assert index.search("", 5) == []
    assert [id for id, _ in index.search("fuel", 5)] == ["jet"]
    assert KeywordIndex().search("fuel", 5) == []


def test_allowed_ids_only() -> None:
    texts = corpus(300)
    index = filled(texts)
    allowed = frozenset(list(texts)[::7]) | {"nobody"}
    for query in ("w0 w1 w50", "w3", "w0 w0 w7 w200 w11"):
        wanted = [item for item in formula(texts, query, PLAIN) if item[0] in allowed]
        for _ in range(2):  # the second time from the mask kept
            same(index.search(query, 5, allowed), wanted, 5)
        same(index.search(query, 5, list(allowed)), wanted, 5)
    assert index.search("w0", 5, frozenset()) == []


@given(st.data())
def test_any_life_gives_what_a_fresh_index_gives(data: st.DataObject) -> None:
    """Adds, upserts, deletes, saves and searches in any order: scores are those of the texts that are there."""
    texts: dict[str, str] = {}
    index = KeywordIndex(PLAIN)
    word = st.lists(st.sampled_from("abcdefgh"), max_size=6).map(" ".join)
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["upsert", "delete", "search"]))
        ids = data.draw(st.lists(st.sampled_from([str(n) for n in range(8)]), unique=True, max_size=4))
        if action == "upsert":
            new = {id: data.draw(word) for id in ids}
            index.upsert(list(new), list(new.values()))
            texts.update(new)
        elif action == "delete":
            assert index.delete(ids) == sum(texts.pop(id, None) is not None for id in ids)
        assert len(index) == len(texts)
        if action == "search" and texts:
            query = data.draw(word)
            same(index.search(query, 3), formula(texts, query, PLAIN) if any(texts.values()) else [], 3)


def test_many_deletes_give_their_room_back(tmp_path: Path) -> None:
    texts = corpus(3000)
    index = filled(texts)
    index.search("w1", 1)
    gone = list(texts)[:2400]
    assert index.delete(gone) == 2400
    left = {id: text for id, text in texts.items() if id not in set(gone)}
    same(index.search("w1 w90", 10), formula(left, "w1 w90", PLAIN), 10)
    index.upsert(["t2999", "new"], ["w1 w1 w1", "w90"])
    left |= {"t2999": "w1 w1 w1", "new": "w90"}
    same(index.search("w1 w90", 10), formula(left, "w1 w90", PLAIN), 10)
    index.save(tmp_path / "few", 1)
    filled(texts).save(tmp_path / "all", 1)
    assert (tmp_path / "few" / keyword.FILE).stat().st_size < (tmp_path / "all" / keyword.FILE).stat().st_size / 3


def test_a_wrong_call_changes_nothing() -> None:
    index = filled(TEXTS)
    for ids, texts, word in (
        (["new", "jet"], ["fuel", "fuel"], "'jet' is in the index"),
        (["new", "new"], ["fuel", "fuel"], "'new' is twice"),
        (["new"], ["fuel", "fuel"], "1 ids and 2 texts"),
    ):
        with pytest.raises(InputError, match=word):
            index.add(ids, texts)
        assert len(index) == len(TEXTS)
        assert [id for id, _ in index.search("fuel", 9)] == ["jet"]
    with pytest.raises(InputError, match="got k 0"):
        index.search("fuel", 0)
    with pytest.raises(InputError, match="k1"):
        KeywordIndex(k1=0)


# ---------------------------------------------------------------- analysis


def test_words_are_folded_stemmed_and_function_words_left_out() -> None:
    assert Analysis().terms("The Wings' STALLING, résumé_ﬁle No. ½ Straße") == [
        "wing", "stall", "resum", "file", "1", "2", "strass",
    ]  # fmt: skip
    assert PLAIN.terms("The Wings") == ["the", "wings"]
    assert Analysis().terms("e\u0301cole É") == ["ecol", "e"]
    assert PLAIN.terms("北京 tower 한국어 हिन्दी") == ["北", "京", "tower", "한국어", "हिन्दी"]
    assert Analysis().terms("don't it's we'll") == []


@given(st.text(max_size=60))
def test_fast_and_slow_folding_agree(text: str) -> None:
    """ASCII texts take a shorter way; highlights a longer one: all see the same terms."""
    plain = text.encode("ascii", "ignore").decode()
    assert Analysis().terms(plain) == [term for term, _ in Analysis().places(plain)]
    assert Analysis().terms(text) == [term for term, _ in Analysis().places(text)]


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("data\u00adbase", "database"),
        ("data\u200bbase", "database"),
        ("\ufeffdatabase", "database"),
        ("data\u2060base", "database"),
        ("cof\u200cfee", "coffee"),
        ("\u200fשלום\u200e", "שלום"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("می\u200cخواهم", "میخواهم"),
        ("क्\u200dष", "क्ष"),
        ("葛\U000e0100飾", "葛飾"),
        ("data\ufe0fbase", "database"),
    ],
)
def test_signs_that_are_not_seen_are_no_part_of_a_word(written: str, typed: str) -> None:
    index = filled({"a": f"the {written} here", "b": "nothing"})
    assert [id for id, _ in index.search(typed, 2)] == ["a"]
    (spans,) = highlight(typed, [f"the {written} here"])
    assert spans
    assert Analysis().terms(f"a{written}") == Analysis().terms(f"a{typed}")
    many = filled({f"n{number}": f"the {written} here" for number in range(40)})  # split all at once
    assert len(many.search(typed, 50)) == 40


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("서울에서", "서울"),
        ("문장입니다.", "문장은"),
        ("الكِتَاب", "كتاب"),
        ("مكتبــة", "مكتبه"),
        ("أحمد", "احمد"),
        ("שָׁלוֹם", "שלום"),
        ("Œuvre", "oeuvre"),
        ("København", "kobenhavn"),
    ],
)
def test_words_are_found_however_they_are_written(written: str, typed: str) -> None:
    assert [id for id, _ in filled({"a": f"x {written} y", "b": "nothing"}, Analysis()).search(typed, 2)] == ["a"]
    assert highlight(typed, [f"x {written} y"])[0]


def test_highlights_are_the_matches_in_the_text_as_written() -> None:
    text = "Die Straße: WINGS and a Café, caf\u00e9s; the wing."
    (spans,) = highlight("cafe strasse winged the", [text])
    assert [text[span.start : span.end] for span in spans] == ["Straße", "WINGS", "Café", "cafés", "wing"]
    assert highlight("首", [TEXTS["北"]]) == [(Span(6, 7),)]
    assert highlight("the", [text]) == [()]


def test_a_text_without_spaces_is_no_endless_word() -> None:
    index = filled({"line": "x" * 5_000_000, "other": "y"})
    assert [id for id, _ in index.search("x" * 100, 5)] == ["line"]
    assert max(map(len, index._terms)) <= analysis.LONGEST


def test_any_text_can_be_added_and_found() -> None:
    """Lone surrogates, control characters, words of every script."""
    odd = {"lone": "a \ud800 b", "null": "a\x00b", "mark": "\u0301\u0301", "bidi": "\u202eabc", "emoji": "👩‍👩‍👧 ok"}
    index = filled(odd)
    assert [id for id, _ in index.search("ok", 5)] == ["emoji"]
    assert {id for id, _ in index.search("b \ud800", 5)} == {"lone", "null"}


def test_idf_of_the_query_for_words_known_and_unknown() -> None:
    weights = filled(corpus(100)).idf("w0 w399 nowhere")
    assert weights["w0"] < weights["w399"] <= weights["nowhere"]
    assert weights["nowhere"] == pytest.approx(math.log(1 + 100.5 / 0.5))


# ---------------------------------------------------------------- on disk


def test_saved_and_opened_it_answers_the_same_and_can_be_changed(tmp_path: Path) -> None:
    texts = corpus(200)
    index = filled(texts, Analysis(stop=False))
    index.delete(["t3"])
    index.save(tmp_path, 7, "abc")
    again = KeywordIndex.open(tmp_path)
    assert (again.generation, again.checksum, again.analysis) == (7, "abc", Analysis(stop=False))
    assert len(again) == 199
    assert "t3" not in again
    assert again.search("w1 w2", 20) == index.search("w1 w2", 20)
    for each in (index, again):
        each.upsert(["t5", "fresh"], ["w2 w2", "brand new words"])
    assert again.search("w2 new", 20) == index.search("w2 new", 20)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        filled(corpus(50)).save(tmp_path / name, 1)
    assert (tmp_path / "one" / keyword.FILE).read_bytes() == (tmp_path / "two" / keyword.FILE).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "format"])
def test_a_damaged_file_is_noticed(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if damage == "format":
        monkeypatch.setattr(keyword, "FORMAT", 99)
    filled(corpus(200)).save(tmp_path, 1)
    monkeypatch.undo()
    path = tmp_path / keyword.FILE
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[len(data) // 2] ^= 0x40
    elif damage == "text":
        data = bytearray(b"hello")
    elif damage == "empty":
        data = bytearray()
    path.write_bytes(data)
    with pytest.raises(StoreError, match="build the index again"):
        KeywordIndex.open(tmp_path)


def test_no_index_and_no_room(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no keyword index"):
        KeywordIndex.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        filled(TEXTS).save(tmp_path / "file" / "under", 1)


def test_readers_see_whole_writes(tmp_path: Path) -> None:
    """Two texts always change together: no reader may see one changed and the other not."""
    index = filled({"a": "tick zero", "b": "tick zero"})
    index.add([f"f{n}" for n in range(50)], ["other words"] * 50)
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not stop.is_set():
            hits = index.search("tick", 5)
            if [id for id, _ in hits] != ["a", "b"] or hits[0][1] != hits[1][1]:
                wrong.append(hits)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(200):
        index.upsert(["a", "b"], [f"tick {'x ' * (turn % 5)}"] * 2)
        if turn % 50 == 0:
            index.save(tmp_path, turn)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_postings_stay_in_the_smallest_number_that_holds_them() -> None:
    index = filled({"long": "word " * 70_000, "short": "word"})
    same(index.search("word", 2), formula({"long": "word " * 70_000, "short": "word"}, "word", PLAIN), 2)
    assert index._postings.segments[0].counts.dtype == np.uint32
    assert filled(corpus(20))._settle().segments[0].counts.dtype == np.uint8


def test_waiting_words_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyword, "MERGE_TOKENS", 500)
    texts = corpus(700)
    index = filled(texts)
    assert len(index._waiting) < 500 + 256 * 60
    assert len(index._postings.segments) >= 1
    same(index.search("w2 w30", 10), formula(texts, "w2 w30", PLAIN), 10)


def test_what_is_stored_is_plain(tmp_path: Path) -> None:
    filled(TEXTS).save(tmp_path, 3)
    with np.load(tmp_path / keyword.FILE, allow_pickle=False) as stored:
        assert json.loads(stored["head"].tobytes())["generation"] == 3
