from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rung.core.errors import FitError, InputError
from rung.tuning.batches import Chat
from rung.tuning.weights import Base, find_base, open_base, unpack
from tests.tuning.conftest import write_gguf


def test_unpacked_once_and_verified(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    source = write_gguf(tmp_path / "one.gguf", seed=5)
    base = unpack(source, tmp_path / "cache")
    weights = base.folder / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert load_file(weights)["model.layers.1.mlp.up_proj.weight"].dtype == torch.bfloat16
    assert "quantization_config" not in json.loads((base.folder / "config.json").read_text())
    assert unpack(source, tmp_path / "cache") == base
    assert weights.stat().st_mtime_ns == made
    # A flipped byte is found and the folder made anew.
    data = bytearray(weights.read_bytes())
    data[-7] ^= 1
    weights.write_bytes(data)
    assert unpack(source, tmp_path / "cache") == base
    assert weights.stat().st_mtime_ns != made
    assert weights.read_bytes() != bytes(data)
    assert [path.name for path in (tmp_path / "cache" / "bases").iterdir()] == [base.folder.name]


def test_digits_are_split_as_the_file_says(tiny: Base) -> None:
    """The pattern of the tokenizer's kind is kept: a blank line before a number stays one piece."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12")
    assert [piece for piece, _ in pieces] == ["a", "ĊĊ", "1", "2"]


def test_every_parameter_is_frozen(tiny: Base) -> None:
    assert not any(part.requires_grad for part in open_base(tiny, torch.float32).parameters())


def test_a_folder_is_a_base(tiny: Base, tmp_path: Path) -> None:
    found = find_base(str(tiny.folder), tmp_path)
    assert (found.folder, found.gguf) == (tiny.folder, None)
    assert Chat(found).stop == Chat(tiny).stop
    with pytest.raises(InputError, match="cannot be trained"):
        find_base(str(tmp_path), tmp_path)


def test_a_broken_gguf_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(write_gguf(tmp_path / "whole.gguf").read_bytes()[:5000])
    with pytest.raises((FitError, InputError), match="broken"):
        unpack(broken, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "bases").glob("*"))


def test_an_adapter_beside_a_base_is_no_base(tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a base with an adapter beside it"):
        find_base(f"openvino:{tiny.gguf}@{tmp_path}", tmp_path)


def test_a_base_without_a_template_is_refused(tmp_path: Path) -> None:
    base = unpack(write_gguf(tmp_path / "bare.gguf", template=""), tmp_path / "cache")
    with pytest.raises(FitError, match="no chat template"):
        Chat(base)
