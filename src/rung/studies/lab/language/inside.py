"""Inside the embedded model: where its heads look, and what becomes of a text from layer to layer, as this room's
decoder computes them, held against transformers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.foundations.language import tensors
from rung.studies.lab.experiment import Experiment, demand_kind, draw
from rung.studies.lab.language.embedded import DEFAULT, EmbeddedDecoder
from rung.studies.study import Lab

MOST = 128
"""Tokens of a text: a picture of more cannot be read."""


Pick = Callable[[tuple[float, ...], int], float]
PICKS: tuple[Pick, ...] = (lambda row, at: row[0], lambda row, at: row[at - 1], lambda row, at: row[at])
"""Of the weights of who asks at a place: on the first token, on the one before, on itself."""


@dataclass(frozen=True, slots=True)
class AttentionMaps:
    """``maps[layer][head][asking][answering]``; ``rows`` is the largest distance of a row's sum from 1, ``apart`` the
    largest distance of a weight from that of transformers."""

    model: str
    tokens: tuple[str, ...]
    maps: tuple[tuple[tuple[tuple[float, ...], ...], ...], ...]
    rows: float
    apart: float


@dataclass(frozen=True)
class AttentionOf(Experiment[AttentionMaps]):
    """Show where each head of the embedded model looks while it reads a text."""

    name = "attention"
    records = AttentionMaps
    title = "Where the heads of a language model look"
    ideas = ("language.attention",)

    text: str = argument("The text, in quotes.", "TEXT")
    to: Path | None = option(None, "Write the maps here: a page to look at (FILE.html), or JSON (FILE.json).")
    model: str = option(DEFAULT, "A Llama-like model: a catalogue name, a GGUF file, a folder.")

    async def measure(self, subject: None, lab: Lab) -> AttentionMaps:
        """Raises InputError for an empty or long text, and for a file of another kind."""
        demand_kind(self.to)
        found = await asyncio.to_thread(self._look, lab)
        draw(found, self.to, picture)
        return found

    def _look(self, lab: Lab) -> AttentionMaps:
        torch = tensors()
        model = EmbeddedDecoder.open(self.model, lab.settings)
        ids = model.read(self.text, MOST)
        seen: dict[str, Any] = {}
        with torch.no_grad():
            model.ours.logits(torch.tensor([ids]), seen.__setitem__)
            wanted = model.reference(torch.tensor([ids]), output_attentions=True).attentions
        maps = torch.stack([seen[f"attention {at}"][0] for at in range(model.ours.shape.layers)])
        apart = float((maps - torch.stack([layer[0] for layer in wanted])).abs().max())
        rows = float((maps.sum(-1) - 1).abs().max())
        rounded = [[[[round(x, 7) for x in row] for row in head] for head in layer] for layer in maps.tolist()]
        nested = tuple(tuple(tuple(map(tuple, head)) for head in layer) for layer in rounded)
        return AttentionMaps(self.model, tuple(model.spell(ids)), nested, rows, apart)

    def about(self, subject: None) -> str:
        return self.text[:40]

    def table(self, found: AttentionMaps) -> str:
        length = len(found.tokens)
        lines = [["layer", "to the first token", "to the one before", "to itself", "the last token looks most at"]]
        for at, layer in enumerate(found.maps):
            asking = [(head, place) for head in layer for place in range(1, length)]
            count = max(1, len(asking))
            shares = [sum(pick(head[place], place) for head, place in asking) / count for pick in PICKS]
            last = [sum(head[-1][place] for head in layer) / len(layer) for place in range(length)]
            beyond = max(range(1, length), key=last.__getitem__) if length > 1 else 0
            lines.append([str(at), *(f"{share:.3f}" for share in shares), repr(found.tokens[beyond])])
        return (
            f"{found.model} reads {length} tokens: {' '.join(map(repr, found.tokens))}\n\n{align(lines)}\n\n"
            f"rows sum to 1 within {found.rows:.1e}; transformers' weights are the same within {found.apart:.1e}\n"
            "the first token is left out of the last column: heads that have nothing to fetch rest on it"
        )


def picture(found: AttentionMaps) -> str:
    """A page with every head's map, a layer at a time; it loads nothing."""
    data = json.dumps({"tokens": found.tokens, "maps": found.maps}).replace("<", "\\u003c")
    return PAGE.replace("__DATA__", data)


