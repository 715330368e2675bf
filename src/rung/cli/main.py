"""``rung``: the verbs, and the one place where errors become messages and exit codes.

A verb's module is imported when it is called: ``rung --help`` reads the table below and nothing else.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from rung.cli.base.late import LateGroup

PANELS: dict[str, dict[str, tuple[str, str]]] = {
    "Begin": {
        "demo": ("machine.demo:demo", "Climb a small task in seconds, offline, without a language model."),
        "init": ("task.init:init", "Write a task of your own to begin with: a commented task.yaml and data."),
        "validate": ("task.validate:validate", "Check a task and its data; nothing is written."),
        "climb": ("task.climb:climb", "Try every technique on a task and recommend the cheapest good one."),
    },
    "Look at what was measured": {
        "runs": ("task.runs:runs", "List runs, newest first."),
        "show": ("task.show:show", "Show a run, a rung's examples, or all about one example."),
        "diff": ("task.diff:diff", "Compare two runs, rung by rung and example by example."),
        "errors": ("task.study:errors", "Cluster what a rung gets wrong."),
        "stress": ("task.study:stress", "Ask again with typos, in capitals, cut, padded and empty."),
        "curve": ("task.study:curve", "Find out what labelling more examples would bring."),
        "rate": ("task.rate:rate", "Let people say which of two rungs' answers is better."),
        "sweep": ("task.study:sweep", "Measure how random the answers are, by sampling settings."),
        "forgetting": ("task.study:forgetting", "Compare two models on what one was not tuned for."),
        "lab": ("machine.lab:app", "Train small models from scratch, look inside them, measure them."),
        "sizes": ("task.study:sizes", "Compare models in quality, size, memory, speed; mark the dominated."),
        "studies": ("task.study:studies", "List the studies that were made, or show one again."),
    },
    "Use it": {
        "run": ("use.run:run", "Answer inputs with a program, or a prompt with a model."),
        "export": ("use.export:export", "Write a rung's program to a folder, re-scored before."),
        "keys": ("use.keys:app", "Make, list, rotate and revoke API keys of a gateway."),
        "chaos": ("use.chaos:chaos", "Let a gateway's endpoints fail, and see who answers."),
        "forget": ("use.forget:forget", "Delete all that servers kept of a person."),
        "up": ("use.work.up:up", "Keep a gateway, workers, an index and a trainer at work as one set."),
        "worker": ("use.work.worker:worker", "Answer messages of RabbitMQ or Kafka, each once."),
        "stream": ("use.work.stream:stream", "Aggregate rows that never end, in windows of time."),
        "etl": ("use.work.etl:etl", "Answer a column for each row of a table, and write both to a database."),
        "serve": ("use.serve:serve", "Serve programs over HTTP as OpenAI-compatible models."),
        "ab": ("use.ab:ab", "Show both arms of an A/B test that is being served."),
        "eval": ("task.study:eval", "Answer prompts as they are and score the answers."),
    },
    "Improve it": {
        "prompt": ("improve.prompt:app", "Write, check, version and optimize prompts."),
        "pattern": ("improve.pattern.app:app", "Use prompt patterns by themselves, one command each."),
        "data": ("improve.data:app", "Turn files, mail, chats and runs into training rows."),
        "tune": ("improve.tune:tune", "Fine-tune a model on rows, on plain texts or on a task."),
        "compress": ("improve.compress:compress", "Make a model smaller: fewer bits, parts or layers."),
        "align": ("improve.align.align:align", "Optimise a model for a reward, or for what people prefer."),
        "reward": ("improve.align.reward:app", "Learn a reward from pairs of answers, and know its worth."),
        "feedback": ("improve.align.people.feedback:app", "Bring in what people said of answers; make pairs of it."),
        "constitution": ("improve.align.constitution:app", "Hold a model to written principles."),
        "personal": ("improve.align.people.personal:app", "Answer people in the style that each has come to prefer."),
        "moderate": ("improve.align.people.moderate:app", "Moderate texts by a written policy; rule on appeals."),
        "release": ("improve.align.life.release:app", "Check, approve or waive before something is served."),
        "drift": ("improve.align.life.drift:drift", "Raise an alarm when what is asked has changed."),
        "cycle": ("improve.align.life.cycle:cycle", "Retrain, compare, approve and serve what people taught."),
        "lineage": ("improve.align.life.cycle:lineage", "Follow an answer or a version back to its rows."),
        "audit": ("improve.align.audit:audit", "Look for holes in a reward, or at an alignment again."),
        "adapters": ("improve.adapters:app", "Look at adapters, merge or stack those of one base."),
    },
    "Search documents": {
        "index": ("documents.index:app", "Build, list, check and drop collections of documents."),
        "search": ("documents.search:search", "Find the best passages for a query."),
        "ask": ("documents.ask:ask", "Answer a question from a collection, with citations."),
        "vectors": ("documents.vectors:app", "Work with word and text vectors: neighbours, analogies."),
    },
    "Let agents act": {
        "agent": ("agent.agent:app", "Run agents; list, pause, steer and resume their episodes."),
        "trace": ("agent.trace:app", "Show what an episode perceived, thought, did and learned."),
        "replay": ("agent.trace:replay", "Do an episode again from its record, or from a step on."),
        "workflow": ("agent.teams.workflow:app", "Run workflows of agents, programs and tools; draw them."),
        "consensus": ("agent.teams.consensus:app", "Play agreement protocols with faults injected."),
        "attack": ("task.study:attacks", "Attack agents at the support desk by family, with a guard and without."),
        "tool": ("agent.tool:app", "List, show and call what agents may use; serve it over MCP."),
    },
    "This machine and this program": {
        "models": ("machine.models:app", "List, fetch and describe models."),
        "config": ("machine.config:app", "Show every setting, its value, and where it came from."),
        "store": ("machine.store:app", "Encrypt the store, change its key, decrypt it."),
        "bench": ("machine.bench:app", "Measure a part on this machine."),
        "catalog": ("machine.catalog:app", "Read what each technique is, when it helps, what it costs."),
    },
}
"""Verbs in the order and under the headings that ``rung --help`` shows: name -> (module of cli : attribute, what it
does)."""

VERBS = {name: verb for panel in PANELS.values() for name, verb in panel.items()}


class Verbs(LateGroup):
    """The group of all verbs; loads a verb when it is asked for."""

    late = VERBS

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, panel in PANELS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in panel.items()])


app = typer.Typer(
    name="rung",
    cls=Verbs,
    help="Climb one ladder: from a plain prompt to a tuned, served model, every step measured with one ruler.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def rung(
    env: Annotated[
        str | None,
        typer.Option("--env", metavar="NAME", help="Use the settings of rung.NAME.toml over those of rung.toml."),
    ] = None,
) -> None:
    """Climb one ladder: from a plain prompt to a tuned, served model, every step measured with one ruler."""
    if env is not None:
        os.environ["RUNG_ENV"] = env  # processes that are started hear of it too


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
    except OSError as error:
        from rung.core.system.files import FULL

        if error.errno not in FULL:
            raise
        typer.echo(f"rung: cannot write {error.filename or 'the output'}: {error.strerror}", err=True)
        typer.echo("  → free some disk space and type the same again; what was answered is kept", err=True)
        os._exit(1)  # what is left in the output's buffer cannot be written either


if __name__ == "__main__":
    main()
