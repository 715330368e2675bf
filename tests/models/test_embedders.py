"""One contract over every embedder; then what each promises besides."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.core.errors import AuthError, BudgetExceeded, FetchError, InputError, RateLimited, ServerError
from rung.core.parts.meter import metered
from rung.core.protocols import Embedder
from rung.core.settings import Settings
from rung.core.system.machine import machine
from rung.core.types import Budget
from rung.models import fit_embedder, hub, open_embedder
from rung.models.embed.cache import CachedEmbedder
from rung.models.embed.hidden import HiddenEmbedder
from rung.models.embed.minilm import best_precision
from rung.models.embed.pooling import A, Sif, pool
from rung.models.embed.words import WordsEmbedder, read
from tests.child import Child
from tests.models.counting import Counting
from tests.models.servers import Server
from tests.tuning.conftest import write_gguf

CORPUS = [
    "the king and the queen ride",
    "a man and a woman walk to the market",
    "the market is far away",
    "a queen is a woman and a king is a man",
]
WORDS = ["the", "a", "and", "is", "king", "queen", "man", "woman", "market", "walk"]


def table(width: int = 6) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(3).normal(size=(len(WORDS), width)).astype(np.float32)


def write_text(path: Path, *, header: bool = False) -> Path:
    lines = [f"{len(WORDS)} 6"] if header else []
    lines += [f"{word} " + " ".join(f"{x:.6f}" for x in row) for word, row in zip(WORDS, table(), strict=True)]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def write_binary(path: Path, *, ends: bytes = b"\n") -> Path:
    rows = b"".join(
        word.encode() + b" " + struct.pack("<6f", *row) + ends for word, row in zip(WORDS, table(), strict=True)
    )
    path.write_bytes(f"{len(WORDS)} 6\n".encode() + rows)
    return path


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of two layers with a WordPiece tokenizer, as ``save_pretrained`` writes it."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("tiny-bert")
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *WORDS,
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{c}" for c in "aeioustr"),
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(folder)
    torch.manual_seed(5)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def sentence_folder(bert: Path, folder: Path, **pooling: Any) -> Path:
    """The BERT as sentence-transformers saves one."""
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).symlink_to(file)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24, **pooling}))
    return folder


@dataclass
class Bench:
    folder: Path
    server: Server
    bert: Path
    llama: Path


def _static(at: Bench) -> str:
    return "static"


def _minilm(at: Bench) -> str:
    return "minilm?cache=off"


def _hf(at: Bench) -> str:
    return f"hf:{at.bert}?cache=off&pooling=mean"


def _hf_sif(at: Bench) -> str:
    return fit_embedder(f"hf:{at.bert}?pooling=sif&cache=off", CORPUS, at.folder / "bert.npz").name + "&cache=off"


def _st(at: Bench) -> str:
    return f"st:{sentence_folder(at.bert, at.folder / 'st', pooling_mode_cls_token=True)}?cache=off"


def _llm(at: Bench) -> str:
    return f"llm:{at.llama}?cache=off&pooling=last"


def _kept(at: Bench) -> str:
    return f"llm:{at.llama}?pooling=max"


def _words(at: Bench) -> str:
    return f"words:{write_text(at.folder / 'glove.txt')}"


def _words_sif(at: Bench) -> str:
    return fit_embedder(f"words:{write_binary(at.folder / 'w.bin')}?pooling=sif", CORPUS, at.folder / "sif.npz").name


def _tfidf(at: Bench) -> str:
    return fit_embedder("tfidf?dimensions=12", CORPUS, at.folder / "tfidf.npz").name


def _onehot(at: Bench) -> str:
    return fit_embedder("onehot", CORPUS, at.folder / "onehot.npz").name


def _openai(at: Bench) -> str:
    return f"openai:letters@{at.server.url}/v1?cache=off"


MEMBERS: list[Callable[[Bench], str]] = [
    *(_static, _minilm, _hf, _hf_sif, _st, _llm, _kept, _words, _words_sif, _tfidf, _onehot, _openai)
]


@pytest.fixture
def bench(tmp_path: Path, server: Server, tiny_bert: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, server, tiny_bert, tiny_llama)


def own_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Vectors and readings of this test only; the pulled weights stay in sight."""
    real = Settings().cache
    mine = folder / "cache"
    mine.mkdir()
    if (real / "models").is_dir():
        (mine / "models").symlink_to(real / "models")
    monkeypatch.setenv("RUNG_CACHE", str(mine))


