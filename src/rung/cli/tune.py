"""``rung tune``: fine-tune from a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def tune(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A tune.yaml.")],
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Settings that win over the file's.")
    ] = None,
    preflight: Annotated[bool, typer.Option(help="Check before the first step; --no-preflight: do not.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Make the pre-flight checks, show one row, and stop.")] = False,
    search: Annotated[
        bool, typer.Option("--range-test", help="Try rising learning rates for some steps, suggest one, and stop.")
    ] = False,
    parity: Annotated[
        bool, typer.Option(help="Open what was written and compare it with what was trained; --no-parity: do not.")
    ] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
) -> None:
    """Fine-tune a base on rows with answers, on plain texts, or on a task's train split, and write what runs elsewhere.

    Interrupted at any point, the same command goes on. Under torchrun every process computes its share.
    """
    import asyncio
    import os
    import signal
    import threading

    import yaml
    from rich.console import Console

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import Progress
    from rung.tuning import curves, job
    from rung.tuning.config import read
    from rung.tuning.loop import Trained
    from rung.tuning.work import tune as work

    changes = {}
    for item in change or []:
        key, mark, value = item.partition("=")
        if not mark:
            raise InputError(f"got --set {item}, expected KEY=VALUE", remedy="for example: --set epochs=3")
        changes[key] = yaml.safe_load(value)
    plan = read(config, changes)
    console = Console(stderr=True, quiet=quiet or int(os.environ.get("RANK", "0")) > 0)
    base, material = job.gather(plan, Settings())
    held = len(material.dev) or len(material.dev_texts)
    console.print(
        f"{plan.recipe.method} tuning of {base.gguf or base.folder} on {len(material.conversations) or len(material.texts)} "
        f"rows, {held} held out, at rate {plan.recipe.peak:g}, into {plan.out}",
        highlight=False,
    )
    answers = {messages[-1].content for _, messages in material.conversations}
    notes = list(plan.notes)
    if len(material.conversations) > 1 == len(answers):
        notes.append("every row has the same answer: the model will learn to say nothing else")
    elif len(material.conversations) == 1:
        notes.append("there is one row: the model will learn it by heart, and nothing is held out to tell")
    for note in notes:
        console.print(f"  note: {note}", highlight=False, markup=False)
    if check or search:
        from rung.tuning.probe import probe

        typer.echo(probe(base, material, plan.recipe, rates=search, colour=console.is_terminal))
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        import torch

        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set())
    last: list[Trained] = []

    def show(progress: Progress) -> None:
        total = f"/{progress.total}" if progress.total else ""
        line = f"{progress.stage} {progress.done}{total} {progress.note}"
        if last and progress.stage == "train":
            line += f"  {curves.spark(last[0].losses, 24)}"
        console.print(line, end="\r" if console.is_terminal else "\n", highlight=False, markup=False, overflow="crop")

    try:
        with curves.Curves(plan.out, plan.tensorboard, plan.points) as written:

            def record(state: Trained, rate: float) -> None:
                last[:] = [state]
                written(state, rate)

            done = work(
                base,
                material,
                plan.recipe,
                plan.out,
                plan.exports,
                name=plan.name,
                preflight=preflight,
                progress=show,
                record=record,
                stop=stop,
                saves=plan.saves,
                gate=parity,
            )
    finally:
        signal.signal(signal.SIGINT, previous)
    state = done.trained
    if console.quiet and not quiet:  # one of several processes, and not the first
        return
    if console.is_terminal:
        console.print()
    typer.echo(f"{state.step} of {state.total} steps, {state.tokens:,} tokens, {state.seconds:,.0f} s: {state.stopped}")
    typer.echo(f"loss {state.losses[0]:.4f} -> {state.losses[-1]:.4f}  {curves.spark(state.losses)}")
    if state.best is not None:
        typer.echo(f"dev  {state.checks[0].loss:.4f} -> {state.best.loss:.4f} at step {state.best.step}, which is kept")
    typer.echo(f"peak memory {state.peak_bytes / 1e9:.2f} GB")
    for kind, path in done.files.items():
        typer.echo(f"{kind:8} {path}" + (f"  {done.parity[kind]}" if kind in done.parity else ""))
    if plan.general:
        from rung.studies import forgetting

        after = next(
            (done.files[kind] for kind in ("f16", "q8", "folder", "q4", "openvino", "adapter") if kind in done.files),
            None,
        )
        provider = "transformers" if after in (done.files.get("folder"), done.files.get("adapter")) else "openvino"
        rows = asyncio.run(
            forgetting.measure(
                plan.model or Settings()["model"], f"{provider}:{after}", plan.general, Settings(), progress=show
            )
        )
        typer.echo(
            f"\nForgetting: the base and the tuned model elsewhere\n{forgetting.table(rows)}\n{forgetting.worth(rows)}"
        )
