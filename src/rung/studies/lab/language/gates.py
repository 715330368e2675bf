"""The gates of a recurrent network while it reads: what it keeps, what it writes, and for how long."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.system.threads import run_stoppable
from rung.core.text.columns import align
from rung.core.types import Progress
from rung.foundations.language import Tensor, tensors
from rung.foundations.language.recurrent import RecurrentModel
from rung.foundations.language.training import TrainingPlan, cross_entropy, fit, one_thread, windows
from rung.studies.lab.corpus import corpus
from rung.studies.lab.experiment import Experiment, demand_kind, draw
from rung.studies.lab.language.ladder import RATES, bits
from rung.studies.study import Lab

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEEPING = {"lstm": "forget", "gru": "update"}
"""The networks that have gates, and the gate that keeps what is remembered where it is near 1."""
MOST = 400
"""Bytes of a text: a picture of more cannot be read."""
SHOWN = 40
"""Bytes that the table shows, from the first on; all of them are in the records."""


@dataclass(frozen=True, slots=True)
class GateRecord:
    """``gates[gate][place][unit]``, from 0 to 1, while ``symbols`` are read; ``surprise``: bits of each symbol,
    foreseen from those before it (the first is not). ``bits`` a byte is of the text's held-out end."""

    kind: str
    symbols: tuple[str, ...]
    surprise: tuple[float, ...]
    gates: dict[str, tuple[tuple[float, ...], ...]]
    bits: float

    @property
    def half_lives(self) -> NDArray[np.float64]:
        """Of each unit: after how many bytes half of what it remembers is gone, at the mean of its keeping gate."""
        kept = np.array(self.gates[KEEPING[self.kind]]).mean(0).clip(1e-6, 1 - 1e-6)
        lives: NDArray[np.float64] = math.log(0.5) / np.log(kept)
        return lives


@dataclass(frozen=True)
class Gates(Experiment[GateRecord]):
    """Train an LSTM or a GRU on a text, let it read a sentence, and show its gates at every byte: what it keeps, what
    it writes, and how long each unit remembers."""

    name = "gates"
    records = GateRecord
    title = "The gates of a recurrent network"
    ideas = ("language.recurrent",)

    sentence: str = argument("What is read, in quotes.", "SENTENCE")
    kind: str = option("lstm", f"{' or '.join(KEEPING)}.")
    text: tuple[str, ...] = option((), "What is learnt: a file or folder; `python` (its docstrings), the default.")
    to: Path | None = option(None, "Write the gates here: a page to look at (FILE.html), or JSON (FILE.json).")
    width: int = option(96, "Units of the network.", low=2)
    steps: int = option(600, "Training steps, of 16 windows of 128 bytes each.", low=1)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> GateRecord:
        """Raises InputError for an unknown network, an empty or a long sentence, and for a file of another kind."""
        if self.kind not in KEEPING:
            raise InputError(f"{self.kind!r} has no gates here", remedy=f"choose {' or '.join(KEEPING)}", code="model")
        demand_kind(self.to)
        data = self.sentence.encode("utf-8", "replace")
        if not 2 <= len(data) <= MOST:
            raise InputError(
                f"the sentence has {len(data)} bytes, expected 2 to {MOST}", remedy="give another one", code="length"
            )
        found = await run_stoppable(lambda stop: self._read(data, lab, stop))
        draw(found, self.to, picture)
        return found

    def _read(self, data: bytes, lab: Lab, stop: threading.Event) -> GateRecord:
        learnt = corpus(self.text, most=1_200_000, pieces=100)
        model = RecurrentModel.fresh(self.kind, 256, 64, self.width, self.seed)

        def loss(ids: Tensor) -> Tensor:
            if stop.is_set():
                raise KeyboardInterrupt
            return cross_entropy(model.logits(ids[:, :-1]), ids[:, 1:])

        def tell(step: int, value: float) -> None:
            if (step + 1) % 50 == 0:
                note = f"{self.kind} {value / math.log(2):.2f} bits in training"
                lab.progress(Progress(self.name, step + 1, self.steps, note))

        batches = windows(learnt.train, self.steps, 16, 128, self.seed)
        fit(model.weights, loss, batches, TrainingPlan(self.steps, RATES[self.kind], seed=self.seed), tell)
        torch, seen = tensors(), dict[str, list[tuple[float, ...]]]()

        def look(name: str, gate: Tensor) -> None:
            seen.setdefault(name, []).append(tuple(round(x, 4) for x in gate[0].tolist()))

        ids = torch.tensor([list(data)])
        with torch.inference_mode(), one_thread():
            said = torch.log_softmax(model.logits(ids, look)[0], -1)
        surprise = -said[:-1].gather(1, ids[0, 1:, None])[:, 0] / math.log(2)
        return GateRecord(
            self.kind,
            tuple(chr(byte) if 32 < byte < 127 else "␣" if byte == 32 else f"\\x{byte:02x}" for byte in data),
            (0.0, *(round(x, 3) for x in surprise.tolist())),
            {name: tuple(rows) for name, rows in seen.items()},
            float(bits(model, learnt).mean()),
        )

    def about(self, subject: None) -> str:
        return f"{self.kind}: {self.sentence[:40]}"

    def table(self, found: GateRecord) -> str:
        names = list(found.gates)
        means = {name: np.array(rows).mean(1) for name, rows in found.gates.items()}
        lines = [["byte", "bits", *(f"{name} gate" for name in names), KEEPING[found.kind]]]
        for at, symbol in enumerate(found.symbols[:SHOWN]):
            surprise = f"{found.surprise[at]:.2f}" if at else ""
            kept = means[KEEPING[found.kind]][at]
            lines.append(
                [symbol, surprise, *(f"{means[name][at]:.3f}" for name in names), "█" * round(20 * float(kept))]
            )
        lives = found.half_lives
        spans = ((0.0, 2.0), (2.0, 5.0), (5.0, 20.0), (20.0, math.inf))
        counts = [f"{int(((lives >= low) & (lives < high)).sum())} of {low:g} to {high:g}" for low, high in spans]
        return "\n\n".join(
            [
                f"{found.kind} of {len(lives)} units, {found.bits:.3f} bits a byte of held-out text; gates are means over units",
                align(lines),
                f"units by half-life, in bytes: {', '.join(counts)} (the longest {lives.max():.1f})",
            ]
        )


