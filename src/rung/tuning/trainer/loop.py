"""The training loop of every method: token-weighted steps, early stopping, and checkpoints that resume bit for bit."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.codec import digest
from rung.core.errors import FitError
from rung.core.types import Progress
from rung.tuning.batches import MicroBatch, TokenRow, shuffle, split
from rung.tuning.compute.precision import settle
from rung.tuning.compute.session import Session
from rung.tuning.trainer.checkpoints import Checkpoints
from rung.tuning.trainer.optimizer import adamw
from rung.tuning.trainer.recipe import Recipe, rate_at
from rung.tuning.trainer.state import UNWATCHED, Clock, Mark, Trained, Watch, short_of_memory
from rung.tuning.weights import Base

if TYPE_CHECKING:
    import torch

    from rung.tuning.compute.replicas import Replicas

QUICK = 50_000_000
"""Trained numbers whose state is written in well under a second or two: a stop in mid-step waits for that, not for
more."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together (torchrun): each computes its share of a step's micro-batches, gradients are
    summed. Their number changes the order of sums, not the result."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> World:
        """As torch.distributed says, when it has been started."""
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, batches: Sequence[MicroBatch]) -> Sequence[MicroBatch]:
        return batches if self.size == 1 else batches[self.rank :: self.size]

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            import torch.distributed as distributed

            distributed.all_reduce(tensor)
        return tensor

    def add(self, value: float) -> float:
        import torch

        return value if self.size == 1 else float(self.sum(torch.tensor(value, dtype=torch.float64)))

    def wait(self) -> None:
        if self.size > 1:
            import torch.distributed as distributed

            distributed.barrier()


def dev_loss(replicas: Replicas, batches: Sequence[MicroBatch], world: World = World()) -> float:
    """Mean loss a trained token, without gradients and dropout."""
    mine = world.share(batches)
    total = world.add(replicas.loss(mine))
    return total / max(1.0, world.add(sum(len(batch.targets) for batch in mine)))


def identity(base: Base, rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe) -> str:
    """Content key of a training: base, rows in order, and recipe as it is settled
    on this machine (``tokens`` too: it decides the order of sums)."""
    # asdict, not the codec: that leaves out what is at its default, and a default may change.
    texts = [[row.ids, [place for place, on in enumerate(row.trained) if on]] for row in (*rows, *dev)]
    return digest([base.key, len(rows), texts, asdict(settle(recipe))])


def train(
    session: Session,
    rows: Sequence[TokenRow],
    dev: Sequence[TokenRow],
    recipe: Recipe,
    folder: Path,
    watch: Watch = UNWATCHED,
) -> Trained:
    """Train the session on ``rows``; afterwards it holds the best step by loss on ``dev`` (the last, without dev).

    A step is ``recipe.batch`` rows, its loss the mean over all their trained tokens however they are cut into
    micro-batches. ``folder`` keeps checkpoints, also one at each dev check: the same call goes on from the last after
    any kind of death, to the same losses bit for bit on the same machine and thread count. A loss that is not finite
    stops with the last good state kept. Under torchrun every process calls this alike; the first one writes.

    Raises FitError for no rows, a diverged loss, too little memory, a checkpoint of another training, a full disk, or a
    stop.
    """
    if not rows:
        raise FitError("there is no row to train on", remedy="give the task a train split")
    recipe.validate()
    session.stop = watch.stop
    key = identity(session.base, rows, dev, recipe)
    return Trainer(session, rows, dev, settle(recipe), watch).run(Checkpoints(folder, key, Trained))


