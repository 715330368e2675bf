"""The one loop of every method that learns from what it did: play, credit, step, write it down."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rung.alignment.methods.method import Actions, AlignMethod, k3, to_go
from rung.alignment.methods.trpo import Searched, Trpo, search
from rung.alignment.policies.critic import Critic
from rung.alignment.policies.language import LanguagePolicy
from rung.alignment.policies.policy import Batch, LearnablePolicy, rollouts
from rung.alignment.runs.course import UNWATCHED, Course, Spectator, Update
from rung.alignment.runs.player import Player
from rung.core.errors import FitError, InputError
from rung.core.types import Progress
from rung.tuning.trainer.checkpoints import Checkpoints
from rung.tuning.trainer.optimizer import adamw

if TYPE_CHECKING:
    import torch

MEMORY = 0.7
"""How much of the running mean return is kept from one batch to the next."""
IDLE = 5
"""Updates in a row from which nothing could be learnt that end a run."""
REMEDY = "raise temperature, choose a reward that gives partial credit, or fine-tune on some demonstrations first (rung tune)"


class Auditor(Protocol):
    """Looks at what is learnt while it is; a sentence means: stop."""

    def begin(self, before: Sequence[float], seen: Sequence[Update]) -> None: ...
    def look(self, update: Update, batch: Batch, gold: Sequence[float]) -> str: ...
    def well(self, gold: Sequence[float]) -> bool:
        """Whether an alarm may go back to what gold was measured of."""
        ...


@dataclass(frozen=True, slots=True)
class Pacing:
    """How long and how fast. ``budget`` is the mean KL to the reference at which a run
    stops and goes back (0: never); gold is measured every
    ``looks`` updates (0: before and after alone); ``norm`` bounds the gradient."""

    steps: int = 20
    rate: float = 1e-3
    norm: float = 1.0
    budget: float = 4.0
    looks: int = 5

    def validate(self) -> None:
        """Raises InputError for what cannot be."""
        if self.steps < 1 or not self.rate > 0 or not self.norm > 0 or self.budget < 0 or self.looks < 0:
            raise InputError(
                f"got steps {self.steps}, rate {self.rate}, norm {self.norm}, budget {self.budget}, looks {self.looks}",
                remedy="expected steps of at least 1, rate and norm above 0, budget and looks of at least 0",
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """A batch under the policy that played it: flat tensors over its actions."""

    states: torch.Tensor
    old: torch.Tensor
    entropy: torch.Tensor
    reference: torch.Tensor
    kl: torch.Tensor


class Learner:
    """One run in progress. Afterwards the policy holds the last update, or the last good one where it was stopped."""

    def __init__(
        self, policy: LearnablePolicy, player: Player, method: AlignMethod, pace: Pacing, auditor: Auditor | None = None
    ) -> None:

        self.policy, self.player, self.method, self.pace, self.auditor = policy, player, method, pace, auditor
        self.reference = policy.vector.clone()
        self.optimizer, kept = adamw(policy.vector, policy.grad, pace.rate, betas=(0.9, 0.99), fused=False)
        self.good, self.ahead = policy.vector.clone(), policy.vector.clone()
        self.tensors = {"vector": policy.vector, "good": self.good, "ahead": self.ahead, **kept}
        self.critic = Critic(policy.width) if method.critic else None
        if self.critic is not None:
            self.tensors |= {"gram": self.critic.gram, "cross": self.critic.cross}

    def run(self, store: Checkpoints[Course], watch: Spectator = UNWATCHED) -> Course:
        """Go on from the last whole update. Raises FitError when told to stop, for rewards that are no numbers, and
        where nothing can be learnt."""
        with asyncio.Runner() as runner:
            return runner.run(self._run(store, watch))

    async def _run(self, store: Checkpoints[Course], watch: Spectator) -> Course:
        state, note = store.restore(self.tensors)
        self.policy.set(self.policy.vector.clone())
        longer = not state.flagged and state.step == state.total < self.pace.steps  # it was done, and more is asked for
        stopped = "" if longer else state.stopped
        state = replace(state, total=self.pace.steps, resumed=state.step, stopped=stopped)
        if not state.step:
            state = replace(state, before=tuple(await self.player.gold()))
        if self.auditor is not None:
            self.auditor.begin(state.before, state.updates)
        while not state.stopped:
            watch.check(state)
            state = await self._advance(state)
            store.save(state, self.tensors)
            update = state.updates[-1]
            watch.record(update)
            said = f"reward {update.reward:.3f}, KL {update.kl:.4f}, entropy {update.entropy:.2f}, {update.length:.0f} tokens"
            said += "" if update.gold is None else f", gold {update.gold:.3f}"
            watch.progress(Progress("align", state.step, state.total, f"{said}; {note}" if note else said))
        if state.flagged:
            self.policy.set(self.good)
        return state

    async def _advance(self, state: Course) -> Course:
        began, cpu = time.perf_counter(), time.process_time()
        batch = await self.player.play(state.step)
        update, state = self._update(batch, state)
        if state.ahead == state.step - 1 and not self._wrong(update):  # how far that one is was measured only now
            self.good.copy_(self.ahead)
            state = replace(state, good=state.ahead)
        exhausted = self._exhausted(update, state)
        due = state.step == state.total or exhausted or (self.pace.looks and state.step % self.pace.looks == 0)
        gold = await self.player.gold() if due else []
        update = replace(
            update,
            gold=float(np.mean(gold)) if gold else None,
            seconds=time.perf_counter() - began,
            cpu_seconds=time.process_time() - cpu,
        )
        state = replace(state, updates=(*state.updates, update))
        why = self._wrong(update) or (self.auditor.look(update, batch, gold) if self.auditor else "")
        if why:
            return replace(state, stopped=f"{why}; went back to update {state.good}", flagged=True)
        if not self.pace.looks or (due and (self.auditor is None or self.auditor.well(gold))):
            self.ahead.copy_(self.policy.vector)  # where a later alarm may go back to
            state = replace(state, ahead=state.step)
        done = "all updates done" if state.step >= state.total else ""
        if done and state.idle == state.step:
            done += (
                f", and none could teach anything: all answers to a prompt were rewarded alike ({update.reward:.3f})"
            )
        return replace(state, stopped=exhausted or done)

    def _exhausted(self, update: Update, state: Course) -> str:
        """Why nothing more can be learnt; empty: something can. Raises FitError where nothing ever could."""
        if state.idle < IDLE:
            return ""
        if state.idle == state.step:
            raise FitError(
                f"{state.idle} updates in a row could teach nothing: all answers to a prompt were rewarded alike "
                f"(the mean reward is {update.reward:.3f})",
                remedy=REMEDY,
                code="no-spread",
            )
        return f"nothing is left to learn: all answers to a prompt were rewarded alike for {IDLE} updates"

    def _wrong(self, update: Update) -> str:
        if self.pace.budget and not update.kl <= self.pace.budget:
            return f"the policy is {update.kl:.4f} nats an action from its reference, and its budget is {self.pace.budget:g}"
        return ""

    def _update(self, batch: Batch, state: Course) -> tuple[Update, Course]:
        """One batch learnt from, and its row."""
        import torch

        seen = self._see(batch)
        features = self.policy.features(seen.states, batch)
        values = torch.zeros(len(seen.old), dtype=torch.float64)
        if self.critic is not None:
            values = self.critic.value(features)
        apart = (seen.old - seen.reference).double()
        given = rollouts(batch, apart.numpy(), values.numpy(), state.baseline)
        advantage = self.method.credit(given)
        weight = self.method.weigh(given)
        returns = to_go(given.rewards, given.lengths)
        update = self._describe(batch, seen, state.step + 1)
        if self.critic is not None:
            update = replace(update, explained=_explained(returns, values.numpy()))
            self.critic.learn(features, torch.from_numpy(returns))
        # Nothing differs among the answers to any prompt: what is left in an advantage is rounding, or a baseline's own
        # drift.
        idle = 0 if update.flat < 1 or not self.method.grouped else state.idle + 1
        if not idle:
            kind = seen.old.dtype
            parts = (torch.from_numpy(advantage).to(kind), torch.from_numpy(weight).to(kind))
            update = (
                self._trusted(batch, seen, parts, update)
                if isinstance(self.method, Trpo)
                else self._descend(batch, seen, parts, update)
            )
        mean = float(given.totals().mean())
        baseline = mean if state.baseline is None else MEMORY * state.baseline + (1 - MEMORY) * mean
        return update, replace(state, step=state.step + 1, baseline=baseline, idle=idle)

    def _see(self, batch: Batch) -> _Seen:
        policy = self.policy
        states = policy.states(batch)
        old, entropy = policy.judge(states, batch)
        now = policy.vector.clone()
        policy.set(self.reference)
        try:
            beside = policy.states(batch)
            reference, _ = policy.judge(beside, batch)
        finally:
            policy.set(now)
        return _Seen(states, old, entropy, reference, policy.apart(states, beside))

    def _describe(self, batch: Batch, seen: _Seen, step: int) -> Update:
        totals = np.array([one.total for one in batch])
        groups = np.array([one.group for one in batch])
        alike = [bool(np.ptp(totals[groups == group]) < 1e-9) for group in np.unique(groups)]
        names = list(batch[0].parts)
        mismatch = self.policy.mismatch(seen.states, batch) if isinstance(self.policy, LanguagePolicy) else None
        return Update(
            step=step,
            reward=float(totals.mean()),
            parts={name: float(np.mean([one.parts[name] for one in batch])) for name in names},
            kl=float(seen.kl.mean()),
            kl3=float(k3(seen.old, seen.reference).mean()),
            entropy=float(seen.entropy.mean()),
            length=float(np.mean([len(one.actions) for one in batch])),
            cut=float(np.mean([one.cut for one in batch])),
            flat=float(np.mean(alike)),
            mismatch=mismatch,
            tokens=sum(len(one.actions) for one in batch),
        )

    def _descend(self, batch: Batch, seen: _Seen, parts: tuple[torch.Tensor, torch.Tensor], update: Update) -> Update:
        """``passes`` optimizer steps on the batch."""
        import torch

        policy, share = self.policy, 0.0
        for turn in range(self.method.passes):
            logp = seen.old if turn == 0 else policy.judge(policy.states(batch), batch)[0]
            slope, share = slopes(self.method, logp, seen.old, seen.reference, parts)
            policy.grad.zero_()
            policy.push(batch, -slope)
            policy.grad.neg_()
            norm = float(torch.linalg.vector_norm(policy.grad))
            if not math.isfinite(norm):
                policy.grad.zero_()
                return replace(update, norm=norm, note="the gradient was not finite: no step was taken")
            if norm > self.pace.norm:
                policy.grad.mul_(self.pace.norm / norm)
            self.optimizer.step()
            policy.set(policy.vector.clone())
            policy.grad.zero_()
            update = replace(update, norm=norm)
        return replace(update, clipped=share)

    def _trusted(self, batch: Batch, seen: _Seen, parts: tuple[torch.Tensor, torch.Tensor], update: Update) -> Update:
        """One step of the natural gradient whose measured distance is within the bound, or none."""
        import torch

        policy, method = self.policy, self.method
        assert isinstance(method, Trpo)
        advantage, weight = parts
        policy.grad.zero_()
        policy.push(batch, weight * advantage)
        gradient = policy.grad.clone()
        norm = float(torch.linalg.vector_norm(gradient))
        if not math.isfinite(norm) or norm == 0:
            return replace(update, norm=norm, moved=0.0, fraction=0.0, note="there was no gradient to follow")
        step = method.direction(policy.scores(batch), gradient, len(seen.old))
        start = policy.vector.clone()
        at = float((weight * advantage).sum())

        def measure(fraction: float) -> tuple[float, float]:
            policy.set(start + fraction * step)
            states = policy.states(batch)
            logp, _ = policy.judge(states, batch)
            gain = -float(method.loss(Actions(logp, seen.old, seen.reference, advantage, weight))) - at
            return float(policy.apart(seen.states, states).mean()), gain

        found: Searched = search(measure, method.bound)
        policy.set(start + found.fraction * step)
        if found.kl > method.bound:  # never: the search has measured it
            raise FitError(f"a step of {found.kl} nats was taken beyond the bound of {method.bound}", code="bound")
        note = "" if found.fraction else "no fraction of the step stayed within the bound and gained: none was taken"
        return replace(update, norm=norm, moved=found.kl, fraction=found.fraction, note=note)


def slopes(
    method: AlignMethod,
    logp: torch.Tensor,
    old: torch.Tensor,
    reference: torch.Tensor,
    parts: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, float]:
    """The derivative of a method's loss by each action's log-probability, which is all that a policy needs to know of
    it; and the share of actions whose derivative the clipping has cut to nothing."""
    import torch

    advantage, weight = parts
    leaf = logp.detach().clone().requires_grad_()
    loss = method.loss(Actions(leaf, old, reference, advantage, weight))
    (slope,) = torch.autograd.grad(loss, leaf)
    moved = (advantage != 0) & (weight != 0)
    cut = float(((slope == 0) & moved).sum() / moved.sum().clamp(min=1))
    return slope, cut


def _explained(
    returns: np.ndarray[tuple[int], np.dtype[np.float64]], values: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> float | None:
    spread = float(returns.var())
    return None if spread == 0 or not values.any() else 1.0 - float((returns - values).var()) / spread
