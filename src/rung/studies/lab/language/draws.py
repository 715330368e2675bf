"""How the next token is chosen: the product's own decoding held against plain loops over our own logits of the same
model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Progress, Sampling
from rung.foundations.language import tensors
from rung.foundations.language.sampling import beam, distribution, greedy
from rung.models.engine.decode import draw
from rung.studies.lab.corpus import text
from rung.studies.lab.experiment import Experiment
from rung.studies.lab.language.embedded import DEFAULT, CachedContinuation, EmbeddedDecoder
from rung.studies.study import Lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = 20
LEAST = 5.0
"""Draws that a cell of the chi-square test must expect; rarer tokens share one cell."""


@dataclass(frozen=True, slots=True)
class DecodingCheck:
    """What was claimed, in how many of ``asked`` cases it held, and a remark."""

    claim: str
    held: int
    asked: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class DecodingChecks:
    model: str
    rows: tuple[DecodingCheck, ...]


@dataclass(frozen=True)
class Decoding(Experiment[DecodingChecks]):
    """Prove greedy, beam search, top-k and top-p: loops over our own logits against transformers, and the engine's
    draws against the distribution written out."""

    name = "sampling"
    records = DecodingChecks
    title = "Choosing the next token"
    ideas = ("language.sampling",)

    prompts: int = option(100, "Beginnings that are continued, of eight tokens each.", low=1)
    tokens: int = option(10, "Tokens of a continuation.", low=1)
    beams: int = option(4, "Width of the beam.", low=2)
    draws: int = option(10_000, "Draws of each kind.", low=100)
    text: tuple[str, ...] = option((), "Where the beginnings are cut from: a file or folder; `python`, the default.")
    model: str = option(DEFAULT, "A Llama-like model: a catalogue name, a GGUF file, a folder.")
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> DecodingChecks:
        """Raises InputError for a text with too few beginnings."""
        return await asyncio.to_thread(self._check, lab)

    def _check(self, lab: Lab) -> DecodingChecks:
        torch = tensors()
        model = EmbeddedDecoder.open(self.model, lab.settings)
        prompts = self._prompts(model)
        ours = CachedContinuation(model.ours)
        lab.progress(Progress(self.name, 0, 3, "greedy and beams"))
        first, p_first = greedy(ours, prompts, self.tokens)
        kept, p_kept = beam(ours, prompts, self.tokens, self.beams)
        options: dict[str, Any] = {
            "max_new_tokens": self.tokens, "min_new_tokens": self.tokens, "do_sample": False, "pad_token_id": 0,
            "eos_token_id": None, "attention_mask": torch.ones(prompts.shape, dtype=torch.long),
        }  # fmt: skip
        lab.progress(Progress(self.name, 1, 3, "transformers"))
        with torch.inference_mode():
            ids = torch.from_numpy(prompts)
            theirs = model.reference.generate(ids, **options)[:, prompts.shape[1] :].numpy()
        n = len(prompts)
        rows = [
            DecodingCheck("greedy is the argmax loop: ours = transformers'", int((first == theirs).all(1).sum()), n),
            DecodingCheck(
                f"beam-{self.beams} is at least as probable as greedy",
                int((p_kept >= p_first - 1e-6).sum()),
                n,
                f"log-probability {p_first.mean():.3f} to {p_kept.mean():.3f}, another text in {int((kept != first).any(1).sum())}",
            ),
        ]
        lab.progress(Progress(self.name, 2, 3, "draws"))
        with torch.inference_mode():
            logits = model.ours.logits(torch.from_numpy(prompts[:SEEDS]), last=True)[:, 0].numpy()
        rows += drawn(logits, Sampling(temperature=1.0, top_k=40), self.draws, self.seed)
        rows += drawn(logits, Sampling(temperature=0.8, top_p=0.9), self.draws, self.seed)
        return DecodingChecks(self.model, tuple(rows))

    def _prompts(self, model: EmbeddedDecoder) -> NDArray[np.int64]:
        joined, name = text(self.text)
        found: list[list[int]] = []
        for line in dict.fromkeys(line.strip() for line in joined.split("\n\n")):
            if len(line) > 40 and line[0].isalpha():
                ids = model.read(line[:200], 1024)
                if len(ids) >= 8:
                    found.append(ids[:8])
            if len(found) == self.prompts:
                return np.array(found, np.int64)
        raise InputError(
            f"{name} has {len(found)} paragraphs to begin with, expected {self.prompts}",
            remedy="name a longer text, or fewer --prompts",
            code="short-text",
        )

    def about(self, subject: None) -> str:
        return self.model

    def table(self, found: DecodingChecks) -> str:
        lines = [["claim", "held", "of", ""]]
        lines += [[row.claim, str(row.held), str(row.asked), row.note] for row in found.rows]
        return f"{found.model}\n\n{align(lines)}"


def drawn(
    logits: NDArray[np.float32], sampling: Sampling, count: int, seed: int, level: float = 0.01
) -> list[DecodingCheck]:
    """The engine's ``draw`` from logits of shape (prompts, symbols), a seed each: does it stay inside what
    ``distribution`` allows, and does chi-square tell them apart at ``level``?"""
    from scipy.stats import chisquare

    each = max(1, count // len(logits))
    inside, ps = 0, []
    for at, row in enumerate(logits):
        p = distribution(row.astype(np.float64), sampling.temperature, sampling.top_k, sampling.top_p)
        random = np.random.default_rng([seed, at])
        seen = np.bincount([draw(row, sampling, random) for _ in range(each)], minlength=len(p))
        inside += int(seen[p > 0].sum())
        cells = _cells(seen, p * each)
        ps.append(float(chisquare(*cells).pvalue) if len(cells[0]) > 1 else 1.0)
    kind = f"top-k {sampling.top_k}" if sampling.top_k else f"top-p {sampling.top_p}"
    fits = sum(p > level for p in ps)
    return [
        DecodingCheck(f"{kind}: a draw is inside the set", inside, each * len(logits)),
        DecodingCheck(
            f"{kind}: chi-square, p > {level}", fits, len(ps), f"smallest p {min(ps):.3f}, median {np.median(ps):.2f}"
        ),
    ]


def _cells(seen: NDArray[np.int64], expected: NDArray[np.float64]) -> tuple[Sequence[float], Sequence[float]]:
    """Counts that were seen and expected, rare ones joined."""
    often = expected >= LEAST
    rest = (float(seen[~often].sum()), float(expected[~often].sum()))
    cells = list(zip(seen[often].astype(float), expected[often], strict=True))
    if rest[1] >= LEAST or not cells:
        cells.append(rest)
    else:  # too few to stand alone: with the rarest of the others
        at = min(range(len(cells)), key=lambda at: cells[at][1])
        cells[at] = (cells[at][0] + rest[0], cells[at][1] + rest[1])
    return [a for a, _ in cells], [b for _, b in cells]