@pytest.fixture(params=MEMBERS, ids=lambda member: member.__name__.strip("_"))
def embedder(request: pytest.FixtureRequest, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Embedder:
    own_cache(monkeypatch, bench.folder)
    kind = request.param.__name__.strip("_")
    if kind in hub.CATALOGUE and not hub.present(kind, Settings().cache):
        pytest.skip(f"type: rung models pull {kind}")
    return open_embedder(request.param(bench))


def test_contract(embedder: Embedder) -> None:
    texts = [
        "the king walks",
        "",
        "A Queen, a man and the market!",
        " ",
        "\ud800 broken \u65e5\u672c",
        "woman " * 300,
        "the king walks",
    ]
    vectors = embedder.embed(texts)
    assert isinstance(embedder, Embedder)
    assert vectors.shape == (len(texts), embedder.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.allclose(vectors[0], vectors[-1], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-3)
    assert embedder.embed([]).shape == (0, embedder.dimensions)
    assert np.allclose(embedder.embed(texts[::-1]), vectors[::-1], atol=2e-5), "order"
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.allclose(alone, vectors, atol=2e-5), "a vector depends on the texts beside it"


def test_the_name_opens_the_same_embedder_again(embedder: Embedder) -> None:
    again = open_embedder(embedder.name)
    assert (again.name, again.fingerprint) == (embedder.name, embedder.fingerprint)
    assert np.allclose(again.embed(["a man"]), embedder.embed(["a man"]), atol=1e-6)


def test_fingerprints_follow_what_changes_vectors(bench: Bench) -> None:
    text = write_text(bench.folder / "one.txt")
    names = [
        f"hf:{bench.bert}?cache=off",
        f"hf:{bench.bert}?cache=off&pooling=max",
        f"hf:{bench.bert}?cache=off&pooling=cls",
        f"hf:{bench.bert}?cache=off&length=4",
        f"hf:{bench.bert}?cache=off&prompt=query ",
        f"hf:{bench.bert}?cache=off&layer=-2",
        f"llm:{bench.llama}?cache=off",
        f"words:{text}",
        f"words:{text}?limit=5",
        f"words:{text}?pooling=sif",
        fit_embedder(f"words:{text}?pooling=sif", CORPUS, bench.folder / "f.npz").name,
        fit_embedder("tfidf", CORPUS, bench.folder / "t1.npz").name,
        fit_embedder("tfidf", CORPUS[:2], bench.folder / "t2.npz").name,
        f"onehot:{bench.folder / 't1.npz'}",
        f"openai:letters@{bench.server.url}/v1?cache=off",
        f"openai:letters@{bench.server.url}/v1?cache=off&dimensions=4",
        f"openai:others@{bench.server.url}/v1?cache=off",
    ]
    opened = [open_embedder(name) for name in names]
    assert len({item.fingerprint for item in opened}) == len(names)
    rows = [item.embed(["the king and a queen walk"])[0] for item in opened]
    same = [(a, b) for i, a in enumerate(rows) for b in rows[:i] if a.shape == b.shape and np.allclose(a, b, atol=1e-4)]
    assert len(same) <= 2  # the two letter counters; words with and without the unused half of the file
    before = open_embedder(f"words:{text}").fingerprint
    text.write_text(text.read_text() + "extra 1 2 3 4 5 6\n")
    assert open_embedder(f"words:{text}").fingerprint != before


# ---------------------------------------------------------------- pooling


def test_pooling_is_what_it_is_defined_to_be() -> None:
    states = np.array([[1, -2], [3, 4], [5, 0]], np.float32)
    assert pool(states, "mean").tolist() == pytest.approx([3.0, 2 / 3])
    assert pool(states, "max").tolist() == [5, 4]
    assert pool(states, "cls").tolist() == [1, -2]
    assert pool(states, "last").tolist() == [5, 0]
    weights = np.array([1, 0.5, 0.25], np.float32)
    assert pool(states, "sif", weights).tolist() == pytest.approx([(1 + 1.5 + 1.25) / 3, (-2 + 2 + 0) / 3])
    assert pool(states[:0], "mean").tolist() == [0, 0]


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "last"])
def test_states_are_pooled_over_a_texts_own_tokens(tiny_bert: Path, pooling: str) -> None:
    import torch
    import transformers

    opened = open_embedder(f"hf:{tiny_bert}?cache=off&pooling={pooling}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_bert)
    model = transformers.AutoModel.from_pretrained(tiny_bert).eval()
    for text in ("the king", "a man and a woman walk to the market"):
        with torch.inference_mode():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        wanted = {"mean": states.mean(0), "max": states.max(0).values, "cls": states[0], "last": states[-1]}[pooling]
        vector = opened.embed(["something much longer, so that the batch is padded: " + text * 3, text])[1]
        assert np.allclose(vector, wanted / wanted.norm(), atol=1e-5)


def test_a_gguf_splits_digits_as_the_file_says(tmp_path: Path) -> None:
    """transformers alone reads a line that ends before a digit as other tokens than the engine does."""
    file = write_gguf(tmp_path / "tiny.gguf", merges=("1 2", "Ċ Ċ"))
    opened = open_embedder(f"llm:{file}?cache=off")
    assert isinstance(opened, HiddenEmbedder)
    assert opened.tokens("a\n\n12") == ["a", "ĊĊ", "1", "2"]


def test_sif_follows_arora(tmp_path: Path) -> None:
    path = write_text(tmp_path / "w.txt")
    fitted = fit_embedder(f"words:{path}?pooling=sif", CORPUS, tmp_path / "sif.npz")
    rows = dict(zip(WORDS, np.round(table(), 6).astype(np.float64), strict=True))
    known = [[word for word in text.split() if word in rows] for text in CORPUS]
    total = sum(map(len, known))
    chance = {word: sum(words.count(word) for words in known) / total for word in WORDS}
    sums = np.array([np.mean([A / (A + chance[w]) * rows[w] for w in words], axis=0) for words in known])
    _, _, directions = np.linalg.svd(sums, full_matrices=False)
    first = directions[0]
    left = sums - np.outer(sums @ first, first)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    assert np.allclose(fitted.embed(CORPUS), left, atol=1e-4)
    # What was fitted stays the same for one text alone, and is read from the file.
    assert np.allclose(open_embedder(fitted.name).embed(CORPUS[1:2]), left[1:2], atol=1e-4)


def test_sif_of_a_model_must_be_fitted_first(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rung vectors fit"):
        open_embedder(f"hf:{tiny_bert}?pooling=sif&cache=off").embed(["a"])
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(InputError, match="fitted for SIF"):
        open_embedder(f"hf:{tiny_bert}?pooling=sif&cache=off&fitted={tmp_path / 'bad.npz'}")


def test_sif_is_written_and_read(tmp_path: Path) -> None:
    sif = Sif({"a": 0.25, "é": 0.75}, np.array([0.6, 0.8], np.float32))
    sif.save(tmp_path / "s.npz")
    again = Sif.load(tmp_path / "s.npz")
    assert again.chances == sif.chances
    assert again.direction is not None
    assert np.allclose(again.remove(np.array([[1, 0]], np.float32)), [[0.64, -0.48]])


# ---------------------------------------------------------------- sentence-transformers folders


@pytest.mark.parametrize(
    ("saved", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_a_sentence_folder_says_its_own_pooling(
    tiny_bert: Path, tmp_path: Path, saved: dict[str, Any], pooling: str
) -> None:
    opened = open_embedder(f"st:{sentence_folder(tiny_bert, tmp_path / 'st', **saved)}?cache=off")
    assert isinstance(opened, HiddenEmbedder)
    assert (opened.plan.pooling, opened.plan.length) == (pooling, 16)
    plain = open_embedder(f"hf:{tiny_bert}?cache=off&pooling={pooling}&length=16")
    texts = ["the king", "a man and a woman walk to the market " * 4]
    assert np.allclose(opened.embed(texts), plain.embed(texts), atol=1e-6)


def test_a_sentence_folders_prompt_is_put_before_texts(tiny_bert: Path, tmp_path: Path) -> None:
    folder = sentence_folder(tiny_bert, tmp_path / "st", pooling_mode_mean_tokens=True)
    settings = {"prompts": {"query": "a queen: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    plain = open_embedder(f"hf:{tiny_bert}?cache=off")
    assert np.allclose(
        open_embedder(f"st:{folder}?cache=off").embed(["king"]), plain.embed(["a queen: king"]), atol=1e-6
    )


def test_a_folder_that_is_none_says_so(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a sentence-transformers folder"):
        open_embedder(f"st:{tiny_bert}")
    with pytest.raises(InputError, match="no folder"):
        open_embedder("st:nowhere")
    with pytest.raises(InputError, match=r"no config\.json"):
        open_embedder(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="pickled weights are refused"):
        open_embedder(f"hf:{tmp_path}")


# ---------------------------------------------------------------- word vectors


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_text(folder / "glove.txt"),
        lambda folder: write_text(folder / "fast.vec", header=True),
        lambda folder: write_text(folder / "fast.vec.gz", header=True),
        lambda folder: write_binary(folder / "w2v.bin"),
        lambda folder: write_binary(folder / "gensim.bin", ends=b""),
    ],
    ids=["glove", "vec", "gz", "word2vec", "gensim"],
)
def test_every_format_gives_the_same_vectors(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    words, vectors = read(path)
    assert words == WORDS
    assert np.allclose(vectors, table(), atol=1e-5)
    assert read(path, 3)[0] == WORDS[:3]
    opened = open_embedder(f"words:{path}")
    assert isinstance(opened, WordsEmbedder)
    mean = table()[[4, 5]].mean(axis=0)
    assert np.allclose(opened.embed(["King, unknown queen"])[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert np.allclose(open_embedder(f"words:{path}").embed(["walk"]), opened.embed(["walk"])), "from the cache"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no vectors"),
        (b"the 1 2 3\nking 1 2\n", ":2:"),
        (b"the 1 2 3\nking 1 2 x\n", "a word and 3 numbers"),
        (b"the 1 2 nan\n", "a word and 3 numbers"),
        (b"3 2\nthe " + struct.pack("<2f", 0.1, 0.2) + b"\nking ", "ends after 1 of 3"),
        (struct.pack("<ii", 793712314, 12), "fastText model"),
        (b"\x1f\x8b\x08\x00damaged", "cannot read|cut off"),
    ],
)
def test_damaged_files_say_what_is_wrong(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.vec"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        read(path)


@pytest.mark.model
def test_glove_knows_its_neighbours() -> None:
    if not hub.present("glove", Settings().cache):
        pytest.skip("type: rung models pull glove")
    glove = open_embedder("words:glove?limit=20000")
    king, queen, table_ = glove.embed(["king", "queen", "spreadsheet"])
    assert king @ queen > 0.7 > king @ table_
    assert glove.dimensions == 50


# ---------------------------------------------------------------- counting words


def test_onehot_and_tfidf_are_their_formulas(tmp_path: Path) -> None:
    onehot = fit_embedder("onehot", CORPUS, tmp_path / "o.npz")
    found = onehot.embed(["king king queen"])[0]
    assert np.count_nonzero(found) == 2
    assert np.allclose(found[found > 0], 1 / np.sqrt(2))
    tfidf = fit_embedder("tfidf", CORPUS, tmp_path / "t.npz")
    row = tfidf.embed(["the the market king"])[0]
    idf = {word: np.log(5 / (1 + n)) + 1 for word, n in (("the", 3), ("market", 2), ("king", 2))}
    wanted = np.array([(1 + np.log(2)) * idf["the"], idf["market"], idf["king"]])
    assert np.allclose(sorted(row[row > 0]), sorted(wanted / np.linalg.norm(wanted)), atol=1e-6)


def test_the_most_frequent_words_are_kept(tmp_path: Path) -> None:
    small = fit_embedder("onehot?dimensions=2", CORPUS, tmp_path / "o.npz")
    assert small.dimensions == 2
    assert np.count_nonzero(small.embed(["the a"])[0]) == 2
    with pytest.raises(InputError, match="cannot fit"):
        fit_embedder("tfidf", ["", "!"], tmp_path / "none.npz")
    with pytest.raises(InputError, match="not fitted yet"):
        open_embedder("tfidf")
    with pytest.raises(InputError, match="learns nothing"):
        fit_embedder("static", CORPUS, tmp_path / "none.npz")


# ---------------------------------------------------------------- hosted


def hosted(server: Server, model: str, tail: str = "") -> Embedder:
    return open_embedder(f"openai:{model}@{server.url}/v1?cache=off{tail}")


def test_batches_come_back_in_order_and_are_metered(server: Server) -> None:
    texts = [f"text number {'abc'[i % 3] * (i + 1)}" for i in range(300)]
    with metered() as meter:
        rows = hosted(server, "letters").embed(texts)
    wanted = np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float64)
    assert np.allclose(rows, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert meter.total.calls == len(server.seen) == 3
    assert meter.total.prompt_tokens == 900
    assert {len(seen.body["input"]) for seen in server.seen} == {128, 44}


def test_money_is_counted_at_the_price(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"openai:letters@{server.url}/v1"
    (tmp_path / "p.yaml").write_text(f"models: {{'{name}': {{prompt: 2.0, completion: 0}}}}")
    monkeypatch.setenv("RUNG_PRICES", str(tmp_path / "p.yaml"))
    with metered() as meter:
        hosted(server, "letters").embed(["three words here"])
    assert meter.total.money == pytest.approx(6e-6)
    with metered(Budget(tokens=1)):
        opened = hosted(server, "letters")
        opened.embed(["two words"])
        with pytest.raises(BudgetExceeded):
            opened.embed(["one more"])


def test_shorter_vectors_are_asked_for(server: Server) -> None:
    assert hosted(server, "letters", "&dimensions=4").embed(["abcd"]).shape == (1, 4)
    assert server.seen[0].body["dimensions"] == 4


def test_faults_of_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_RETRIES", "2")
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(AuthError) as caught:
        hosted(server, "denied").embed(["x"])
    assert "sk-" not in str(caught.value).replace("sk-[key]", "")
    assert server.counts["denied"] == 1, "a wrong key is not tried again"
    with pytest.raises((RateLimited, ServerError)):
        hosted(server, "short").embed(["x", "y"])
    assert server.counts["short"] == 3
    with pytest.raises(ServerError):
        open_embedder("openai:x@http://127.0.0.1:9/v1?cache=off").embed(["x"])


def test_a_key_is_wanted_where_there_is_no_address() -> None:
    with pytest.raises(AuthError, match="OPENAI_API_KEY"):
        open_embedder("openai:text-embedding-3-small")


# ---------------------------------------------------------------- kept vectors


def test_a_text_is_computed_once_for_all_processes(tmp_path: Path) -> None:
    inner = Counting()
    kept = CachedEmbedder(inner, tmp_path, 10_000_000)
    first = kept.embed(["a", "b", "a"])
    assert inner.asked == ["a", "b"]
    assert (kept.hits, kept.misses) == (0, 3)
    again = CachedEmbedder(Counting(), tmp_path, 10_000_000)
    assert np.array_equal(again.embed(["b", "a", "a"]), first[[1, 0, 0]])
    assert (again.hits, again.misses) == (3, 0)
    other = Counting("two")
    CachedEmbedder(other, tmp_path, 10_000_000).embed(["a"])
    assert other.asked == ["a"], "another fingerprint, other vectors"


def test_more_than_one_query_of_keys(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(1203)]
    first = CachedEmbedder(Counting(), tmp_path, 10_000_000).embed(texts)
    again = CachedEmbedder(Counting(), tmp_path, 10_000_000)
    assert np.array_equal(again.embed(texts), first)
    assert again.hits == 1203


def test_the_file_stays_within_its_limit(tmp_path: Path) -> None:
    kept = CachedEmbedder(Counting(), tmp_path, 100_000)
    for start in range(0, 6000, 100):
        kept.embed([f"text {i}" for i in range(start, start + 100)])
    assert kept.path.stat().st_size < 400_000
    new = CachedEmbedder(Counting(), tmp_path, 100_000)
    new.embed([f"text {i}" for i in range(5900, 6000)])
    assert new.hits == 100, "the last used are kept"


def test_flipped_bits_are_not_believed(tmp_path: Path) -> None:
    import sqlite3

    kept = CachedEmbedder(Counting(), tmp_path, 10_000_000)
    first = kept.embed(["a"])
    with sqlite3.connect(kept.path) as database:
        database.execute("UPDATE vectors SET vector = zeroblob(32)")
    database.close()
    again = CachedEmbedder(Counting(), tmp_path, 10_000_000)
    assert np.array_equal(again.embed(["a"]), first)
    assert again.misses == 1


def test_a_damaged_file_is_said_and_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "vectors-1.db").write_bytes(b"no database at all, " * 400)
    kept = CachedEmbedder(Counting(), tmp_path, 10_000_000)
    assert kept.embed(["a", "b"]).shape == (2, 8)
    kept.embed(["a"])
    assert kept.misses == 3
    assert sum("are not kept" in record.message for record in caplog.records) == 1


def test_a_kill_in_the_middle_leaves_whole_vectors(tmp_path: Path) -> None:
    import time

    code = (
        "import sys, pathlib; from rung.models.embed.cache import CachedEmbedder; from tests.models.counting import Counting\n"
        "kept = CachedEmbedder(Counting(), pathlib.Path(sys.argv[1]), 10**8)\n"
        "for i in range(10**6): kept.embed([f'{i} {j}' for j in range(50)]); print(i, flush=True)\n"
    )
    process = Child(code, str(tmp_path))
    process.stdout.readline()
    time.sleep(0.1)
    process.kill()
    done = len(process.communicate()[0].split())
    kept = CachedEmbedder(Counting(), tmp_path, 10**8)
    kept.embed([f"{i} {j}" for i in range(done) for j in range(50)])
    assert kept.misses == 0, "what was acknowledged is there"


def test_slow_kinds_are_kept_unless_said_otherwise(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache(monkeypatch, bench.folder)
    assert isinstance(open_embedder(f"hf:{bench.bert}"), CachedEmbedder)
    assert isinstance(open_embedder(f"words:{write_text(bench.folder / 'w.txt')}?cache=on"), CachedEmbedder)
    assert not isinstance(open_embedder(f"hf:{bench.bert}?cache=off"), CachedEmbedder)
    monkeypatch.setenv("RUNG_EMBEDDINGS", "0")
    assert not isinstance(open_embedder(f"hf:{bench.bert}"), CachedEmbedder)


# ---------------------------------------------------------------- MiniLM


def test_minilm_unpulled_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path))
    with pytest.raises(FetchError, match="rung models pull minilm"):
        open_embedder("minilm")


@pytest.mark.model
@pytest.mark.slow
def test_minilm_in_every_precision_is_near_the_model_in_transformers(bench: Bench) -> None:
    if not hub.present("minilm", Settings().cache):
        pytest.skip("type: rung models pull minilm")
    texts = [*CORPUS, "A sentence encoder maps sentences to vectors.", "Je ne parle pas anglais.", "word " * 400]
    exact = open_embedder("minilm?precision=f32&cache=off").embed(texts)
    chosen = open_embedder("minilm?cache=off")
    assert chosen.name == f"minilm?precision={best_precision(machine())}"
    for embedder in (chosen, *(open_embedder(f"minilm?precision={kind}&cache=off") for kind in ("int8", "bf16"))):
        together = embedder.embed(texts)
        assert (exact * together).sum(axis=1).mean() > 0.995, embedder.name
        alone = np.concatenate([embedder.embed([text]) for text in texts])
        assert np.abs(alone - together).max() < 2e-3, embedder.name
    import torch
    import transformers
    from safetensors.torch import load_file

    config = transformers.BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    folder = hub.locate("minilm", Settings().cache)
    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler")}
    model.load_state_dict(state, strict=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    for text, row in zip(texts, exact, strict=True):
        ids = tokenizer(text, truncation=True, max_length=256)["input_ids"]
        with torch.inference_mode():
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0)
        assert float(torch.tensor(row) @ (mean / mean.norm())) > 0.9999
