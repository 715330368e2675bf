"""With the embedded model's own weights: what is trained is what the engine is sent, and what is exported is what it runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.core.settings import Settings
from rung.core.types import Message, Request, Sampling, ScoreRequest
from rung.models.engine.openvino.model import open_model
from rung.tuning.batches import Chat, encode
from rung.tuning.checks import preflight
from rung.tuning.compute import export
from rung.tuning.compute.session import open_session
from rung.tuning.trainer.loop import train
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import Base, find_base

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

SYSTEM = Message("system", "Answer in a few words.")
ASKED = (SYSTEM, Message("user", "Which colour has the sky? 日本 é  ü\n\n1234 <|im_end|>"))
LABELS = ("blue", "green", "sky_blue", "no colour at all")
TALKS = [
    ("a", [SYSTEM, Message("user", "Which colour has grass?"), Message("assistant", "green")]),
    ("b", [SYSTEM, Message("user", "Which colour has snow?"), Message("assistant", "white")]),
    ("c", [Message("user", "Hello!\n\n  Who is it? 日本 é"), Message("assistant", "It is me.\n\n```\n  x\n```")]),
]
RECIPE = Recipe(rank=8, epochs=2, batch=3, rate=2e-3, warmup=0.0, patience=0)


@pytest.fixture
def base() -> Base:
    return find_base("openvino:smollm2-135m", Settings().cache)


def ranked(model: Any, chat: Chat, labels: tuple[str, ...]) -> list[float]:
    """Log-probability of each label as the reply to ASKED by plain float32 torch, as the engine defines it: over the
    labels' tokens where they part, which for these is their first."""
    firsts = [chat.template.plain(label)[0] for label in labels]
    assert len(set(firsts)) == len(labels)
    with torch.no_grad():
        logits = model(torch.tensor([chat.prompt(ASKED)])).logits[0, -1]
    return [float(one) for one in torch.log_softmax(logits[firsts], -1)]


@pytest.mark.slow
async def test_trained_exported_and_answered(base: Base, tmp_path: Path) -> None:
    chat = Chat(base)
    rows, _ = encode(chat, TALKS)
    session = open_session(base, RECIPE)
    for check in (
        preflight.check_stop(chat, rows),
        preflight.check_mask(chat, rows, TALKS),
        preflight.check_template(base, chat, [*TALKS, ("asked", [*ASKED, Message("assistant", "blue")])]),
        preflight.check_math(session, rows),
    ):
        assert check.passed is True, check
    out = train(session, rows, [], RECIPE, tmp_path / "train")
    assert out.losses[-1] < 0.8 * out.losses[0]

    # The merged weights in float32 torch, and in the engine from each exported file.
    merged = export.merge(session)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    model.load_state_dict(merged, strict=False)
    prompt = chat.prompt(ASKED)
    with torch.no_grad():
        made = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
    said = chat.decode(made[: made.index(chat.stop)] if chat.stop in made else made)
    own = ranked(model, chat, LABELS)
    settings = Settings()
    for precision, tolerance in (("f16", 0.25), ("q8", 0.5)):
        path = export.save_gguf(merged, base, tmp_path / f"{precision}.gguf", precision)  # type: ignore[arg-type]
        engine = open_model(str(path), settings)
        try:
            assert engine.count(ASKED) == len(prompt)
            (reply,) = await engine.generate([Request(ASKED, Sampling(max_tokens=12))])
            assert reply.finish in ("stop", "length")
            if precision == "f16":
                assert reply.text.strip() == said.strip()
            (scores,) = await engine.score([ScoreRequest(ASKED, LABELS)])
            assert scores.best == own.index(max(own))
            for got, want in zip(scores.logprobs, own, strict=True):
                if math.isfinite(got):
                    assert got == pytest.approx(want, abs=tolerance)
        finally:
            await engine.close()
