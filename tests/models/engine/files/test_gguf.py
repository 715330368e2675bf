"""A damaged or hostile GGUF file ends in a sentence, never in a crash. More mutations than CI makes: RUNG_FUZZ=20000 pytest ..."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.models.engine.files import gguf
from rung.models.engine.files.convert import convert
from tests.tuning.conftest import write_gguf

FUZZ = int(os.environ.get("RUNG_FUZZ", "150"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def mutate(data: bytes, draw: random.Random, head: int) -> bytes:
    """One to four changes of the head: bits, counts and lengths, bytes gone or doubled, a cut."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(4, head)
        match draw.randrange(6):
            case 0:
                out[at] ^= 1 << draw.randrange(8)
            case 1:
                out[at : at + 8] = struct.pack("<Q", draw.choice((0, 1, 2**31, 2**32, 2**62, 2**64 - 1)))
            case 2:
                out[at : at + 4] = struct.pack("<I", draw.choice((0, 7, 8, 9, 12, 13, 2**31, 2**32 - 1)))
            case 3:
                del out[at : at + draw.randint(1, 40)]
            case 4:
                out[at:at] = out[at : at + draw.randint(1, 40)]
            case _:
                del out[draw.randrange(head, len(out)) :]
                head = min(head, len(out))
    return bytes(out)


def test_mutated_headers_are_read_or_refused_in_a_sentence(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    head = data.index(b"output_norm.weight") + 200
    refused = 0
    for seed in range(FUZZ):
        path = tmp_path / "mutated.gguf"
        path.write_bytes(mutate(data, random.Random(seed), head))
        try:  # anything but an InputError fails the test
            header = gguf.read(path)
        except InputError:
            refused += 1
        else:
            assert header.vocabulary > header.eos >= 0
    assert refused > FUZZ // 3


def test_a_cut_file_is_refused_where_it_is_cut(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    path = tmp_path / "cut.gguf"
    for share in (0.2, 0.7, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=r"ends at byte|inside its header|struct"):
            gguf.read(path)


@pytest.mark.parametrize(
    ("key", "form", "value"),
    [
        ("llama.attention.head_count", "<I", 0),
        ("llama.attention.head_count", "<I", 3),
        ("llama.attention.head_count_kv", "<I", 0),
        ("llama.embedding_length", "<I", 0),
        ("llama.block_count", "<I", 2**31),
        ("llama.feed_forward_length", "<I", 0),
        ("llama.attention.layer_norm_rms_epsilon", "<f", float("nan")),
        ("tokenizer.ggml.bos_token_id", "<I", 2**31),
    ],
)
def test_sizes_that_native_readers_divide_by_are_looked_at_first(
    whole: Path, tmp_path: Path, key: str, form: str, value: float
) -> None:
    data = whole.read_bytes()
    at = data.index(key.encode()) + len(key) + 4
    path = tmp_path / "wrong.gguf"
    path.write_bytes(data[:at] + struct.pack(form, value) + data[at + 4 :])
    with pytest.raises(InputError):
        gguf.read(path)


@pytest.mark.slow
def test_what_crashes_the_native_reader_is_a_sentence(whole: Path, tmp_path: Path) -> None:
    """A whole file whose dimensions are wrong: openvino-genai divides by them, or reads beyond its own buffers."""
    pytest.importorskip("openvino_genai")
    data = whole.read_bytes()
    path = tmp_path / "wrong.gguf"
    for key, value in (("llama.block_count", 2**20),):
        at = data.index(key.encode()) + len(key) + 4
        path.write_bytes(data[:at] + struct.pack("<I", value) + data[at + 4 :])
        gguf.read(path)
        with pytest.raises(InputError, match="cannot read it"):
            convert(path, tmp_path / "made" / key)
        assert list((tmp_path / "made").iterdir()) == [], "nothing is left half-made"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_to(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino_genai")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    graph = convert(whole, tmp_path / "cache" / "x")
    assert graph.is_file()
    assert not graph.is_relative_to(tmp_path / "cache")
