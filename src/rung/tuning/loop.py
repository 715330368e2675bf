"""The training loop: LoRA over a frozen base, token-weighted steps, early stopping, and checkpoints that resume bit for bit."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rung.core.codec import decode, digest, encode
from rung.core.errors import FitError, InputError
from rung.core.extras import require
from rung.core.types import Progress, Usage
from rung.tuning.batches import Batch, Row, shuffle, split
from rung.tuning.weights import Base, load_torch, open_base, quiet

if TYPE_CHECKING:
    import torch

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to tune. ``batch`` rows make a step; ``tokens`` is how many are computed at once (memory, not result);
    ``warmup`` is a fraction of all steps; ``patience`` is how many dev checks without a new best end the training
    (0: never); ``checks`` is how many dev checks an epoch has; ``steps`` cuts the training short of its epochs (0: no cut); ``precision`` is that of the frozen base."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEAR
    rslora: bool = False
    dora: bool = False
    rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    epochs: int = 5
    steps: int = 0
    batch: int = 16
    tokens: int = 1024
    decay: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)
    clip: float = 1.0
    patience: int = 2
    checks: int = 1
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"

    def validate(self) -> None:
        """Raise InputError for a value that cannot train."""
        for name, low in (
            ("rank", 1),
            ("epochs", 1),
            ("batch", 1),
            ("tokens", 1),
            ("checks", 1),
            ("patience", 0),
            ("steps", 0),
        ):
            if getattr(self, name) < low:
                raise InputError(
                    f"{name} must be at least {low}, got {getattr(self, name)}", remedy=f"set {name}: {low}"
                )
        if not 0 <= self.warmup < 1 or not 0 <= self.dropout < 1 or self.rate <= 0 or self.clip <= 0:
            raise InputError(
                f"got warmup {self.warmup}, dropout {self.dropout}, rate {self.rate}, clip {self.clip}; "
                "expected warmup and dropout in [0, 1), rate and clip above 0",
                remedy="correct the recipe",
            )


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


@dataclass
class Session:
    """A base with a fresh adapter, laid out for training: all adapter weights are views of one float32 vector."""

    model: Any
    vector: torch.Tensor
    grad: torch.Tensor
    names: list[tuple[str, tuple[int, ...]]]
    device: Any = field(repr=False, default=None)


def open_session(base: Base, recipe: Recipe, *, device: str = "cpu") -> Session:
    """Load the base and put a LoRA adapter on it (peft; Hu et al. 2021, arXiv:2106.09685), seeded.

    Raises InputError naming the modules there are when none of ``recipe.targets`` is among them.
    """
    torch = load_torch()
    peft = require("peft", "tuning", "LoRA")
    from rung.tuning import kernels

    recipe.validate()
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    model = open_base(base, dtype).to(device)
    linear = {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    linear.discard("lm_head")
    if unknown := sorted(set(recipe.targets) - linear):
        raise InputError(
            f"the base has no module {', '.join(unknown)} to adapt",
            remedy=f"choose targets among: {', '.join(sorted(linear))}",
        )
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = peft.get_peft_model(model, lora_config(recipe))
    kernels.slim(model)
    parameters = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
    size = sum(part.numel() for _, part in parameters)
    vector, grad = torch.empty(size, device=device), torch.zeros(size, device=device)
    offset = 0
    for _, part in parameters:
        view = vector[offset : offset + part.numel()].view(part.shape)
        view.copy_(part.data)
        part.data = view
        part.grad = grad[offset : offset + part.numel()].view(part.shape)
        offset += part.numel()
    names = [(name, tuple(part.shape)) for name, part in parameters]
    return Session(model, vector, grad, names, torch.device(device))


def lora_config(recipe: Recipe) -> Any:
    """The peft configuration of a recipe."""
    peft = require("peft", "tuning", "LoRA")
    return peft.LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets),
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        task_type="CAUSAL_LM",
    )


def losses(session: Session, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every trained token of the micro-batch: shape (trained,), float32, in the order of its targets."""
    import torch

    from rung.tuning import kernels

    device = session.device
    causal = session.model.get_base_model()
    hidden = causal.base_model(
        input_ids=torch.from_numpy(batch.ids)[None].to(device),
        position_ids=torch.from_numpy(batch.positions)[None].to(device),
        use_cache=False,
        layout=kernels.Layout.of(batch, device),
    ).last_hidden_state[0]
    picked = hidden.index_select(0, torch.from_numpy(batch.sources).to(device))
    targets = torch.from_numpy(batch.targets).to(device)
    head = causal.get_output_embeddings().weight
    return kernels.FrozenHead.apply(picked, head, targets, 256)


