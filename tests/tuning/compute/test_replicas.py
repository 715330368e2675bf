"""A session in several threads."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from rung.tuning.batches import TokenRow, split
from rung.tuning.compute import kernels
from rung.tuning.compute.replicas import Replicas, replicate, wanted
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.trainer.recipe import Method, Recipe
from rung.tuning.weights import Base

RECIPE = Recipe(rank=4, precision="fp32", batch=8)


def gradient(session: Session, rows: list[TokenRow]) -> torch.Tensor:
    session.grad.zero_()
    for batch in split(session.front(rows), 1024):
        losses(session, batch).sum().backward()
    return session.grad.clone()


@pytest.mark.parametrize("method", ["lora", "qlora", "bottleneck", "prompt", "prefix"])
def test_replicas_compute_the_sessions_gradient(tiny: Base, rows: list[TokenRow], method: Method) -> None:
    session = open_session(tiny, replace(RECIPE, method=method))
    session.set(session.vector + 0.05 * torch.randn_like(session.vector))
    want = gradient(session, rows)
    session.grad.zero_()
    before = torch.get_num_threads()
    with Replicas([session, replicate(session)]) as replicas:
        batches = split(session.front(rows), 1024, replicas.count)
        assert len(batches) == 2
        total, bad = replicas.gradient(batches, 0.5)
        found = session.grad.clone()
        session.grad.zero_()
        again = replicas.gradient(batches, 0.5)
        assert torch.equal(session.grad, found)
        assert again == (total, bad)
        assert bad == []
        assert replicas.loss(batches) == pytest.approx(2 * total, rel=1e-5)
    assert torch.get_num_threads() == before
    torch.testing.assert_close(found, want / 2, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert total == pytest.approx(sum(float(losses(session, batch).sum()) for batch in batches) / 2, rel=1e-5)


def test_a_replica_follows_the_weights_and_shares_the_frozen_ones(session: Session, rows: list[TokenRow]) -> None:
    twin = replicate(session)
    shared = {part.data_ptr() for part in session.causal.parameters()}
    assert {part.data_ptr() for part in twin.causal.parameters()} == shared
    session.set(session.vector + 0.1)
    [batch] = split(rows, 4096)
    with torch.no_grad():
        assert torch.equal(losses(twin, batch), losses(session, batch))
    losses(twin, batch).sum().backward()
    assert not session.grad.any()
    assert twin.grad.any()


def test_each_replica_has_its_part_of_the_cores(session: Session, rows: list[TokenRow]) -> None:
    """Whatever was set elsewhere before a thread's first product: else the order of sums, and the bits, are those of a race."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with Replicas([session, replicate(session)]) as replicas:
            batches = split(rows, 1024, 2)
            assert replicas.run(batches, lambda _, __: torch.get_num_threads(), train=False) == [2, 2]
            assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_each_replica_stops(session: Session, rows: list[TokenRow]) -> None:
    session.stop = threading.Event()
    with Replicas([session, replicate(session)]) as replicas:
        session.stop.set()
        with pytest.raises(kernels.Stopped):
            replicas.gradient(split(rows, 1024, 2), 1.0)


def test_dropout_and_full_fine_tuning_are_computed_alone() -> None:
    assert wanted(replace(RECIPE, dropout=0.1)) == 1
    assert wanted(replace(RECIPE, method="full")) == 1
    assert wanted(RECIPE) == min(2, torch.get_num_threads())
