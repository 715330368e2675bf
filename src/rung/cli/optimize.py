"""``rung prompt optimize``: search a better prompt for a task under a budget of model calls."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from rung.core.types import Progress


def optimize(
    task: Annotated[str, typer.Argument(help="A task file, its folder, or a built-in pack.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="The model that answers: provider:name.")] = None,
    calls: Annotated[int, typer.Option("--calls", "-n", help="Hard budget of the search in model calls.", min=1)] = 400,
    reflector: Annotated[
        str,
        typer.Option(metavar="MODEL", help="The model that rewrites instructions; without it, the one that answers."),
    ] = "",
    rung: Annotated[str, typer.Option("--rung", "-r", help="Begin with the prompt of this rung.")] = "zero-shot",
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", help="Begin with this template file or saved prompt instead.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Program folder to write (default: TASK-optimized).")
    ] = None,
    dev: Annotated[int, typer.Option(help="Dev examples to search on, at most.", min=8)] = 48,
    width: Annotated[int, typer.Option(help="Edits that race in a step.", min=2)] = 8,
    alpha: Annotated[float, typer.Option(help="Keep an edit when its one-sided p on dev is at most this.")] = 0.2,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Take edits from this source only; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Test examples for the final gain, at most.", min=1)] = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="Do not look at the test split.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a step costs; ask nothing.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
    diff: Annotated[bool, typer.Option("--diff", help="Print the diff of each step that was kept.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live display.")] = False,
    store: Annotated[str | None, typer.Option("--store", help="Store URL.")] = None,
) -> None:
    """Search instructions and demonstrations on train and dev; keep what wins there in a paired test; test once."""
    import asyncio
    from json import dumps

    from rich.console import Console

    from rung import tasks
    from rung.core.codec import encode
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.prompts.search.optimize.cost import stages, step_calls
    from rung.prompts.search.optimize.optimized import Optimized
    from rung.store import open_store
    from rung.studies.optimize import Optimum, summary
    from rung.studies.optimize import optimize as search

    settings = Settings({"store": store})
    loaded = tasks.load(task, models=[model] if model else None)
    if limit is not None:
        loaded = tasks.cut(loaded, test=limit)
    try:
        options = Optimized(calls, rung, prompt, reflector, dev, width, alpha, tuple(source or ()))
    except ValueError as error:
        raise InputError(str(error), remedy="type: rung prompt optimize --help") from None
    n = min(dev, len(loaded.dev))
    if dry_run:
        race = ", ".join(f"{alive} edits on {seen}" for alive, seen in stages(width, n))
        typer.echo(f"{n} calls for the start prompt on {n} dev examples")
        typer.echo(f"{step_calls(width, n, 1)} calls a step at most ({race}; mistakes on train; one rewriting)")
        typer.echo(f"{calls} calls buy at least {max(0, calls - n) // step_calls(width, n, 1)} steps")
        typer.echo(f"{0 if no_test else 2 * len(loaded.test)} calls for the gain on test, once, besides")
        return
    name = model or (loaded.models[0] if loaded.models else str(settings["model"]))
    console = Console(stderr=True)

    async def work(live: Live) -> Optimum:
        async with Pool(settings, default=name) as pool:
            with open_store(settings.store_url) as opened:
                return await search(
                    loaded,
                    options,
                    settings=settings,
                    store=opened,
                    pool=pool,
                    model=name,
                    out=out or Path(f"{loaded.name}-optimized"),
                    seed=seed,
                    test=not no_test,
                    progress=live.tell,
                )

    with Live(console, quiet=quiet) as live:
        found = asyncio.run(work(live))
    if json:
        typer.echo(dumps(encode(found), indent=2, ensure_ascii=False))
        return
    typer.echo(summary(found))
    if diff:
        for file in sorted(found.folder.glob("step-*-kept.diff")):
            typer.echo(f"\n{file.name}\n{file.read_text(encoding='utf-8')}", nl=False)
    typer.echo(f"\n{found.prompt}", nl=False)
    typer.echo(
        f'\nTake it: rung run {found.folder} -i "..."; rung serve {found.folder}; '
        f"rung prompt save {found.folder / 'prompt.md'}"
    )
    if found.chosen:
        typer.echo(
            f"prompt.md holds the words; the demonstrations are chosen for each input: "
            f"template: {{prompt: {found.folder / 'prompt.md'}, {found.chosen}}}"
        )


class Live:
    """The step, the best so far, calls used, elapsed and remaining; a line for each step that is done."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        from rich.live import Live as Drawn

        self._console, self._quiet = console, quiet
        self._now: Progress | None = None
        self._began = time.monotonic()
        self._drawn: Any = Drawn(console=console, refresh_per_second=4, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawn.stop()

    def tell(self, progress: Progress) -> None:
        self._now = progress
        if not self._quiet and progress.stage.partition(" ")[0] in ("start", "step", "note", "wait"):
            self._console.print(self._line(progress), highlight=False, markup=False, soft_wrap=True)

    def _line(self, progress: Progress) -> str:
        from rung.ladder.numbers import seconds

        elapsed = time.monotonic() - self._began
        total = f" of {progress.total}" if progress.total is not None else ""
        left = ""
        if progress.total and progress.done:
            left = f", at most {seconds(elapsed / progress.done * max(0, progress.total - progress.done))} left"
        what = "test answers" if progress.stage == "test" else "calls"
        return f"{progress.stage}: {progress.done}{total} {what}, {seconds(elapsed)}{left}  {progress.note}"

    def _draw(self) -> Any:
        from rich.text import Text

        return Text(self._line(self._now) if self._now is not None else "loading", style="dim")