def dev_loss(session: Session, batches: Sequence[Batch]) -> float:
    """Mean loss a trained token, without gradients and dropout."""
    import torch

    total, count = 0.0, 0
    session.model.eval()
    with torch.no_grad():
        for batch in batches:
            total += float(losses(session, batch).sum())
            count += len(batch.targets)
    return total / max(1, count)


def rate_at(recipe: Recipe, step: int, total: int) -> float:
    """Learning rate of 0-based ``step``: linear warm-up, then cosine or linear to zero, or constant."""
    warm = math.ceil(recipe.warmup * total)
    if step < warm:
        return recipe.rate * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    if recipe.schedule == "cosine":
        return recipe.rate * 0.5 * (1 + math.cos(math.pi * done))
    return recipe.rate * (1 - done) if recipe.schedule == "linear" else recipe.rate


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
    stop: threading.Event | None = None,
    every: float = 20.0,
) -> Trained:
    """Train the session's adapter on ``rows``; afterwards it holds the best step by loss on ``dev`` (the last, without dev).

    A step is ``recipe.batch`` rows, its loss the mean over all their trained tokens however they are cut into
    micro-batches. ``folder`` keeps a checkpoint (at most ``every`` seconds old, and one at each dev check): the same call
    goes on from it after any kind of death, to the same losses bit for bit on the same machine and thread count.
    A loss that is not finite stops with the last good state kept. ``stop`` ends it after the step in progress, resumable.

    Raises FitError for no rows, a diverged loss, a checkpoint of another training, a full disk, or a stop.
    """
    import torch

    if not rows:
        raise FitError("there is no row to train on", remedy="give the task a train split")
    recipe.validate()
    steps = math.ceil(len(rows) / recipe.batch)
    total = min(steps * recipe.epochs, recipe.steps or steps * recipe.epochs)
    marks = {math.ceil(steps * (index + 1) / recipe.checks) for index in range(recipe.checks)}
    held = split(dev, recipe.tokens)
    store = Checkpoints(folder, identity(base, rows, dev, recipe), session)
    parameter = torch.nn.Parameter(session.vector)
    parameter.grad = session.grad
    optimizer = torch.optim.AdamW(
        [parameter], lr=recipe.rate, betas=(recipe.betas[0], recipe.betas[1]), weight_decay=recipe.decay, fused=True
    )
    optimizer.state[parameter] = {
        "step": torch.zeros((), dtype=torch.float32, device=session.device),
        "exp_avg": torch.zeros_like(session.vector),
        "exp_avg_sq": torch.zeros_like(session.vector),
    }
    tensors = {"vector": session.vector, **optimizer.state[parameter]}
    best = session.vector.clone()
    tensors["best"] = best
    state, note = store.restore(tensors)
    state = replace(state, total=total, resumed=state.step)
    losses_so_far, checks = list(state.losses), list(state.checks)
    began, cpu, saved = time.perf_counter(), time.process_time(), time.perf_counter()
    before = state

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

    if state.stopped:
        session.vector.copy_(best)
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
        loss = 0.0
        session.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(recipe.seed, step))  # dropout is a function of the step: nothing to save
            for batch in batches:
                part = losses(session, batch).sum() / count
                if not math.isfinite(float(part.detach())):
                    session.grad.zero_()
                    store.save(snapshot(step), tensors)
                    raise FitError(
                        f"the loss became {float(part.detach())} at step {step + 1} on rows {_named(batch.rows)}; "
                        f"the state after step {step} is kept in {folder}",
                        remedy=f"lower the learning rate (it is {recipe.rate:g}), or look at those rows",
                    )
                part.backward()
                loss += float(part.detach())
        norm = float(torch.linalg.vector_norm(session.grad))
        if not math.isfinite(norm):
            session.grad.zero_()
            store.save(snapshot(step), tensors)
            raise FitError(
                f"the gradient became {norm} at step {step + 1} on rows {_named([row.id for row in chosen])}; "
                f"the state after step {step} is kept in {folder}",
                remedy=f"lower the learning rate (it is {recipe.rate:g}), or look at those rows",
            )
        if norm > recipe.clip:
            session.grad.mul_(recipe.clip / norm)
        optimizer.param_groups[0]["lr"] = rate_at(recipe, step, total)
        optimizer.step()
        session.grad.zero_()
        step += 1
        losses_so_far.append(loss)
        state = replace(
            state,
            tokens=state.tokens + sum(batch.tokens for batch in batches),
            computed=state.computed + sum(len(batch.ids) for batch in batches),
        )
        ended = ""
        due = place + 1 in marks or step == total
        if due and held:
            mark = Mark(step, dev_loss(session, held))
            checks.append(mark)
            if state.best is None or mark.loss < state.best.loss:
                best.copy_(session.vector)
                state = replace(state, best=mark)
            since = sum(1 for check in checks if check.step > (state.best or mark).step)
            if recipe.patience and since >= recipe.patience:
                ended = f"dev loss has not fallen for {since} checks"
        if not held:
            best.copy_(session.vector)
        if step == total and not ended:
            ended = "all epochs done"
        now = snapshot(step, ended)
        progress(_progress(now, before, note))
        halt = stop is not None and stop.is_set()
        if ended or halt or time.perf_counter() - saved > every or (due and held):
            store.save(now, tensors)
            saved = time.perf_counter()
        if ended:
            session.vector.copy_(best)
            return now
        if halt:
            raise FitError(f"training was stopped at step {step} of {total}", remedy="run the same again to go on")
    raise AssertionError("unreachable: the last step ends the training")


