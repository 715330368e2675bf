"""The parity reference: what is written as it was trained passes in every form, what is not fails and is put aside."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.core.errors import ParityError
from rung.core.settings import Settings
from rung.models.engine.openvino.model import open_model
from rung.tuning.batches import Chat
from rung.tuning.checks import parity
from rung.tuning.compute import export
from rung.tuning.compute.session import Session, open_session
from rung.tuning.weights import Base
from rung.tuning.work import Lessons
from tests.tuning.conftest import RECIPE, Conversations

pytest.importorskip("openvino_genai")


@pytest.fixture(scope="module")
def tuned(tiny: Base) -> Session:
    session = open_session(tiny, RECIPE)
    session.set(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(3)) * 0.2)
    return session


@pytest.fixture(scope="module")
def reference(tuned: Session, chat: Chat, conversations: Conversations) -> parity.Reference:
    return parity.Reference(tuned, chat, "lora", Lessons(conversations, conversations[:5]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"cache": str(tmp_path / "cache")})


@pytest.mark.parametrize("kind", ["f16", "q8", "q4", "openvino", "folder", "adapter"])
def test_what_was_trained_passes(
    reference: parity.Reference, tuned: Session, tiny: Base, tmp_path: Path, settings: Settings, kind: str
) -> None:
    place = tmp_path / kind
    if kind == "adapter":
        export.save_adapter(tuned, RECIPE, place)
    elif kind == "folder":
        export.save_folder(export.merge(tuned), tiny, place)
    elif kind == "openvino":
        export.save_openvino(export.merge(tuned), tiny, place)
    else:
        place = export.save_gguf(export.merge(tuned), tiny, tmp_path / f"{kind}.gguf", kind)  # type: ignore[arg-type]
    found = reference.check(kind, place, settings)
    assert found.verdict == "passed", found
    assert (found.rows, found.asked, found.held_out) == (5, 5, True)
    assert found.loss == pytest.approx(found.after, abs=0.3)


def test_other_weights_fail(
    reference: parity.Reference,
    tuned: Session,
    tiny: Base,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An export that forgot the permutation of q and k, one of the base alone, and one that cannot be read."""
    merged = export.merge(tuned)
    monkeypatch.setattr(export, "PERMUTED", ())
    twisted = export.save_gguf(merged, tiny, tmp_path / "twisted.gguf", "f16")
    assert tiny.gguf is not None
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    said = {}
    for place in (twisted, tiny.gguf, tmp_path / "broken.gguf"):
        found = reference.check("f16", place, settings)
        assert found.verdict == "failed", found
        said[place.name] = found.why
    assert "drift may be" in said["twisted.gguf"]
    assert "cannot be opened and asked" in said["broken.gguf"]


def test_rounding_of_the_training_is_no_fault_of_an_export(
    tiny: Base, chat: Chat, conversations: Conversations, tmp_path: Path, settings: Settings
) -> None:
    """Trained in bfloat16, exported in float32: compared on a single row, the export passes although it is more precise, and one
    with a single spoilt matrix does not."""
    session = open_session(tiny, replace(RECIPE, precision="bf16"))
    session.set(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(3)) * 0.2)
    reference = parity.Reference(session, chat, "lora", Lessons(conversations[:1]))
    assert {part.dtype for part in session.causal.model.norm.parameters()} == {torch.bfloat16}
    merged = export.merge(session)
    found = reference.check("folder", export.save_folder(merged, tiny, tmp_path / "merged"), settings)
    assert found.verdict == "passed", found
    assert found.after == pytest.approx(found.loss, abs=1e-4)
    name = "model.layers.1.mlp.down_proj.weight"
    spoilt = {**merged, name: merged[name].roll(1, 0)}
    assert (
        reference.check("folder", export.save_folder(spoilt, tiny, tmp_path / "spoilt"), settings).verdict == "failed"
    )
    place = export.save_gguf(spoilt, tiny, tmp_path / "spoilt.gguf", "f16")
    assert reference.check("f16", place, settings).verdict == "failed"


def test_another_template_fails(
    reference: parity.Reference, tuned: Session, tiny: Base, tmp_path: Path, settings: Settings
) -> None:
    place = export.save_folder(export.merge(tuned), tiny, tmp_path / "merged")
    assert reference.check("folder", place, settings).verdict == "passed"
    template = place / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_start|>", "<|im_end|>"))
    assert reference.check("folder", place, settings).verdict == "failed"


def test_texts_are_compared_too(tuned: Session, chat: Chat, tiny: Base, tmp_path: Path, settings: Settings) -> None:
    reference = parity.Reference(tuned, chat, "lora", Lessons(texts=[("a", "the sea is blue " * 20), ("b", "x")]))
    found = reference.check("folder", export.save_folder(export.merge(tuned), tiny, tmp_path / "merged"), settings)
    assert (found.verdict, found.rows, found.asked, found.held_out) == ("passed", 1, 0, False)
    assert found.tokens > 100


def test_failed_files_are_put_aside_and_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    for place in (good, bad):
        place.write_text("weights")
    found = {
        "f16": parity.ExportParity("passed", 3, 9, True, 1.0, 1.0),
        "q4": parity.ExportParity("failed", 3, 9, why="no"),
    }
    parity.save(tmp_path, found)
    assert parity.read(tmp_path) == found
    with pytest.raises(ParityError, match=r"1 of 2 exports .*\n.*bad\.gguf\.failed"):
        parity.demand({good: found["f16"], bad: found["q4"]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.gguf.failed", "good.gguf", "parity.json"]
    (tmp_path / "parity.json").write_text(json.dumps({"f16": {"verdict": 3}})[:-1])
    assert parity.read(tmp_path) == {}


async def test_an_openvino_folder_opens_as_the_gguf_does(
    tuned: Session, tiny: Base, tmp_path: Path, settings: Settings
) -> None:
    from rung.core.errors import InputError
    from rung.core.types import Message, Request, Sampling, Usage

    merged = export.merge(tuned)
    folder = export.save_openvino(merged, tiny, tmp_path / "ov")
    file = export.save_gguf(merged, tiny, tmp_path / "m.gguf", "f16")
    request = Request((Message("user", "the sea"),), Sampling(max_tokens=5, logprobs=True))
    replies = []
    for place in (folder, file):
        model = open_model(str(place), settings)
        try:
            replies.append((await model.generate([request]))[0])
            assert model.capabilities.context == 512
        finally:
            await model.close()
    assert dataclasses.replace(replies[0], usage=Usage(), model="") == dataclasses.replace(
        replies[1], usage=Usage(), model=""
    )
    (folder / "openvino_model.bin").unlink()
    with pytest.raises(InputError, match=r"openvino_model\.bin missing"):
        open_model(str(folder), settings)


def test_too_little_memory_is_no_failure(
    reference: parity.Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to allocate 268435456 bytes of memory")

    monkeypatch.setattr("rung.models.engine.openvino.model.open_model", refuse)
    found = reference.check("f16", tmp_path / "x.gguf", Settings())
    assert (found.verdict, found.rows) == ("not checked", 0)
    assert "too little memory" in str(found)