class Trainer:
    """One training in progress."""

    def __init__(
        self, session: Session, rows: Sequence[TokenRow], dev: Sequence[TokenRow], recipe: Recipe, watch: Watch
    ) -> None:

        from rung.tuning.compute.replicas import Replicas

        self.session, self.recipe, self.watch = session, recipe, watch
        self.world, self.replicas = World.here(), Replicas.of(session, recipe)
        self.rows, self.dev = session.front(rows), session.front(dev)
        self.held = self._split(self.dev)
        betas = (recipe.betas[0], recipe.betas[1])
        self.optimizer, kept = adamw(session.vector, session.grad, recipe.peak, betas=betas, decay=recipe.decay)
        self.best = session.vector.clone() if self.held else session.vector
        self.tensors = {"vector": session.vector, **kept}
        if self.held:
            self.tensors["best"] = self.best
        self.steps = math.ceil(len(rows) / recipe.batch)
        self.total = recipe.total(len(rows))
        self.marks = {math.ceil(self.steps * (index + 1) / recipe.checks) for index in range(recipe.checks)}
        self._order: tuple[int, list[int]] = (-1, [])

    def run(self, store: Checkpoints[Trained]) -> Trained:
        from rung.tuning.compute import kernels

        session = self.session
        state, note = store.restore(self.tensors)
        session.push()
        state = replace(state, total=self.total, resumed=state.step, precision=self.recipe.precision)
        if state.stopped:
            session.set(self.best)
            return state
        self.clock, self.store = Clock(state), store
        if self.watch.finish:
            return self._finish(state)
        self._saved, self._cost = time.perf_counter(), 0.0
        try:
            session.keep([*self.rows, *self.dev], self.recipe.tokens, self._kept)
            session.grad.zero_()
            ended = False
            with self.replicas:
                while not ended:
                    state = self._advance(state, note)
                    ended = bool(state.stopped)
        except kernels.Stopped:
            raise self._halted(state) from None
        session.set(self.best)
        return state

    def _finish(self, state: Trained) -> Trained:
        """The training ends where it was stopped; its best step by dev is kept, as at any end."""
        if not state.step:
            raise FitError(
                f"there is no checkpoint in {self.store.folder} to finish with",
                remedy="train first: the same command without --finish",
            )
        if self.held and (not state.checks or state.checks[-1].step != state.step):
            self.session.keep(self.dev, self.recipe.tokens, self._kept)
            with self.replicas:
                state = self._look(state)
        state = self.clock.stamp(replace(state, stopped=f"ended by hand at step {state.step} of {self.total}"))
        self._keep(state)
        self.session.set(self.best)
        return state

    def _advance(self, state: Trained, note: str) -> Trained:
        """One step with all that follows it. Raises FitError or ``kernels.Stopped`` when it is to stop."""
        from rung.tuning.compute import kernels

        watch = self.watch
        try:
            after, rate = self._step(state)
        except kernels.Stopped:  # the step has changed nothing yet
            self.session.grad.zero_()
            if self.session.vector.numel() <= QUICK:
                self._keep(self.clock.stamp(state))
            raise
        after = self._check(after)
        watch.record(after, rate)
        watch.progress(self.clock.progress(after, note))
        late = time.perf_counter() - self._saved > max(watch.every, 20 * self._cost)
        asked = watch.saves and after.step % watch.saves == 0
        looked = bool(after.checks) and after.checks[-1].step == after.step
        if after.stopped or watch.stopped or late or asked or looked:
            self._keep(after)
        if watch.stopped and not after.stopped:
            raise self._halted(after)
        return after

    def _kept(self, count: int) -> None:
        total = len({row.ids for row in (*self.rows, *self.dev)})
        self.watch.progress(Progress("frozen layers", count, total, f"computed once for each of {total} rows"))

    def _split(self, rows: Sequence[TokenRow]) -> list[MicroBatch]:
        """Micro-batches, at least one for each replica of each process."""
        return split(rows, self.recipe.tokens, self.world.size * self.replicas.count)

    def _chosen(self, step: int) -> list[TokenRow]:
        """The rows of an optimizer step."""
        epoch, place = divmod(step, self.steps)
        if self._order[0] != epoch:
            self._order = (epoch, shuffle(len(self.rows), epoch, self.recipe.seed))
        batch = self.recipe.batch
        return [self.rows[index] for index in self._order[1][place * batch : (place + 1) * batch]]

    def _step(self, state: Trained) -> tuple[Trained, float]:
        """One optimizer step; returns the state behind it and the learning rate."""
        import torch

        session, recipe, step = self.session, self.recipe, state.step
        chosen = self._chosen(step)
        batches = self._split(chosen)
        loss, bad = self._gradient(step, chosen, batches)
        if not math.isfinite(loss):
            raise self._diverged("loss", loss, state, bad)
        norm = float(torch.linalg.vector_norm(session.grad))
        if not math.isfinite(norm):
            raise self._diverged("gradient", norm, state, bad)
        if norm > recipe.clip:
            session.grad.mul_(recipe.clip / norm)
        rate = rate_at(recipe, step, self.total)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        session.push()
        session.grad.zero_()
        state = replace(
            state,
            step=step + 1,
            losses=(*state.losses, loss),
            tokens=state.tokens + sum(batch.tokens for batch in batches) - session.virtual * len(chosen),
            computed=state.computed + sum(len(batch.ids) for batch in batches),
        )
        return self.clock.stamp(state), rate

    def _gradient(
        self, step: int, chosen: Sequence[TokenRow], batches: Sequence[MicroBatch]
    ) -> tuple[float, list[str]]:
        """Sum the gradient of a step; its loss, and the rows to name when that is not finite."""
        import torch

        count = sum(len(batch.targets) for batch in batches)
        try:
            with torch.random.fork_rng(devices=[]):
                # Dropout is a function of the step (and process): nothing to save.
                torch.manual_seed(_mix(self.recipe.seed, step, self.world.rank))
                loss, bad = self.replicas.gradient(self.world.share(batches), 1 / count)
        except (RuntimeError, MemoryError) as error:
            if not short_of_memory(error):
                raise
            self.session.grad.zero_()
            longest, names = max(map(len, chosen)), [row.id for row in chosen]
            raise FitError(
                f"out of memory at step {step + 1} on rows {_named(names)} (longest {longest:,} tokens)",
                remedy=f"lower tokens (they are {self.recipe.tokens}), set checkpointing: true, leave out the longest rows, or "
                "take method: qlora",
            ) from None
        self.world.sum(self.session.grad)
        return self.world.add(loss), bad

    def _check(self, state: Trained) -> Trained:
        """Look at dev where it is time to, and say whether the training has ended."""
        recipe, step = self.recipe, state.step
        due = step % recipe.interval == 0 if recipe.interval else (step - 1) % self.steps + 1 in self.marks
        ended = ""
        if (due or step == self.total) and self.held:
            state = self._look(state)
            since = sum(1 for check in state.checks if state.best and check.step > state.best.step)
            if recipe.patience and since >= recipe.patience:
                ended = f"dev loss has not fallen for {since} checks"
        if step == self.total and not ended:
            ended = "all epochs done"
        return self.clock.stamp(replace(state, stopped=ended))

    def _look(self, state: Trained) -> Trained:
        """Measure dev, and keep the step where it is the best so far."""
        mark = Mark(state.step, dev_loss(self.replicas, self.held, self.world))
        state = replace(state, checks=(*state.checks, mark))
        if state.best is None or mark.loss < state.best.loss:
            self.best.copy_(self.session.vector)
            state = replace(state, best=mark)
        return state

    def _keep(self, state: Trained) -> None:
        began = time.perf_counter()
        if self.world.rank == 0:
            self.store.save(state, self.tensors)
        self.world.wait()
        self._saved = time.perf_counter()
        self._cost = self._saved - began

    def _halted(self, state: Trained) -> FitError:
        return FitError(
            f"training was stopped at step {state.step} of {self.total}",
            remedy="run the same command again to go on",
            code="stopped",
        )

    def _diverged(self, what: str, value: float, state: Trained, names: Sequence[str]) -> FitError:
        self.session.grad.zero_()
        self._keep(self.clock.stamp(state))
        return FitError(
            f"the {what} became {value} at step {state.step + 1} on rows {_named(names)}; "
            f"the state after step {state.step} is kept in {self.store.folder}",
            remedy=f"lower the learning rate (it is {self.recipe.peak:g}), or look at those rows",
        )


def _mix(seed: int, step: int, rank: int) -> int:
    key = f"{seed}:{step}" + (f":{rank}" if rank else "")
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big")


def _named(rows: Sequence[str]) -> str:
    return ", ".join(rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
