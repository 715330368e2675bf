"""Adapters on the upper layers alone: the lower ones are computed once a row, and nothing else changes."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rung.core.errors import FitError, InputError
from rung.core.types import Progress
from rung.tuning.batches import MicroBatch, TokenRow, assemble, split
from rung.tuning.compute import export, kernels, lower
from rung.tuning.compute.session import below, losses, open_session, states
from rung.tuning.trainer.loop import train
from rung.tuning.trainer.state import Watch
from rung.tuning.weights import Base
from tests.tuning.conftest import RECIPE

UPPER = replace(RECIPE, upper=0.5)


def test_only_the_upper_layer_is_trained(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    session = open_session(tiny, UPPER)
    assert session.frozen == 1
    assert session.names
    assert all(".layers.1." in name for name, _ in session.names)
    out = train(session, rows, rows[:2], UPPER, tmp_path)
    assert out.losses[-1] < 0.9 * out.losses[0]
    folder = export.save_adapter(session, UPPER, tmp_path / "adapter")
    assert json.loads((folder / "adapter_config.json").read_text())["layers_to_transform"] == [1]
    fresh = open_session(tiny, UPPER)
    export.load_adapter(fresh, folder)
    assert torch.equal(fresh.vector, session.vector)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_kept_outputs_are_those_computed_at_once(tiny: Base, rows: list[TokenRow], count: int) -> None:
    session = open_session(tiny, UPPER)
    session.set(torch.randn(session.vector.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    batch = assemble(rows[:count])
    want = states(session, batch).detach()
    own = [below(session, assemble([row])) for row in batch.members]
    made: list[int] = []
    session.keep(rows, RECIPE.tokens, made.append)
    assert made[-1] == len(rows)
    kept = session.kept.take(batch)
    assert kept is not None
    assert kept.shape[0] == len(batch.ids)
    torch.testing.assert_close(states(session, batch).detach(), want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept[-len(own[-1]) + batch.prefix :], own[-1][batch.prefix :], rtol=1e-4, atol=1e-5)
    losses(session, batch).sum().backward()
    assert session.grad.norm() > 0


def test_rows_that_there_is_no_room_for_are_computed_each_time(
    tiny: Base, rows: list[TokenRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(tiny, UPPER)
    monkeypatch.setattr(lower, "SHARE", 1 << 60)
    session.keep(rows, 60, lambda _: None)
    taken = [session.kept.take(batch) for batch in split(rows, 60)]
    assert taken[0] is not None
    assert taken[-1] is None
    assert torch.isfinite(losses(session, split(rows, 60)[-1])).all()


def test_a_resumed_training_goes_on_with_the_same_bits(tiny: Base, rows: list[TokenRow], tmp_path: Path) -> None:
    recipe = replace(UPPER, epochs=4, dropout=0.1)
    whole = open_session(tiny, recipe)
    want = train(whole, rows, rows[:2], recipe, tmp_path / "whole")
    halt = threading.Event()

    def watch(item: Progress) -> None:
        if item.stage == "train" and item.done == 3:
            halt.set()

    with pytest.raises(FitError) as raised:
        train(open_session(tiny, recipe), rows, rows[:2], recipe, tmp_path / "cut", Watch(watch, stop=halt))
    assert raised.value.code == "stopped"
    session = open_session(tiny, recipe)
    out = train(session, rows, rows[:2], recipe, tmp_path / "cut")
    assert (out.resumed, out.losses, out.checks) == (3, want.losses, want.checks)
    assert torch.equal(session.vector, whole.vector)


@pytest.mark.parametrize("number", [9, 11, 14])
def test_a_stop_within_a_step_is_answered_at_the_next_layer(
    tiny: Base, rows: list[TokenRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In the forward pass, in the backward pass and while dev is looked at (``number``: calls of attention since the start; two
    layers, two passes); the training then ends as if never stopped."""
    recipe = replace(RECIPE, epochs=2)
    want = train(open_session(tiny, recipe), rows, rows[:2], recipe, tmp_path / "whole")
    halt, calls, real = threading.Event(), [0], kernels.Attended.check

    def check(self: kernels.Attended) -> None:
        calls[0] += 1
        if calls[0] == number:
            halt.set()
        real(self)

    monkeypatch.setattr(kernels.Attended, "check", check)
    with pytest.raises(FitError) as raised:
        train(open_session(tiny, recipe), rows, rows[:2], recipe, tmp_path / "cut", Watch(stop=halt))
    monkeypatch.undo()
    assert raised.value.code == "stopped"
    assert calls[0] == number
    out = train(open_session(tiny, recipe), rows, rows[:2], recipe, tmp_path / "cut")
    assert (out.losses, out.checks) == (want.losses, want.checks)


@pytest.mark.parametrize("change", [{"upper": 0.0}, {"upper": 1.5}, {"upper": 0.5, "method": "full"}])
def test_shares_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(RECIPE, **change).validate()  # type: ignore[arg-type]


def test_members_lie_as_they_are_told(rows: list[TokenRow]) -> None:
    batch: MicroBatch = assemble(rows)
    assert [len(row) for row in batch.members] == sorted(map(len, rows))
