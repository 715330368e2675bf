"""Checks before the first step, in seconds: what most often makes a tuning worthless is found before it costs
anything."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from rung.core.errors import FitError
from rung.core.settings import Settings
from rung.core.system.memory import peak_memory
from rung.core.types import Message
from rung.models.engine.files import gguf
from rung.models.engine.openvino.engine import graph_folder
from rung.models.engine.template import ChatTemplate
from rung.models.engine.tokens import Tokenizer
from rung.tuning.batches import Chat, TokenRow, assemble, split
from rung.tuning.checks import forecast
from rung.tuning.compute.precision import settle
from rung.tuning.compute.session import Session, losses
from rung.tuning.trainer.optimizer import adamw
from rung.tuning.trainer.recipe import RATES, Recipe
from rung.tuning.weights import Base

BY_HEART = 128
"""Tokens of a plain text that are to be learnt by heart."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``detail`` says what was seen, ``remedy`` what to do when it failed. ``passed`` None: could not be
    made."""

    name: str
    passed: bool | None
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Preflight:
    """All checks, one row with what is trained in it marked, and what the training will take."""

    checks: tuple[Check, ...]
    example: str
    seconds: float
    memory: int

    def demand(self) -> None:
        """Raise FitError for the first check that failed."""
        for check in self.checks:
            if check.passed is False:
                raise FitError(f"pre-flight check {check.name!r} failed: {check.detail}", remedy=check.remedy)

    def __str__(self) -> str:
        marks = {True: "passed", False: "FAILED", None: "skipped"}
        lines = [f"{marks[check.passed]:8}{check.name}: {check.detail}" for check in self.checks]
        return "\n".join([*lines, "example (what is trained is marked):", self.example])


def inspect(
    session: Session,
    chat: Chat,
    lessons: tuple[Sequence[TokenRow], Sequence[TokenRow]],
    conversations: Sequence[tuple[str, Sequence[Message]]],
    recipe: Recipe,
    *,
    colour: bool = False,
) -> Preflight:
    """Run every check. ``lessons``: rows to train on, and rows of dev. The session's adapter is the same afterwards.
    Raises nothing on purpose: see ``demand``."""
    rows, dev = lessons
    recipe = settle(recipe)
    checks = [check_math(session, rows)]
    if conversations:  # plain texts have neither turns nor a template
        known = {id for id, _ in conversations}
        talks = [row for row in rows if row.id in known or row.id.rpartition("#")[0] in known]
        checks = [
            check_stop(chat, talks),
            check_mask(chat, talks, conversations),
            check_template(session.base, chat, conversations),
            *checks,
        ]
    checks.append(check_overfit(session, rows, recipe))
    rate = forecast.measure(session, rows, recipe)
    forecast.remember(Settings().cache, forecast.speed_key(session.base, recipe), rate)
    seconds = forecast.seconds(rows, dev, recipe, rate, 1 - recipe.share)
    memory = estimate_memory(session, rows, recipe)
    checks.append(check_memory(memory, seconds))
    return Preflight(tuple(checks), chat.show(rows[0], colour=colour), seconds, memory)


def check_stop(chat: Chat, rows: Sequence[TokenRow]) -> Check:
    """Every answer ends in a trained stop token, or the tuned model would never stop."""
    name, shown = "stop token", repr(chat.decode([chat.stop]))
    for row in rows:
        ends = [
            place for place in range(len(row)) if row.trained[place] and row.trained[place + 1 : place + 2] != (True,)
        ]
        if not ends or any(row.ids[place] != chat.stop for place in ends):
            return Check(
                name,
                False,
                f"row {row.id} does not end its answer in {shown}",
                "make the rows with Chat.rows, which puts the stop token behind every answer",
            )
    return Check(name, True, f"{shown} ends every answer and is trained ({len(rows)} rows)")


def check_mask(chat: Chat, rows: Sequence[TokenRow], conversations: Sequence[tuple[str, Sequence[Message]]]) -> Check:
    """The trained tokens are the answers and nothing else."""
    name = "mask"
    answers = {id: [m.content for m in messages if m.role == "assistant" and m.learn] for id, messages in conversations}
    total = 0
    for row in rows:
        spans, now = [], []
        for place, trained in enumerate(row.trained):
            if trained:
                now.append(row.ids[place])
            if now and (not trained or place + 1 == len(row)):
                spans.append(now)
                now = []
        said = [chat.decode(span[:-1] if span[-1] == chat.stop else span) for span in spans]
        source, _, number = row.id.rpartition("#")
        expected = (
            answers.get(row.id) or answers.get(source, [])[int(number) : int(number) + 1]
            if number
            else answers.get(row.id)
        )
        if said != expected:
            return Check(
                name,
                False,
                f"row {row.id} trains {said!r}, its answers are {expected!r}",
                "make the rows with Chat.rows; if it does, the tokenizer does not give text back as it was: choose another base",
            )
        total += row.answers
    share = total / max(1, sum(map(len, rows)))
    return Check(name, True, f"only answers are trained: {total:,} tokens, {share:.0%} of all")


def check_template(base: Base, chat: Chat, conversations: Sequence[tuple[str, Sequence[Message]]]) -> Check:
    """The ids of prompts here and in the engine that will run the tuned model are the same."""
    name = "template"
    if base.gguf is None:
        return Check(name, None, "the base is no GGUF, so the embedded engine has no part in it")
    if find_spec("openvino_genai") is None:
        return Check(name, None, "openvino-genai is not installed, so there is no engine to compare with")
    header = gguf.read(base.gguf)
    names = {index: text for text, index in header.control.items()}
    bos = names.get(header.bos, "") if header.bos is not None else ""

    made = graph_folder(base.gguf, Settings().cache)
    encode = Tokenizer(made if made.is_dir() else base.gguf, header.context).encode_all
    template = ChatTemplate(header.template, header.control, encode, bos=bos, eos=names.get(header.eos, ""))
    # The longest and some others: differences hide in rare characters.
    picked = sorted(conversations, key=lambda item: -sum(len(m.content) for m in item[1]))
    picked = [*picked[:4], *picked[4 :: max(1, len(picked) // 12)]]
    for id, messages in picked:
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            ours, theirs = chat.prompt(messages[:index]), list(template.tokens(messages[:index]))
            if ours != theirs or chat.template.plain(message.content) != template.plain(message.content):
                at = next(
                    (k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                    min(len(ours), len(theirs)),
                )
                return Check(
                    name,
                    False,
                    f"row {id}: the engine reads the prompt as other tokens, first at {at}: "
                    f"{chat.decode(theirs[at : at + 4])!r} against {chat.decode(ours[at : at + 4])!r}",
                    "choose another base: what would be trained is not what would be asked",
                )
    return Check(name, True, f"ids equal the engine's in {len(picked)} conversations")


def check_math(session: Session, rows: Sequence[TokenRow], tolerance: float = 0.05) -> Check:
    """The lean step computes what the model's own forward pass does: losses of two rows that share a prefix."""
    import torch

    name = "computation"
    if session.virtual:
        return Check(name, None, "the model's own code knows no virtual tokens")
    few = sorted(rows, key=len)[:2]
    session.model.eval()
    causal = session.causal
    with torch.no_grad():
        lean = losses(session, assemble(few))
        held = causal.config._attn_implementation
        causal.set_attn_implementation("sdpa")
        try:
            plain = []
            for row in sorted(few, key=len):
                ids = torch.tensor([row.ids], device=session.device)
                logits = causal(input_ids=ids, use_cache=False).logits[0].float()
                picked = [place for place, trained in enumerate(row.trained) if trained]
                plain.append(
                    torch.nn.functional.cross_entropy(
                        logits[[place - 1 for place in picked]], ids[0, picked], reduction="none"
                    )
                )
        finally:
            causal.set_attn_implementation(held)
    own = torch.cat(plain)
    gap = float((lean.mean() - own.mean()).abs() / own.mean().clamp_min(1e-3))
    return Check(
        name,
        gap <= tolerance,
        f"loss {float(lean.mean()):.4f}, by the model's own code {float(own.mean()):.4f}",
        f"this kind of model ({causal.config.model_type}) is not supported: tune a llama, qwen2 or qwen3 model",
    )