def _mix(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{step}".encode(), digest_size=7).digest(), "big")


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

    def __init__(self, folder: Path, key: str, session: Session) -> None:
        self._folder, self._key, self._session = folder, key, session
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: Trained, tensors: dict[str, torch.Tensor]) -> None:
        """Write a state. Raises FitError when the disk refuses; the one before stays whole."""
        from safetensors.torch import save

        name = f"step-{state.step:06d}.safetensors"
        known = [entry for entry in self._entries() if entry["file"] != name][:1]
        try:
            data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
            write(self._folder / name, data)
            entry = {"file": name, "sha256": hashlib.sha256(data).hexdigest(), "state": encode(state)}
            document = {"key": self._key, "checkpoints": [entry, *known]}
            write(self._folder / "checkpoint.json", json.dumps(document).encode())
        except OSError as error:
            raise FitError(
                f"cannot write a checkpoint to {self._folder}: {error.strerror or error}; the one before it is intact",
                remedy="free some disk space and run the same again to go on",
            ) from error
        keep = {name, *(entry["file"] for entry in known)}
        for path in self._folder.glob("step-*.safetensors"):
            if path.name not in keep:
                path.unlink(missing_ok=True)

    def restore(self, tensors: dict[str, torch.Tensor]) -> tuple[Trained, str]:
        """Fill ``tensors`` from the newest whole state. Returns it and, when something was damaged, a note that says so."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        note = ""
        for entry in self._entries():
            try:
                data = (self._folder / entry["file"]).read_bytes()
                if hashlib.sha256(data).hexdigest() != entry["sha256"]:
                    raise ValueError("its checksum does not match")
                loaded = load(data)
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


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or not there, also after a power cut."""
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)