def picture(found: GateRecord) -> str:
    """A page with every gate of every unit, those that keep longest on top; it loads nothing."""
    order = np.argsort(-found.half_lives)
    gates = {name: np.array(rows)[:, order].T.round(3).tolist() for name, rows in found.gates.items()}
    data = json.dumps({"symbols": found.symbols, "surprise": found.surprise, "gates": gates})
    return PAGE.replace("__DATA__", data.replace("<", "\\u003c"))


PAGE = """<!doctype html><meta charset="utf-8"><title>Gates</title>
<style>body{font:14px sans-serif;margin:1em}canvas{image-rendering:pixelated;border:1px solid #999;display:block}</style>
<p id="said">A column is a byte, a row a unit (those that keep longest on top); dark is near 1. Point at a place.</p>
<div id="box"></div>
<script>const data=__DATA__,box=document.getElementById("box"),said=document.getElementById("said");
for(const [name,rows] of Object.entries(data.gates)){const title=document.createElement("h3"),canvas=document.createElement("canvas"),
n=data.symbols.length;title.textContent=name;canvas.width=n;canvas.height=rows.length;canvas.style.width=n*10+"px";
canvas.style.height=rows.length*4+"px";const pen=canvas.getContext("2d");rows.forEach((row,y)=>row.forEach((gate,x)=>{
pen.fillStyle=`rgba(20,60,160,${gate})`;pen.fillRect(x,y,1,1)}));canvas.onmousemove=event=>{
const x=Math.min(n-1,Math.floor(event.offsetX/10)),y=Math.min(rows.length-1,Math.floor(event.offsetY/4));
said.textContent=`${name} gate of unit ${y} at ${JSON.stringify(data.symbols[x])}: ${rows[y][x].toFixed(3)} (${data.surprise[x].toFixed(2)} bits)`};
box.append(title,canvas)}</script>
"""
