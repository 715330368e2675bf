"""The language policy on a tiny model: places of actions, gradients, distances, and the engine that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import torch

from rung.alignment.policies.language import LanguagePolicy
from rung.alignment.policies.policy import Trajectory
from rung.alignment.runs.player import Sampler
from rung.core.settings import Settings
from rung.core.types import Message, Request, Sampling
from rung.tuning.compute.replicas import Replicas, replicate
from rung.tuning.compute.session import open_session
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import Base, unpack
from tests.tuning.conftest import write_gguf

RECIPE = Recipe(rank=4, alpha=8, precision="fp32", tokens=64, upper=0.5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("aligned")
    return unpack(write_gguf(folder / "tiny.gguf"), folder / "cache")


@pytest.fixture
def policy(tiny: Base) -> Iterator[LanguagePolicy]:
    session = open_session(tiny, RECIPE)
    with Replicas([session, replicate(session)]) as replicas:
        made = LanguagePolicy(replicas, RECIPE, 0.7)
        made.set(torch.randn(made.vector.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
        yield made


BATCH = [
    Trajectory(0, (1, 40, 41, 42), (50, 51, 52, 53, 2), (0.0,) * 5),
    Trajectory(0, (1, 40, 41, 42), (60, 2), (0.0,) * 2),
    Trajectory(1, (1, 70, 71), (80, 81, 82), (0.0,) * 3),
    Trajectory(1, (1, 70, 71), (90, 2), (0.0,) * 2),
]


def test_an_action_has_its_own_probability_whatever_stands_beside_it(policy: LanguagePolicy) -> None:
    """Micro-batches sort rows by length: advantages must not follow another order than tokens."""
    together, entropy = policy.judge(policy.states(BATCH), BATCH)
    alone = torch.cat([policy.judge(policy.states([one]), [one])[0] for one in BATCH])
    assert torch.allclose(together, alone, atol=1e-5)
    assert bool((entropy > 0).all())


def test_turns_of_one_conversation_are_one_row_and_say_the_same(policy: LanguagePolicy) -> None:
    first = Trajectory(0, (1, 40, 41), (50, 51, 2), (0.0,) * 3)
    cut = Trajectory(1, (*first.context, *first.actions, 60, 61), (70, 71), (0.0,) * 2)
    last = Trajectory(2, (*cut.context, *cut.actions, 2, 62), (80, 2), (0.0,) * 2)
    other = Trajectory(0, (1, 40, 41), (50, 51), (0.0,) * 2)
    batch = [first, cut, last, other]
    assert sorted(len(row) for micro, _ in policy._split(batch, 2) for row in micro.members) == [5, 14]
    together, _ = policy.judge(policy.states(batch), batch)
    alone = torch.cat([policy.judge(policy.states([one]), [one])[0] for one in batch])
    assert torch.allclose(together, alone, atol=1e-5)
    policy.push(batch, torch.arange(1.0, 10.0))
    whole, at = policy.grad.clone(), 0
    policy.grad.zero_()
    for one in batch:
        policy.push([one], torch.arange(1.0, 10.0)[at : at + len(one.actions)])
        at += len(one.actions)
    assert torch.allclose(whole, policy.grad, atol=1e-4)
    assert torch.allclose(policy.scores(batch)[1], policy.scores([cut])[0], atol=1e-4)


def test_the_gradient_is_that_of_finite_differences(policy: LanguagePolicy) -> None:
    draw = torch.Generator().manual_seed(2)
    coefficients = torch.randn(12, generator=draw)
    policy.grad.zero_()
    policy.push(BATCH, coefficients)
    way = policy.grad / policy.grad.norm()
    start, size = policy.vector.clone(), 1e-2

    def value(sign: int) -> float:
        policy.set(start + sign * size * way)
        return float(policy.judge(policy.states(BATCH), BATCH)[0].double() @ coefficients.double())

    slope = (value(1) - value(-1)) / (2 * size)
    assert slope == pytest.approx(float(policy.grad.norm()), rel=2e-3)


def test_two_threads_compute_what_one_does(policy: LanguagePolicy, tiny: Base) -> None:
    """Each with a session of its own: what the frozen layers put out is kept there, in batches of another shape, and
    not every processor's products have the same bits in every shape."""
    coefficients = torch.randn(12, generator=torch.Generator().manual_seed(3))
    alone = LanguagePolicy(Replicas([open_session(tiny, RECIPE)]), RECIPE, 0.7)
    alone.set(policy.vector)
    found = []
    for one in (policy, alone, policy):
        one.grad.zero_()
        one.push(BATCH, coefficients)
        found.append((one.states(BATCH), one.grad.clone(), one.scores(BATCH)))
    for mine, theirs, again in zip(*found, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)
        assert torch.equal(mine, again)


def test_scores_add_up_to_the_gradient(policy: LanguagePolicy) -> None:
    each = policy.scores(BATCH)
    policy.push(BATCH, torch.ones(12))
    assert torch.allclose(each.sum(0), policy.grad, atol=1e-4)


def test_distance_is_zero_to_itself_and_the_whole_divergence_to_another(policy: LanguagePolicy) -> None:
    one = policy.states(BATCH)
    assert torch.allclose(policy.apart(one, one), torch.zeros(12), atol=1e-6)
    policy.set(policy.vector * 1.2)
    other = policy.states(BATCH)
    weight = policy.session.causal.get_output_embeddings().weight.detach()
    mine, theirs = (torch.log_softmax(states @ weight.t(), 1) for states in (one, other))
    assert torch.allclose(policy.apart(one, other), (mine.exp() * (mine - theirs)).sum(1), atol=1e-5)


def test_the_engine_follows_the_adapter_in_place(policy: LanguagePolicy, tiny: Base) -> None:
    pytest.importorskip("openvino_genai")
    requests = [
        Request((Message("user", text),), Sampling(1.0, max_tokens=6, seed=seed, logprobs=True))
        for seed, text in enumerate(("the sea", "a rose", "the sea"))
    ]

    async def work() -> None:
        sampler = Sampler(tiny, policy, Settings())
        try:
            said = []
            for factor in (1.0, -2.0, 1.0):
                policy.set(policy.vector * factor)
                replies = await sampler.ask(requests)
                batch = [
                    Trajectory(
                        at, sampler.model.tokens(request.messages), reply.ids, (0.0,), sampled=reply.logprobs or ()
                    )
                    for at, (request, reply) in enumerate(zip(requests, replies, strict=True))
                ]
                apart = policy.mismatch(policy.states(batch), batch)
                now = policy.vector.clone()
                policy.set(now * 0)
                stale = policy.mismatch(policy.states(batch), batch)
                policy.set(now)
                assert apart is not None
                assert stale is not None
                # What is left is the rounding of the engine's weights; the base without the adapter is far off.
                assert apart < stale / 20
                said.append([reply.ids for reply in replies])
            assert said[0] != said[1]
            assert said[1] == said[2]
        finally:
            await sampler.close()

    asyncio.run(work())
