from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rung.core.errors import FitError, Unsupported
from rung.tuning.batches import Chat, TokenRow, assemble
from rung.tuning.compute import export
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.weights import Base, unpack
from tests.tuning.conftest import RECIPE


@pytest.fixture
def tuned(session: Session) -> Session:
    session.vector.add_(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return session


def logits(model: torch.nn.Module, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def test_adapter_and_folder_load_elsewhere(tuned: Session, tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """Plain peft over the plain base, and plain transformers over the merged folder, give the session's own losses."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    export.save_adapter(tuned, RECIPE, tmp_path / "adapter")
    export.save_folder(export.merge(tuned), tiny, tmp_path / "merged")
    base = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    plain = logits(base, list(rows[0].ids))
    unmerged = logits(PeftModel.from_pretrained(base, tmp_path / "adapter"), list(rows[0].ids))
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged"), list(rows[0].ids))
    assert (plain - merged).abs().max() > 0.1
    torch.testing.assert_close(merged, unmerged, rtol=0, atol=1e-4)
    row = rows[0]
    own = losses(tuned, assemble([row]))
    at = [place - 1 for place, on in enumerate(row.trained) if on]
    target = torch.tensor([row.ids[place + 1] for place in at])
    torch.testing.assert_close(
        torch.nn.functional.cross_entropy(merged[at], target, reduction="none"), own.detach(), rtol=1e-4, atol=1e-4
    )


def test_adapter_round_trip(tuned: Session, tiny: Base, tmp_path: Path) -> None:
    export.save_adapter(tuned, RECIPE, tmp_path)
    fresh = open_session(tiny, RECIPE)
    export.load_adapter(fresh, tmp_path)
    assert torch.equal(fresh.vector, tuned.vector)
    with pytest.raises(FitError, match="expected shape"):
        export.load_adapter(open_session(tiny, replace(RECIPE, rank=2)), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(FitError, match="cannot read the adapter"):
        export.load_adapter(fresh, tmp_path)


@pytest.mark.parametrize(("precision", "tolerance"), [("f16", 1e-3), ("q8", 1e-2), ("q4", 0.1)])
def test_gguf_reads_back_as_what_was_written(
    tuned: Session, tiny: Base, tmp_path: Path, precision: export.Precision, tolerance: float
) -> None:
    """Through transformers' own GGUF reader: names, permutation, metadata and tokenizer survive."""
    import gguf
    from safetensors.torch import load_file

    merged = export.merge(tuned)
    path = export.save_gguf(merged, tiny, tmp_path / "tuned.gguf", precision)
    back = load_file(unpack(path, tmp_path / "cache").folder / "model.safetensors")
    assert set(back) == set(merged)
    for name, tensor in merged.items():
        scale = tensor.abs().max()
        assert float((back[name].float() - tensor).abs().max() / scale) < tolerance + 2**-8, name  # read as bfloat16
    assert tiny.gguf is not None
    old, new = gguf.GGUFReader(tiny.gguf), gguf.GGUFReader(path)
    changed = {"general.file_type", "general.quantization_version", "GGUF.tensor_count", "GGUF.kv_count"}
    for key, item in old.fields.items():
        if key not in changed:
            assert new.fields[key].contents() == item.contents(), key
            assert new.fields[key].types == item.types, key
    assert Chat(Base(tiny.folder, path, "")).stop == Chat(tiny).stop
    kinds = {tensor.name: tensor.tensor_type.name for tensor in new.tensors}
    assert kinds["output_norm.weight"] == "F32"
    assert kinds["blk.0.attn_q.weight"] == {"f16": "F16", "q8": "Q8_0", "q4": "Q4_0"}[precision]
    assert kinds["token_embd.weight"] == {"f16": "F16", "q8": "Q8_0", "q4": "Q8_0"}[precision]


def test_permute_is_what_the_reader_undoes() -> None:
    weight = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    out = export.permute(weight, heads=2)
    assert out[:, 0].tolist() == [0.0, 6.0, 3.0, 9.0, 12.0, 18.0, 15.0, 21.0]


def test_gguf_needs_a_gguf(tuned: Session, tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no GGUF whose tokenizer"):
        export.save_gguf(export.merge(tuned), replace(tiny, gguf=None), tmp_path / "x.gguf", "f16")


def test_failed_write_leaves_nothing(
    tuned: Session, tiny: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FitError, match="No space left on device"):
        export.save_gguf(export.merge(tuned), tiny, tmp_path / "x.gguf", "q8")
    assert not list(tmp_path.iterdir())


def test_not_finite_is_not_exported(tuned: Session) -> None:
    tuned.vector[5] = float("inf")
    with pytest.raises(FitError, match="not finite"):
        export.merge(tuned)
