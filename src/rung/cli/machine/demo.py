"""``rung demo``: a first climb, offline and without a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import StoreUrl

RUNGS = {
    "keywords": ("rules", {}),
    "nearest": ("nearest", {}),
    "words": ("linear", {"features": "onehot"}),
    "weighted words": ("linear", {"features": "tfidf"}),
}
"""What is tried: techniques that need nothing but the rows."""

ASKED = "My parcel should have been here on Monday. Can you tell me where it is?"


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where the task and the program are written.")
    ] = Path("rung-demo"),
    store: StoreUrl = None,
) -> None:
    """Climb a small task in a few seconds, offline: a ladder of techniques that need no language model, measured on one
    ruler."""
    from rich.console import Console

    from rung import front, tasks
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import RungChoice
    from rung.ladder.view.table import whole

    if folder.exists():
        raise InputError(
            f"{folder} exists already", remedy=f"name another folder: rung demo {folder}-2, or climb it: rung climb {folder}/task.yaml",
            code="exists",
        )  # fmt: skip
    settings = Settings({"store": store})
    console = Console()
    task = tasks.init(folder, kind="support-intent")
    rows = sum(1 for _ in (folder / "messages.jsonl").open(encoding="utf-8"))
    console.print(
        f"{task}: which of 14 things does a customer of a shop want? {rows} labelled messages", soft_wrap=True
    )
    console.print(f"climbing {len(RUNGS)} techniques that need no language model ...\n", soft_wrap=True)
    choices = [RungChoice(name, options, title) for title, (name, options) in RUNGS.items()]
    run = front.climb(task, rungs=choices, settings=settings)
    console.print(whole(run))
    report = front.report_path(settings, run.id)
    console.print(f"\nReport: {report}", soft_wrap=True)
    if run.recommendation is None or not run.recommendation.rung:
        raise typer.Exit(1)
    console.print(
        "\nNext:\n"
        f"  rung export last {folder}/program\n"
        f'  rung run {folder}/program -i "{ASKED}"\n'
        f"  rung serve {folder}/program\n"
        f"  rung climb {folder}/task.yaml     with language models too (pip install 'rung[climb]'; the first time fetches 93 MB)",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
