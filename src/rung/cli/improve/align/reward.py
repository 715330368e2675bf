"""``rung reward``: learn what people prefer from pairs, and know what the reward is good for."""

from __future__ import annotations

import asyncio
import json as codec
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, expand
from rung.cli.improve.align.people.feedback import check_said
from rung.cli.improve.align.people.labels import answer, label
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.models import Pool

if TYPE_CHECKING:
    from rung.alignment.rewards.model import RewardReport

app = typer.Typer(
    help="Learn a reward from pairs of a better and a worse answer, and score answers with it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


app.command()(label)
app.command()(answer)


@dataclass(frozen=True)
class Fitting:
    """How a reward model is fitted."""

    embedder: str = option("static", "What answers are seen by: static, minilm, llm:MODEL, ...")
    heads: int = option(5, "How many models are fitted, each on a sample of the pairs.", low=1)
    share: float = option(0.25, "Share of the conversations that is held out.", low=0.05, high=0.9)
    seed: int = option(0, "Seed of every random choice.")


@app.command()
@expand
def fit(
    pairs: Annotated[
        list[Path], typer.Argument(metavar="PAIRS...", help="Files of pairs, in any shape that rung data reads.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to write the reward model.")],
    how: Fitting,
    json: Json = False,
) -> None:
    """Fit a reward model, and print what it is worth on conversations that it has not seen, and which rows were left
    out: use it as reward-model:FOLDER."""
    from rung.alignment.rewards.model import fit_reward
    from rung.alignment.rewards.pairs import sift_pairs
    from rung.core.codec import encode
    from rung.data.sources.lineage import write_lineage

    sifted, settings = sift_pairs(pairs), Settings()
    check_said(sifted.pairs, settings)
    pool = Pool(settings)
    try:
        seen = pool.embedder(how.embedder)
        model, report = fit_reward(sifted.pairs, seen, heads=how.heads, share=how.share, seed=how.seed)
    finally:
        asyncio.run(pool.close())
    model.save(to)
    write_lineage(to, pairs)
    if json:
        left = {"rows": sifted.rows, "left_out": dict(sifted.left), "unreadable": sifted.unreadable}
        typer.echo(codec.dumps({**encode(report), **left}, indent=2, ensure_ascii=False))
    else:
        typer.echo(tell(report, to, sifted.why))


def tell(report: RewardReport, folder: Path, left: str = "") -> str:
    """A report as text; what makes the model worth little is said first. ``left``: which rows were left out."""
    from rung.ladder.view.numbers import change, exact

    lines = [f"{report.learnt:,} pairs learnt from, {report.held:,} held out (no conversation in both)"]
    lines += [left, ""] if left else [""]
    lines.append(f"accuracy           {exact(report.accuracy)}")
    lines.append(f"length alone       {exact(report.length)}; difference {change(report.gain)}")
    if report.matched is not None:
        lines.append(f"like lengths       {exact(report.matched)} over {report.matched_pairs} pairs")
    lines.append(f"calibration error  {report.error:.3f}")
    lines.append(f"labels by coin     {exact(report.shuffled)}")
    lines.append(f"reward and length  {report.correlation:+.2f} (Spearman)")
    lines += ["", "How often an answer's reward rises when it is made"]
    lines += [
        f"  {bias.what:27} {bias.raised.value:.0%} [{bias.raised.low:.0%}, {bias.raised.high:.0%}]"
        for bias in report.biases
    ]
    lines.append("")
    if report.leaking:
        lines.append("Do not use it: labels drawn by coin do better than chance, so the held-out pairs are no test.")
    elif report.accuracy.low <= 0.5:
        lines.append("It is not shown to be better than chance.")
    elif report.gain.low <= 0:
        lines.append("It is not shown to be better than length alone.")
    lines.append(f"Use it as a metric or a reward: reward-model:{folder}")
    return "\n".join(lines)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A reward model.")],
    answers: Annotated[list[str], typer.Argument(metavar="ANSWER...", help="Answers to compare.")],
    asked: Annotated[str, typer.Option("--to", metavar="TEXT", help="What was asked.")] = "",
) -> None:
    """Print the reward of each answer, and how far the heads are apart: best first."""
    from rung.alignment.rewards.model import RewardModel

    pool = Pool(Settings())
    try:
        model = RewardModel.load(folder, pool)
        rewards, votes = model.score([asked] * len(answers), answers), model.votes([asked] * len(answers), answers)
    finally:
        asyncio.run(pool.close())
    for at in sorted(range(len(answers)), key=lambda at: -float(rewards[at])):
        typer.echo(f"{rewards[at]:+.3f}  (heads {votes[:, at].std():.3f} apart)  {answers[at]}")
