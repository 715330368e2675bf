"""``rung``: the verbs, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys

import typer

from rung.cli import (
    ab,
    adapters,
    ask,
    bench,
    catalog,
    climb,
    config,
    curve,
    data,
    diff,
    errors,
    eval,
    export,
    index,
    init,
    models,
    pattern,
    prompt,
    rate,
    run,
    runs,
    search,
    serve,
    shots,
    show,
    stress,
    sweep,
    tune,
    validate,
    vectors,
)

app = typer.Typer(
    name="rung",
    help="Climb one ladder: from a plain prompt to a tuned, served model, every step measured with one ruler.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("climb")(climb.climb)
app.command("init")(init.init)
app.command("validate")(validate.validate)
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("diff")(diff.diff)
app.command("run")(run.run)
app.command("rate")(rate.rate)
app.command("errors")(errors.errors)
app.command("eval")(eval.evaluate)
app.command("stress")(stress.stress)
app.command("curve")(curve.curve)
app.command("ab")(ab.ab)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.add_typer(models.app, name="models")
pattern.app.command("few-shot")(shots.few_shot)
app.add_typer(pattern.app, name="pattern")
app.add_typer(prompt.app, name="prompt")
app.command("sweep")(sweep.sweep)
app.command("tune")(tune.tune)
app.add_typer(adapters.app, name="adapters")
app.add_typer(data.app, name="data")
app.add_typer(index.app, name="index")
app.add_typer(bench.app, name="bench")
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.add_typer(catalog.app, name="catalog")
app.add_typer(vectors.app, name="vectors")
app.command("config")(config.config)


def main() -> None:
    """Entry point of the ``rung`` command: errors made on purpose are printed as one message, without a traceback."""
    from rung.core.errors import RungError

    try:
        app()
    except RungError as error:
        typer.echo(f"rung: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("\nrung: stopped; what was answered is kept, and the same command goes on from here.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)


if __name__ == "__main__":
    main()
