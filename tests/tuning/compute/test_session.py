"""Every method: what is trained, what stays as it was, and that loss and gradient are those of the plain computation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.core.errors import FitError, InputError, Unsupported
from rung.core.settings import Settings
from rung.core.types import Request, Sampling, ScoreRequest
from rung.models.providers.transformers.model import open_model
from rung.tuning.batches import Chat, TokenRow, assemble, split
from rung.tuning.compute import export
from rung.tuning.compute.packed import Packed
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.trainer.loop import train
from rung.tuning.trainer.recipe import METHODS, RATES, Method, Recipe
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE, Conversations

METHOD = pytest.mark.parametrize("method", METHODS)


def recipe_of(method: Method) -> Recipe:
    return replace(RECIPE, method=method, rate=None, reduction=4, virtual=5, epochs=6)


def shake(session: Session, scale: float = 0.05) -> None:
    session.set(session.vector + scale * torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(1)))


def plain_losses(model: torch.nn.Module, rows: Sequence[TokenRow]) -> list[torch.Tensor]:
    """Loss of each trained token by a model's own code, a row at a time."""
    out = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids]), attention_mask=torch.ones(1, len(row))).logits[0]
        logits = logits[-len(row) :]
        at = [place - 1 for place, on in enumerate(row.trained) if on]
        target = torch.tensor([row.ids[place + 1] for place in at])
        out.append(torch.nn.functional.cross_entropy(logits[at].float(), target, reduction="none"))
    return out


@METHOD
def test_training_lowers_the_loss_and_leaves_the_rest(
    method: Method, tiny: Base, rows: list[TokenRow], tmp_path: Path
) -> None:
    recipe = replace(recipe_of(method), rate=None if method != "full" else 5e-3, epochs=12, patience=0)
    session = open_session(tiny, recipe)
    trained = {name for name, _ in session.names}
    frozen = {
        name: part.clone()
        for name, part in session.causal.named_parameters()
        if not part.requires_grad and part.numel()
    }
    assert bool(frozen) is (method != "full")
    before = session.vector.clone()
    out = train(session, rows, [], recipe, tmp_path)
    # A random two-layer model has little in it that virtual tokens or small modules could call up.
    share = 0.97 if method in ("bottleneck", "prompt", "prefix") else 0.8
    assert out.losses[-1] < share * out.losses[0]
    assert not torch.equal(before, session.vector)
    assert all(torch.equal(part, dict(session.causal.named_parameters())[name]) for name, part in frozen.items())
    assert len(trained) == len(session.names)
    if method == "full":
        assert {name for name, _ in session.causal.named_parameters()} == trained
    changed = [name for name, part in session.named().items() if part.abs().sum() > 0]
    assert changed


@METHOD
def test_one_batch_equals_rows_alone(method: Method, tiny: Base, rows: list[TokenRow]) -> None:
    """Packing has no cross-contamination, and accumulation over single rows is the big batch, in every method."""
    session = open_session(tiny, recipe_of(method))
    shake(session)
    front = session.front(rows)
    together = losses(session, assemble(front))
    together.sum().backward()
    gradient = session.grad.clone()
    session.grad.zero_()
    alone = torch.zeros(())
    for batch in split(front, 1):
        part = losses(session, batch).sum()
        part.backward()
        alone += part.detach()
    torch.testing.assert_close(together.sum().detach(), alone, rtol=1e-5, atol=1e-4)
    assert gradient.norm() > 0.01
    torch.testing.assert_close(gradient, session.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "prompt", "prefix"])
def test_adapter_is_read_by_plain_peft(method: Method, tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    recipe = recipe_of(method)
    session = open_session(tiny, recipe)
    shake(session, 0.2)
    export.save_adapter(session, recipe, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tiny.folder, dtype=torch.float32)
    with torch.no_grad():
        without = plain_losses(base, rows)
        want = plain_losses(PeftModel.from_pretrained(base, tmp_path), rows)
        got = [losses(session, assemble(session.front([row]))) for row in rows]
    assert max(float((a - b).abs().max()) for a, b in zip(without, want, strict=True)) > 0.01
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["lora", "bottleneck", "prompt", "prefix"])
async def test_adapter_folder_answers_as_it_was_trained(
    method: Method, tiny: Base, chat: Chat, rows: list[TokenRow], conversations: Conversations, tmp_path: Path
) -> None:
    """The transformers provider over the adapter's folder gives a turn the probability that training saw."""
    recipe = recipe_of(method)
    session = open_session(tiny, recipe)
    shake(session, 0.2)
    export.save_adapter(session, recipe, tmp_path)
    model = open_model(str(tmp_path), Settings())
    loaded = model._load()
    loaded.model.float()
    for layer in getattr(loaded.model, "base_model", loaded.model).modules():
        if hasattr(layer, "rung_prefix"):
            layer.rung_prefix = layer.rung_prefix.float()
    messages = tuple(conversations[0][1][:-1])
    with torch.no_grad():
        for row in rows:
            ids = (*loaded.front, *row.ids)
            (want,) = plain_losses(
                loaded.model, [replace(row, ids=ids, trained=(False,) * len(loaded.front) + row.trained)]
            )
            # The provider keeps the base and virtual tokens in bfloat16.
            torch.testing.assert_close(losses(session, assemble(session.front([row]))), want, rtol=0.02, atol=0.02)
    prompt = (*loaded.front, *chat.prompt(messages))
    assert model._load().prompt(messages, 1) == prompt
    with torch.no_grad():
        first = torch.log_softmax(loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1], -1)
    letters = ("r", "g", "b")
    scores = (await model.score([ScoreRequest(messages, letters)]))[0]
    picked = first[[chat.template.plain(letter)[0] for letter in letters]]
    torch.testing.assert_close(torch.tensor(scores.logprobs), torch.log_softmax(picked, 0), rtol=1e-3, atol=1e-3)
    label = int(first.argmax())
    replies = await model.generate([Request(messages, Sampling(max_tokens=4))] * 2)
    assert replies[0].text == replies[1].text
    assert replies[0].finish in ("stop", "length")
    assert replies[0].text.startswith(chat.decode([label])) or label == chat.stop
    fresh = tmp_path / "other"
    shake(session, 0.1)
    export.save_adapter(session, recipe, fresh)
    assert open_model(str(fresh), Settings()).fingerprint != model.fingerprint
    (tmp_path / "rung.json").write_text(json.dumps({"base": str(tiny.gguf), "key": "0" * 64}))
    with pytest.raises(InputError, match="another base"):
        open_model(str(tmp_path), Settings())


