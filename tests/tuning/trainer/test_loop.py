from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.core.errors import FitError, InputError
from rung.core.types import Progress
from rung.tuning.batches import MicroBatch, TokenRow, assemble, split
from rung.tuning.compute import replicas
from rung.tuning.compute.replicas import Replicas
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.trainer import loop
from rung.tuning.trainer.checkpoints import Checkpoints
from rung.tuning.trainer.loop import dev_loss, train
from rung.tuning.trainer.recipe import rate_at
from rung.tuning.trainer.state import Trained, Watch
from rung.tuning.weights import Base
from tests.child import Child, imported
from tests.tuning.conftest import RECIPE


def plain_loss(session: Session, rows: list[TokenRow]) -> torch.Tensor:
    """Summed loss of the trained tokens by the model's own code, a row at a time."""
    causal = session.causal
    causal.set_attn_implementation("eager")
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([row.ids])
        logits = causal(input_ids=ids, use_cache=False).logits[0, :-1]
        on = torch.tensor(row.trained[1:])
        total = total + torch.nn.functional.cross_entropy(logits[on], ids[0, 1:][on], reduction="sum")
    causal.set_attn_implementation("rung-ragged")
    return total


def test_loss_and_gradient_equal_the_models_own(session: Session, rows: list[TokenRow]) -> None:
    session.vector.add_(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    batch = assemble(rows)
    assert batch.prefix > 10
    mine = losses(session, batch).sum()
    mine.backward()
    got = session.grad.clone()
    session.grad.zero_()
    own = plain_loss(session, rows)
    own.backward()
    torch.testing.assert_close(mine.detach(), own.detach(), rtol=1e-5, atol=1e-4)
    assert got.norm() > 1
    torch.testing.assert_close(got, session.grad, rtol=1e-3, atol=1e-4)


def test_accumulation_equals_the_big_batch(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """Rows of unlike answer lengths in one step: many micro-batches or one, the same weights (float32 sums apart)."""
    after = []
    for tokens in (1, 4096):
        session = open_session(tiny, RECIPE)
        recipe = replace(RECIPE, epochs=1, batch=8, tokens=tokens)
        out = train(session, rows, [], recipe, tmp_path / str(tokens))
        assert out.step == 1
        after.append((out.losses[0], session.vector.clone()))
    assert after[0][0] == pytest.approx(after[1][0], rel=1e-6)
    torch.testing.assert_close(after[0][1], after[1][1], rtol=1e-4, atol=1e-5)


def test_early_stopping_restores_the_best(session: Session, tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    recipe = replace(RECIPE, rate=0.05, epochs=20, patience=2)
    seen: list[Progress] = []
    out = train(session, rows[:6], rows[6:], recipe, tmp_path, Watch(seen.append))
    assert out.best is not None
    assert out.best.loss == min(mark.loss for mark in out.checks)
    assert out.step < out.total
    assert out.step > out.best.step
    assert "dev loss has not fallen" in out.stopped
    with Replicas.of(session, recipe) as replicas:
        batches = split(rows[6:], recipe.tokens, replicas.count)
        assert dev_loss(replicas, batches) == out.best.loss
    assert [item.done for item in seen] == list(range(1, out.step + 1))
    assert "tokens/s" in seen[-1].note
    assert out.usage.prompt_tokens == out.tokens > out.computed > 0
    # Asking again finds it done.
    again = train(session, rows[:6], rows[6:], recipe, tmp_path, Watch(lambda _: pytest.fail("trained again")))
    assert again.losses == out.losses


def test_dropout_resumes_to_the_same_losses(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """Stopped after some steps and gone on in a fresh session: losses and weights bit for bit, dropout included."""
    recipe = replace(RECIPE, dropout=0.2, epochs=4)
    whole = open_session(tiny, recipe)
    want = train(whole, rows, rows[:2], recipe, tmp_path / "whole")
    for at in (3, 6):
        halt, session = threading.Event(), open_session(tiny, recipe)

        def watch(item: Progress, at: int = at, halt: threading.Event = halt) -> None:
            if item.done == at:
                halt.set()

        with pytest.raises(FitError, match=f"stopped at step {at} of 8"):
            train(session, rows, rows[:2], recipe, tmp_path / str(at), Watch(watch, stop=halt))
        session = open_session(tiny, recipe)
        out = train(session, rows, rows[:2], recipe, tmp_path / str(at))
        assert out.resumed == at
        assert out.losses == want.losses
        assert out.checks == want.checks
        assert torch.equal(session.vector, whole.vector)


def test_a_stopped_training_is_finished_where_it_stopped(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    """With upper layers alone too, whose frozen ones must be computed before dev can be looked at."""
    for upper in (None, 0.5):
        recipe, folder = replace(RECIPE, epochs=4, upper=upper), tmp_path / str(upper)
        with pytest.raises(FitError, match="no checkpoint"):
            train(open_session(tiny, recipe), rows, rows[:2], recipe, folder, Watch(finish=True))
        halt = threading.Event()

        def watch(item: Progress, halt: threading.Event = halt) -> None:
            if item.stage == "train" and item.done == 3:
                halt.set()

        with pytest.raises(FitError, match="stopped at step 3 of 8"):
            train(open_session(tiny, recipe), rows, rows[:2], recipe, folder, Watch(watch, stop=halt))
        session = open_session(tiny, recipe)
        out = train(session, rows, rows[:2], recipe, folder, Watch(finish=True))
        assert (out.step, out.total, out.stopped) == (3, 8, "ended by hand at step 3 of 8")
        assert out.best is not None
        assert out.checks[-1].step == 3
        with Replicas.of(session, recipe) as replicas:
            held = split(session.front(rows[:2]), recipe.tokens, replicas.count)
            assert dev_loss(replicas, held) == pytest.approx(out.best.loss, rel=1e-6)


@pytest.fixture(scope="module", autouse=True)
def _children() -> Iterator[None]:
    with imported(
        "torch", "transformers.models.llama.modeling_llama", "rung.tuning.trainer.loop", "rung.tuning.weights"
    ):
        yield


KILLED = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(int(sys.argv[3]))
from rung.core.codec import decode, encode
from rung.tuning.batches import TokenRow
from rung.tuning.trainer.loop import train
from rung.tuning.trainer.state import Watch
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.compute.replicas import Replicas
from rung.tuning.compute.session import open_session
from rung.tuning.weights import Base
plan = json.loads(Path(sys.argv[1]).read_text())
base = Base(Path(plan["folder"]), None, plan["key"])
rows = [decode(TokenRow, row) for row in plan["rows"]]
recipe = decode(Recipe, plan["recipe"])
out = train(open_session(base, recipe), rows, rows[:2], recipe, Path(sys.argv[2]),
            Watch(lambda p: print(p.done, flush=True), every=0.0))
Path(sys.argv[2], "out.json").write_text(json.dumps(encode(out)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_kill_and_resume_is_bit_identical(tiny: Base, rows: list[TokenRow], tmp_path: Path, count: int) -> None:
    """kill -9 twice, in the middle of steps and of writes; the loss sequence is that of the run left alone."""
    from rung.core.codec import encode

    recipe = replace(RECIPE, epochs=8, batch=2)
    plan = tmp_path / "plan.json"
    plan.write_text(
        json.dumps({"folder": str(tiny.folder), "key": tiny.key, "rows": encode(rows), "recipe": encode(recipe)})
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        want = encode(train(open_session(tiny, recipe), rows, rows[:2], recipe, tmp_path / "alone"))
    finally:
        torch.set_num_threads(threads)
    killed = 0
    for seconds in (0.0, 0.2, None):
        process = Child(KILLED, str(plan), str(tmp_path / "killed"), str(count))
        if seconds is None:
            _, errors = process.communicate()
            assert process.wait() == 0, errors
            break
        process.stdout.readline()
        time.sleep(seconds)
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed >= 1
    got = json.loads((tmp_path / "killed" / "out.json").read_text())
    assert got["resumed"] > 0
    assert got["losses"] == want["losses"]
    assert got["checks"] == want["checks"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_loss_that_is_not_finite_stops(
    session: Session, tiny: Base, rows: list[TokenRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    real = losses
    seen: list[Progress] = []
    bad: list[str] = []

    def broken(session: Session, batch: MicroBatch) -> torch.Tensor:
        if len(seen) < 3:
            return real(session, batch)
        bad.extend(row.id for row in batch.members)
        return real(session, batch) * float("nan")

    monkeypatch.setattr(replicas, "losses", broken)
    monkeypatch.setattr(replicas, "wanted", lambda _: count)
    with pytest.raises(FitError, match="the loss became nan at step 4 on rows row") as raised:
        train(session, rows, [], RECIPE, tmp_path, Watch(seen.append, every=1e9))
    assert bad
    assert all(name in str(raised.value) for name in bad[:4])
    assert "lower the learning rate" in str(raised.value)
    kept = session.vector.clone()
    assert torch.isfinite(kept).all()
    fresh = open_session(tiny, RECIPE)
    store = Checkpoints(tmp_path, loop.identity(tiny, rows, [], RECIPE), Trained)
    state, note = store.restore({"vector": fresh.vector})
    assert (state.step, note) == (3, "")
    assert torch.equal(fresh.vector, kept)


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_damaged_checkpoint_falls_back(session: Session, tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, "k", Trained)
    for step in (1, 2, 3):
        session.vector.fill_(float(step))
        store.save(Trained(step=step), {"vector": session.vector})
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    spoil(tmp_path / "step-000003.safetensors")
    state, note = store.restore({"vector": session.vector})
    assert state.step == 2
    assert "step-000003.safetensors is damaged" in note
    assert bool((session.vector == 2.0).all())
    spoil(tmp_path / "step-000002.safetensors")
    assert store.restore({"vector": session.vector})[0].step == 0
    (tmp_path / "checkpoint.json").write_text("{half")
    assert store.restore({"vector": session.vector}) == (
        Trained(),
        "checkpoint.json is damaged, so the training begins again",
    )


def test_full_disk_keeps_the_old_checkpoint(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Checkpoints(tmp_path, "k", Trained)
    store.save(Trained(step=1), {"vector": session.vector})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FitError, match="No space left on device; the one before it is intact"):
            store.save(Trained(step=2), {"vector": session.vector + 1})
    assert store.restore({"vector": session.vector})[0].step == 1
    assert not list(tmp_path.glob(".*part*"))


def test_another_trainings_checkpoint_is_refused(
    session: Session, tiny: Base, rows: list[TokenRow], tmp_path: Path
) -> None:
    train(session, rows[:4], [], replace(RECIPE, epochs=1), tmp_path)
    with pytest.raises(FitError, match="another training"):
        train(session, rows[:5], [], replace(RECIPE, epochs=1), tmp_path)


def test_schedules() -> None:
    recipe = replace(RECIPE, rate=1.0, warmup=0.2)
    cosine = [rate_at(recipe, step, 10) for step in range(10)]
    assert cosine[:3] == [0.5, 1.0, 1.0]
    assert cosine[6] == pytest.approx(0.5)
    linear = [rate_at(replace(recipe, schedule="linear"), step, 10) for step in range(10)]
    assert linear[6] == pytest.approx(0.5)
    assert linear[9] == pytest.approx(0.125)
    assert rate_at(replace(recipe, schedule="constant"), 9, 10) == 1.0


def test_unknown_targets_name_those_there_are(tiny: Base) -> None:
    with pytest.raises(InputError, match=r"no module query to adapt.*\n.*q_proj"):
        open_session(tiny, replace(RECIPE, targets=("query", "v_proj")))


@pytest.mark.parametrize(
    "change", [{"rank": 0}, {"batch": 0}, {"warmup": -1.0}, {"rate": -1.0}, {"method": "magic"}, {"bits": 3}]
)
def test_recipes_that_cannot_train(tiny: Base, change: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(RECIPE, **change).validate()  # type: ignore[arg-type]


def test_no_rows(session: Session, tiny: Base, tmp_path: Path) -> None:
    with pytest.raises(FitError, match="no row to train on"):
        train(session, [], [], RECIPE, tmp_path)


def test_identity_names_every_setting(tiny: Base, rows: list[TokenRow]) -> None:
    from rung.tuning.trainer.loop import identity
    from rung.tuning.trainer.recipe import Recipe

    keys = {
        identity(tiny, rows, rows[:1], Recipe()),
        identity(tiny, rows[::-1], rows[:1], Recipe()),
        identity(tiny, rows[1:], rows[:2], Recipe()),
        identity(tiny, rows, rows[:1], Recipe(epochs=Recipe().epochs + 1)),
        identity(replace(tiny, key="other"), rows, rows[:1], Recipe()),
    }
    assert len(keys) == 5