def check_overfit(session: Session, rows: Sequence[TokenRow], recipe: Recipe, steps: int = 12) -> Check:
    """Ten rows can be learnt by heart: their loss must halve within ``steps`` (virtual tokens, which learn slowly, must
    lower it by a tenth). Of plain texts, which are long, the beginnings."""
    import torch

    few: list[TokenRow] = []
    seen = set()
    for row in sorted(map(_beginning, rows), key=lambda row: (len(row), row.id)):
        if row.ids not in seen:
            few.append(row)
            seen.add(row.ids)
        if len(few) == 10:
            break
    few = session.front(few)
    session.keep(few, recipe.tokens, lambda _: None)
    batches = split(few, recipe.tokens)
    count = sum(len(batch.targets) for batch in batches)
    kept = session.vector.clone()
    optimizer, _ = adamw(session.vector, session.grad, max(recipe.peak, RATES[recipe.method][1]))
    first = last = math.nan
    session.grad.zero_()
    session.model.eval()  # no dropout: the question is whether it can learn at all
    try:
        for step in range(steps):
            last = 0.0
            for batch in batches:
                part = losses(session, batch).sum() / count
                part.backward()
                last += float(part.detach())
            if step == 0:
                first = last
            if not math.isfinite(last) or last < 0.25 * first or last < 0.02:
                break
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], recipe.clip)
            optimizer.step()
            session.push()
            session.grad.zero_()
    finally:
        session.set(kept)
        session.grad.zero_()
    passed = math.isfinite(last) and (last <= (0.9 if session.virtual else 0.5) * first or last < 0.1)
    detail = f"loss on {len(few)} rows went from {first:.3f} to {last:.3f} in {step + 1} steps"
    return Check(
        "overfit",
        passed,
        detail,
        f"lower the rate: it is {recipe.peak:g}, usual for {recipe.method} are {RATES[recipe.method][0]:g} to "
        f"{RATES[recipe.method][2]:g}"
        if recipe.peak > RATES[recipe.method][2]
        else "raise the rank or learning rate, add target modules, or look at the rows",
    )


