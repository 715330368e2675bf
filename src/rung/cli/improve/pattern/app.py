"""The group of verbs."""

from __future__ import annotations

from collections.abc import Callable

import typer

from rung.cli.base.late import late
from rung.cli.base.options import expand
from rung.cli.improve.pattern import answer, judge, play

STUDIES = {
    "few-shot": ("task.study:few-shot", "Measure how many demonstrations help."),
    "factorial": ("task.study:factorial", "Measure what each of some patterns adds."),
    "agree": ("task.study:agreement", "Find out whether a model judges as people do."),
    "swap": ("task.study:swap", "Find out whether answers change with a name or a gender."),
}
VERBS: dict[str, Callable[..., None]] = {
    "react": answer.react,
    "template": answer.template,
    "refine": answer.refine,
    "verify": judge.verify,
    "combine": answer.combine,
    "audience": answer.audience,
    "flip": play.flip,
    "grade": judge.grade,
    "checked": answer.checked,
    "quiz": play.quiz,
    "language": play.language,
    "recipe": answer.recipe,
    "filter": judge.filter_text,
}

app = typer.Typer(
    cls=late(STUDIES), help="Prompt patterns, one command each.", no_args_is_help=True, rich_markup_mode=None
)
for name, verb in VERBS.items():
    app.command(name)(expand(verb))