@pytest.mark.parametrize("method", ["lora", "bottleneck", "prompt", "prefix"])
def test_adapter_round_trip(method: Method, tiny: Base, tmp_path: Path) -> None:
    recipe = recipe_of(method)
    session = open_session(tiny, recipe)
    shake(session)
    export.save_adapter(session, recipe, tmp_path)
    fresh = open_session(tiny, recipe)
    export.load_adapter(fresh, tmp_path)
    assert torch.equal(fresh.vector, session.vector)
    other = replace(recipe, rank=2, reduction=8, virtual=3)
    with pytest.raises(FitError, match="expected shape"):
        export.load_adapter(open_session(tiny, other), tmp_path)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_merged_equals_unmerged(method: Method, tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    session = open_session(tiny, recipe_of(method))
    shake(session, 0.02)
    export.save_folder(export.merge(session), tiny, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        for row, want in zip(rows, plain_losses(merged, rows), strict=True):
            torch.testing.assert_close(losses(session, assemble([row])), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["bottleneck", "prompt", "prefix"])
def test_what_cannot_be_merged_says_so(method: Method, tiny: Base) -> None:
    with pytest.raises(Unsupported, match="cannot be merged"):
        export.merge(open_session(tiny, recipe_of(method)))


@pytest.mark.parametrize(("bits", "error"), [(4, 0.11), (8, 0.008)])
def test_packed_is_small_and_near(bits: int, error: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(96, 128)
    packed = Packed.of(weight, bits)
    opened = packed.open(torch.float32)
    assert float((opened - weight).norm() / weight.norm()) < error
    assert packed.nbytes == weight.numel() * bits // 8 + weight.numel() // 64 * 4
    torch.testing.assert_close(Packed.of(opened, bits).open(torch.float32), opened, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="does not divide"):
        Packed.of(torch.randn(3, 5), bits)


def test_qlora_holds_its_base_packed(tiny: Base) -> None:
    session = open_session(tiny, recipe_of("qlora"))
    packed = [part for part in session.causal.modules() if hasattr(part, "rung_packed")]
    assert len(packed) == 14
    assert all(part.base_layer.weight.numel() == 0 for part in packed)
    with pytest.raises(InputError, match="does not go with dora"):
        open_session(tiny, replace(recipe_of("qlora"), dora=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_full_in_bf16_follows_fp32(checkpointing: bool, tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """Float32 masters behind a bf16 model: the loss curve is that of float32 within the width of bf16."""
    ends = []
    for precision in ("fp32", "bf16"):
        recipe = replace(
            recipe_of("full"), rate=2e-3, precision=precision, epochs=8, checkpointing=checkpointing, patience=0
        )
        session = open_session(tiny, recipe)
        ends.append(train(session, rows, [], recipe, tmp_path / precision).losses)
        assert session.vector.dtype == torch.float32
    assert ends[0][-1] < 0.9 * ends[0][0]
    assert ends[1][-1] == pytest.approx(ends[0][-1], rel=0.02)


def test_checkpointing_changes_nothing_but_memory(tiny: Base, rows: list[TokenRow]) -> None:
    grads = []
    for checkpointing in (False, True):
        session = open_session(tiny, replace(RECIPE, checkpointing=checkpointing))
        shake(session)
        session.model.train()
        losses(session, assemble(rows)).sum().backward()
        grads.append(session.grad.clone())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-5)


def test_rates_follow_the_method() -> None:
    for method in METHODS:
        low, default, high = RATES[method]
        assert low < default < high
        assert Recipe(method=method).peak == default
        assert Recipe(method=method).advice == ""
        assert "usual" in Recipe(method=method, rate=high * 10).advice