def _beginning(row: TokenRow) -> TokenRow:
    """A row whose every token but the first is learnt is text: as much of it as an answer has can be learnt by heart in
    a few steps."""
    if row.answers < len(row) - 1:
        return row
    return TokenRow(row.id, row.ids[:BY_HEART], row.trained[:BY_HEART])


def estimate_memory(session: Session, rows: Sequence[TokenRow], recipe: Recipe) -> int:
    """Expected peak bytes of the process: what it holds now, optimizer state, and one micro-batch's activations."""
    config = session.causal.config
    width = 2 if recipe.precision == "bf16" else 4
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    longest = max(map(len, rows))
    tokens = max(min(recipe.tokens, sum(map(len, rows))), longest)
    # Kept for the backward pass, a token and layer: inputs of the norms, of attention and MLP, q/k/v, gate, up,
    # product.
    per_token = layers * width * (8 * hidden + 3 * inner)
    scores = layers * width * config.num_attention_heads * min(longest, 512) * tokens
    head = 256 * config.vocab_size * 4 * 2
    return int(peak_memory() + 20 * session.vector.numel() + per_token * tokens + scores + head)


def check_memory(needed: int, seconds: float) -> Check:
    """The training fits what memory is free."""
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        with open("/proc/meminfo", encoding="ascii") as lines:  # counts what caches would give back
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration, AttributeError):
        free = 0
    more = needed - peak_memory()
    said = f"about {seconds:,.0f} s and {needed / 1e9:.1f} GB"
    if free and more > free:
        return Check(
            "memory", False, f"{said}; only {free / 1e9:.1f} GB are free", "lower tokens (per micro-batch) or rank"
        )
    return Check("memory", True, said)
