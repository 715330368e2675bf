"""The training loop of every method: token-weighted steps, early stopping, and checkpoints that resume bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import decode, digest, encode
from rung.core.errors import FitError
from rung.core.files import atomic_write, write_file
from rung.core.program import file_hash
from rung.core.types import Progress, Usage
from rung.tuning.batches import Batch, Row, shuffle, split
from rung.tuning.recipe import Recipe, rate_at
from rung.tuning.session import Session, losses
from rung.tuning.weights import Base

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Mark:
    """A dev check: mean loss a trained token after ``step`` optimizer steps."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training did. ``losses`` has the mean loss a trained token of every step; ``tokens`` counts the rows' tokens
    as often as they were trained; ``computed`` is how many of them were computed (a shared prefix is, once)."""

    step: int = 0
    total: int = 0
    losses: tuple[float, ...] = ()
    checks: tuple[Mark, ...] = ()
    best: Mark | None = None
    tokens: int = 0
    computed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    stopped: str = ""
    resumed: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(calls=self.step, prompt_tokens=self.tokens, seconds=self.seconds, cpu_seconds=self.cpu_seconds)


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together (torchrun): each computes its share of a step's micro-batches, gradients are summed.
    Their number changes the order of sums, not the result."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> World:
        """As torch.distributed says, when it has been started."""
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def share(self, batches: Sequence[Batch]) -> Sequence[Batch]:
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


def dev_loss(session: Session, batches: Sequence[Batch], world: World = World()) -> float:
    """Mean loss a trained token, without gradients and dropout."""
    import torch

    total, count = 0.0, 0
    session.model.eval()
    with torch.no_grad():
        for batch in world.share(batches):
            total += float(losses(session, batch).sum())
            count += len(batch.targets)
    return world.add(total) / max(1.0, world.add(count))


def identity(base: Base, rows: Sequence[Row], dev: Sequence[Row], recipe: Recipe) -> str:
    """Content key of a training: base, rows in order, and recipe (``tokens`` too: it decides the order of sums)."""
    # asdict, not the codec: that leaves out what is at its default, and a default may change.
    texts = [[row.ids, [place for place, on in enumerate(row.trained) if on]] for row in (*rows, *dev)]
    return digest([base.key, len(rows), texts, asdict(recipe)])


def train(
    session: Session,
    base: Base,
    rows: Sequence[Row],
    dev: Sequence[Row],
    recipe: Recipe,
    folder: Path,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    record: Callable[[Trained, float], None] = lambda _state, _rate: None,
    stop: threading.Event | None = None,
    every: float = 20.0,
    saves: int = 0,
) -> Trained:
    """Train the session on ``rows``; afterwards it holds the best step by loss on ``dev`` (the last, without dev).

    A step is ``recipe.batch`` rows, its loss the mean over all their trained tokens however they are cut into
    micro-batches. ``folder`` keeps a checkpoint (at most ``every`` seconds old, longer where writing takes long, and one at each
    dev check and every ``saves`` steps): the same call goes on from it after any kind of death, to the same losses bit for bit on the same machine and
    thread count. A loss that is not finite stops with the last good state kept. ``stop`` ends it after the step in progress,
    resumable. ``record`` gets the state after every step and the learning rate it used. Under torchrun every process calls
    this alike; the first one writes.

    Raises FitError for no rows, a diverged loss, too little memory, a checkpoint of another training, a full disk, or a stop.
    """
    import torch

    if not rows:
        raise FitError("there is no row to train on", remedy="give the task a train split")
    recipe.validate()
    world = World.here()
    steps, total = math.ceil(len(rows) / recipe.batch), recipe.total(len(rows))
    marks = {math.ceil(steps * (index + 1) / recipe.checks) for index in range(recipe.checks)}
    store = Checkpoints(folder, identity(base, rows, dev, recipe))
    rows, held = session.front(rows), split(session.front(dev), recipe.tokens)
    parameter = torch.nn.Parameter(session.vector)
    parameter.grad = session.grad
    optimizer = torch.optim.AdamW(
        [parameter], lr=recipe.peak, betas=(recipe.betas[0], recipe.betas[1]), weight_decay=recipe.decay, fused=True
    )
    optimizer.state[parameter] = {
        "step": torch.zeros((), dtype=torch.float32, device=session.device),
        "exp_avg": torch.zeros_like(session.vector),
        "exp_avg_sq": torch.zeros_like(session.vector),
    }
    tensors = {"vector": session.vector, **optimizer.state[parameter]}
    best = session.vector.clone() if held else session.vector
    if held:
        tensors["best"] = best
    state, note = store.restore(tensors)
    session.push()
    state = replace(state, total=total, resumed=state.step)
    losses_so_far, checks = list(state.losses), list(state.checks)
    began, cpu = time.perf_counter(), time.process_time()
    before, saved, cost = state, time.perf_counter(), 0.0

    def snapshot(step: int, stopped: str = "") -> Trained:
        return replace(
            state,
            step=step,
            losses=tuple(losses_so_far),
            checks=tuple(checks),
            seconds=before.seconds + time.perf_counter() - began,
            cpu_seconds=before.cpu_seconds + time.process_time() - cpu,
            peak_bytes=max(before.peak_bytes, peak_memory()),
            stopped=stopped,
        )

    def keep(state: Trained) -> None:
        nonlocal saved, cost
        start = time.perf_counter()
        if world.rank == 0:
            store.save(state, tensors)
        world.wait()
        saved = time.perf_counter()
        cost = saved - start

    def fail(what: str, value: float, step: int, names: Sequence[str]) -> FitError:
        session.grad.zero_()
        keep(snapshot(step))
        return FitError(
            f"the {what} became {value} at step {step + 1} on rows {_named(names)}; "
            f"the state after step {step} is kept in {folder}",
            remedy=f"lower the learning rate (it is {recipe.peak:g}), or look at those rows",
        )

    if state.stopped:
        session.set(best)
        return state
    session.grad.zero_()
    order: list[int] = []
    epoch_of_order = -1
    step = state.step
    while step < total:
        epoch, place = divmod(step, steps)
        if epoch != epoch_of_order:
            order, epoch_of_order = shuffle(len(rows), epoch, recipe.seed), epoch
        chosen = [rows[index] for index in order[place * recipe.batch : (place + 1) * recipe.batch]]
        batches = split(chosen, recipe.tokens)
        count = sum(len(batch.targets) for batch in batches)
        loss, bad = 0.0, [row.id for row in chosen]
        session.model.train()
        try:
            with torch.random.fork_rng(devices=[]):
                # Dropout is a function of the step (and process): nothing to save.
                torch.manual_seed(_mix(recipe.seed, step, world.rank))
                for batch in world.share(batches):
                    part = losses(session, batch).sum() / count
                    value = float(part.detach())
                    loss += value
                    if not math.isfinite(value):
                        bad = list(batch.rows)
                        break
                    part.backward()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not any(word in str(error) for word in SHORT_OF_MEMORY):
                raise
            session.grad.zero_()
            raise FitError(
                f"out of memory at step {step + 1} on rows {_named(bad)} (longest {max(map(len, chosen)):,} tokens)",
                remedy=f"lower tokens (they are {recipe.tokens}), set checkpointing: true, leave out the longest rows, or take "
                "method: qlora",
            ) from None
        loss = world.add(loss)
        if not math.isfinite(loss):
            raise fail("loss", loss, step, bad)
        world.sum(session.grad)
        norm = float(torch.linalg.vector_norm(session.grad))
        if not math.isfinite(norm):
            raise fail("gradient", norm, step, bad)
        if norm > recipe.clip:
            session.grad.mul_(recipe.clip / norm)
        rate = rate_at(recipe, step, total)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        session.push()
        session.grad.zero_()
        step += 1
        losses_so_far.append(loss)
        virtual = session.virtual * len(chosen)
        state = replace(
            state,
            tokens=state.tokens + sum(batch.tokens for batch in batches) - virtual,
            computed=state.computed + sum(len(batch.ids) for batch in batches),
        )
        ended = ""
        due = step == total or (step % recipe.interval == 0 if recipe.interval else place + 1 in marks)
        if due and held:
            mark = Mark(step, dev_loss(session, held, world))
            checks.append(mark)
            if state.best is None or mark.loss < state.best.loss:
                best.copy_(session.vector)
                state = replace(state, best=mark)
            since = sum(1 for check in checks if check.step > (state.best or mark).step)
            if recipe.patience and since >= recipe.patience:
                ended = f"dev loss has not fallen for {since} checks"
        if step == total and not ended:
            ended = "all epochs done"
        now = snapshot(step, ended)
        record(now, rate)
        progress(_progress(now, before, note))
        halt = stop is not None and stop.is_set()
        late = time.perf_counter() - saved > max(every, 20 * cost) or (saves and step % saves == 0)
        if ended or halt or late or (due and held):
            keep(now)
        if ended:
            session.set(best)
            return now
        if halt:
            raise FitError(f"training was stopped at step {step} of {total}", remedy="run the same again to go on")
    raise AssertionError("unreachable: the last step ends the training")


SHORT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "Failed to allocate")
"""How torch, OpenVINO and the C++ library say it."""


def _mix(seed: int, step: int, rank: int) -> int:
    key = f"{seed}:{step}" + (f":{rank}" if rank else "")
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big")


def _named(rows: Sequence[str]) -> str:
    return ", ".join(rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")


def _progress(now: Trained, before: Trained, note: str) -> Progress:
    spent = now.seconds - before.seconds
    speed = (now.tokens - before.tokens) / max(spent, 1e-9)
    left = spent / max(1, now.step - before.step) * (now.total - now.step)
    said = f"loss {now.losses[-1]:.3f}"
    if now.checks:
        said += f", dev {now.checks[-1].loss:.3f}"
    said += f", {speed:,.0f} tokens/s, {left:.0f} s left"
    return Progress("train", now.step, now.total, f"{said}; {note}" if note else said, now.usage)


def peak_memory() -> int:
    """Peak resident bytes of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Checkpoints:
    """Two last states of a training in a folder, each one file (safetensors) named in ``checkpoint.json`` with its SHA-256.

    Files are written aside, flushed to disk and renamed: a reader sees a whole old state or a whole new one.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: Trained, tensors: dict[str, torch.Tensor]) -> None:
        """Write a state. Raises FitError when the disk refuses; the one before stays whole."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        name = f"step-{state.step:06d}.safetensors"
        known = [entry for entry in self._entries() if entry["file"] != name][:1]
        try:
            # Straight to the disk: a full fine-tuning's state is gigabytes.
            with atomic_write(self._folder / name) as part:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, part)
                hashed = file_hash(part)
            entry = {"file": name, "sha256": hashed, "state": encode(state)}
            document = {"key": self._key, "checkpoints": [entry, *known]}
            write_file(self._folder / "checkpoint.json", json.dumps(document).encode())
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
            raise FitError(
                f"cannot write a checkpoint to {self._folder}: {getattr(error, 'strerror', None) or error}; the one before it is intact",
                remedy="free some disk space and run the same again to go on",
            ) from error
        keep = {name, *(entry["file"] for entry in known)}
        for path in self._folder.glob("step-*.safetensors"):
            if path.name not in keep:
                path.unlink(missing_ok=True)

    def restore(self, tensors: dict[str, torch.Tensor]) -> tuple[Trained, str]:
        """Fill ``tensors`` from the newest whole state. Returns it and, when something was damaged, a note that says so."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        note, entries = "", self._entries()
        if not entries and (self._folder / "checkpoint.json").exists():
            note = "checkpoint.json is damaged, began anew"
        for entry in entries:
            try:
                if file_hash(self._folder / entry["file"]) != entry["sha256"]:
                    raise ValueError("its checksum does not match")
                loaded = load_file(self._folder / entry["file"])
                for name, tensor in tensors.items():
                    if loaded[name].shape != tensor.shape:
                        raise ValueError(f"{name} has another shape")
                for name, tensor in tensors.items():
                    tensor.copy_(loaded[name])
                return decode(Trained, entry["state"]), note
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                note = f"checkpoint {entry['file']} is damaged ({error}), went back further"
        return Trained(), note

    def _entries(self) -> list[dict[str, Any]]:
        path = self._folder / "checkpoint.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            key, entries = document["key"], list(document["checkpoints"])
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if key != self._key:
            raise FitError(
                f"{self._folder} holds a checkpoint of another training (other rows, recipe or base)",
                remedy=f"name a new folder, or delete {self._folder}",
            )
        return entries