PAGE = """<!doctype html><meta charset="utf-8"><title>Attention maps</title>
<style>body{font:14px sans-serif;margin:1em}figure{display:inline-block;margin:.5em}canvas{border:1px solid #999;image-rendering:pixelated}
pre{background:#f4f4f4;padding:.5em}</style>
<label>Layer <input id="layer" type="range" min="0" value="0"> <b id="which"></b></label>
<pre id="said">Point at a square: a row is who asks, a column who answers.</pre><div id="heads"></div>
<script>const data=__DATA__;const n=data.tokens.length,size=Math.max(160,n*8);
const range=document.getElementById("layer"),said=document.getElementById("said");range.max=data.maps.length-1;
function draw(){const at=+range.value,box=document.getElementById("heads");document.getElementById("which").textContent=at;
box.replaceChildren();data.maps[at].forEach((head,number)=>{const figure=document.createElement("figure"),
canvas=document.createElement("canvas");canvas.width=canvas.height=n;canvas.style.width=canvas.style.height=size+"px";
const pen=canvas.getContext("2d");head.forEach((row,y)=>row.forEach((share,x)=>{pen.fillStyle=
`rgba(20,60,160,${share})`;pen.fillRect(x,y,1,1)}));canvas.onmousemove=event=>{const x=Math.min(n-1,Math.floor(event.offsetX/size*n)),
y=Math.min(n-1,Math.floor(event.offsetY/size*n));said.textContent=
`head ${number}: ${JSON.stringify(data.tokens[y])} looks at ${JSON.stringify(data.tokens[x])}: ${head[y][x].toFixed(4)}`};
const title=document.createElement("figcaption");title.textContent="head "+number;figure.append(title,canvas);box.append(figure)})}
range.oninput=draw;draw()</script>
"""


@dataclass(frozen=True, slots=True)
class ForwardStep:
    """One intermediate: its name and shape, the mean of its absolute values; what its last place would say next if it
    were the last layer's ("logit lens"), with the logit; and the largest distance of these logits from those of
    transformers' vectors (None where transformers shows none)."""

    name: str
    shape: tuple[int, ...]
    size: float
    says: str
    logit: float
    apart: float | None


@dataclass(frozen=True, slots=True)
class ForwardTrace:
    """A text's way through the model; ``next`` are the likeliest next tokens with their logits."""

    model: str
    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    steps: tuple[ForwardStep, ...]
    next: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TraceForward(Experiment[ForwardTrace]):
    """Follow a text through the embedded model: tokens, ids, each layer's vectors, logits; equal to transformers at
    each."""

    name = "trace-forward"
    records = ForwardTrace
    title = "A text's way through a decoder"
    ideas = ("language.transformer", "language.position")

    text: str = argument("The text, in quotes.", "TEXT")
    model: str = option(DEFAULT, "A Llama-like model: a catalogue name, a GGUF file, a folder.")

    async def measure(self, subject: None, lab: Lab) -> ForwardTrace:
        """Raises InputError for an empty or long text."""
        return await asyncio.to_thread(self._follow, lab)

    def _follow(self, lab: Lab) -> ForwardTrace:
        torch = tensors()
        model = EmbeddedDecoder.open(self.model, lab.settings)
        ids = model.read(self.text, 1024)
        seen: dict[str, Any] = {}
        with torch.no_grad():
            logits = model.ours.logits(torch.tensor([ids]), seen.__setitem__)
            wanted = model.reference(torch.tensor([ids]), output_hidden_states=True)
        states = wanted.hidden_states
        last = model.ours.shape.layers - 1
        theirs = {"embedding": states[0], "norm": states[-1], "logits": wanted.logits}
        theirs |= {
            f"layer {at}": states[at + 1] for at in range(last)
        }  # transformers shows the last one after the norm
        steps = []
        for name, value in seen.items():
            if not name.startswith("attention"):
                ours, other = (self._lens(model, name, x) for x in (value, theirs.get(name)))
                best = ours.argmax(-1)
                said, apart = model.spell([int(best)])[0], None if other is None else float((ours - other).abs().max())
                steps.append(
                    ForwardStep(name, tuple(value.shape), float(value.abs().mean()), said, float(ours[best]), apart)
                )
        top = logits[0, -1].topk(5)
        following = zip(model.spell(top.indices.tolist()), top.values.tolist(), strict=True)
        return ForwardTrace(self.model, tuple(model.spell(ids)), tuple(ids), tuple(steps), tuple(following))

    @staticmethod
    def _lens(model: EmbeddedDecoder, name: str, x: Any) -> Any:
        """The logits of the last place of ``x``, of shape (1, length, width or symbols), were it the last layer's."""
        if x is None or name == "logits":
            return None if x is None else x[0, -1]
        with tensors().no_grad():
            last = x[0, -1] if name == "norm" else model.reference.model.norm(x[0, -1])
            return model.reference.lm_head(last)

    def about(self, subject: None) -> str:
        return self.text[:40]

    def table(self, found: ForwardTrace) -> str:
        read = [["token", "id"], *([repr(token), str(id)] for token, id in zip(found.tokens, found.ids, strict=True))]
        lines = [["", "shape", "mean size", "would say", "logit", "apart"]]
        for step in found.steps:
            apart = "-" if step.apart is None else f"{step.apart:.1e}"
            lines.append(
                [
                    step.name,
                    " x ".join(map(str, step.shape)),
                    f"{step.size:.3f}",
                    repr(step.says),
                    f"{step.logit:.2f}",
                    apart,
                ]
            )
        following = ", ".join(f"{token!r} {logit:.2f}" for token, logit in found.next)
        return (
            f"{found.model}\n\n{align(read)}\n\n{align(lines)}\n\nmost likely next: {following}\n"
            "apart: the largest distance of a layer's logits from those of transformers"
        )
