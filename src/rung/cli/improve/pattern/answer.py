"""Patterns that answer an input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung import tasks
from rung.cli.base.options import ModelName, TaskName
from rung.cli.improve.pattern.shared import Order, Steps, Text, ask, read_passages, read_text, show, work_with
from rung.core.types import Sampling
from rung.metrics.rules.instructions import CheckableInstruction, parse_instruction
from rung.models import Pool
from rung.prompts.patterns.asking.audience import reading_grade
from rung.prompts.patterns.asking.outline import Outline, OutlineProgram
from rung.prompts.patterns.checking import refine as rewriting
from rung.prompts.patterns.checking.checked.program import CheckedProgram
from rung.prompts.patterns.combine import compose
from rung.prompts.patterns.dialogue.recipe import Variety, approaches
from rung.prompts.patterns.lookup.react import ReactProgram
from rung.prompts.program import Options, PromptProgram
from rung.prompts.template.prompt import Prompt


def react(
    text: Text,
    model: ModelName = None,
    prompt: Order = "Answer the question.",
    passages: Annotated[
        Path | None,
        typer.Option("--passages", metavar="FILE", help="Text file (a passage a paragraph) or a task file."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Steps at most.")] = 6,
    steps: Steps = False,
) -> None:
    """Alternate thought, action and observation until the answer; tools: search over the passages, calculator."""
    found = read_passages(passages)
    order = Prompt(prompt)
    ask(lambda pool: ReactProgram(pool.model(), passages=found, prompt=order, limit=limit), text, model, steps)


def template(
    text: Text,
    sections: Annotated[str, typer.Option("--sections", metavar="[A][B]", help="The template of the answer.")],
    model: ModelName = None,
    prompt: Order = "",
    width: Annotated[int, typer.Option(min=1, help="Characters of a section at most.")] = 300,
    steps: Steps = False,
) -> None:
    """Answer under an output template such as [Introduction][Summary][Conclusion]; prints the sections as JSON."""
    outline = Outline.parse(sections, width=width)
    ask(lambda pool: OutlineProgram(outline, pool.model(), prompt=Prompt(prompt)), text, model, steps)


def refine(
    text: Text, model: ModelName = None, rounds: Annotated[int, typer.Option(min=1, help="Rewritings at most.")] = 1
) -> None:
    """Put a question better; prints the original where no rewriting kept its meaning."""
    question = read_text(text)

    async def work(pool: Pool) -> None:
        found = await rewriting.refine(pool.model(), question, rounds=rounds)
        typer.echo(found.question)
        if found.why:
            typer.echo(f"rung: a rewriting was not used: {found.why}", err=True)

    work_with(model, work)


def combine(
    text: Text,
    task: TaskName,
    parts: Annotated[str, typer.Option("--parts", metavar="A+B", help="persona+few-shot=3+cot, in any order.")],
    model: ModelName = None,
    steps: Steps = False,
) -> None:
    """Answer an input of a task with several patterns at once."""
    loaded = tasks.load(task)
    ask(lambda pool: compose(loaded, parts, pool), text, model, steps)


def audience(
    text: Text,
    reader: Annotated[str, typer.Option("--for", metavar="READER", help="Who reads it: a high-school student.")],
    model: ModelName = None,
    prompt: Order = "Explain it.",
    steps: Steps = False,
) -> None:
    """Answer for a reader; prints the text's reading grade too."""
    question = read_text(text)

    async def work(pool: Pool) -> None:
        answer = await PromptProgram(Prompt(prompt, audience=reader), pool.model(), Options())(question)
        show(answer, steps)
        if any(letter.isascii() and letter.isalpha() for letter in answer.output):
            typer.echo(f"reading grade {reading_grade(answer.output):.1f} (Flesch-Kincaid, English)", err=True)

    work_with(model, work)


def checked(
    text: Text,
    rule: Annotated[
        list[str], typer.Option("--rule", help="no_comma, 'number_bullet_lists num_bullets=3'; may be repeated.")
    ],
    model: ModelName = None,
    free: Annotated[bool, typer.Option("--free", help="Leave the answer's form to the model.")] = False,
    only: Annotated[bool, typer.Option("--only", help="The input is the answer: check it, ask nothing.")] = False,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=16, help="Longest answer.")] = 224,
) -> None:
    """Answer under instructions that a program can check, made part of the answer's form; exit code 1 when one is
    missed."""
    rules = tuple(parse_instruction(one) for one in rule)
    said = read_text(text)

    def judge(answer: str, enforced: tuple[CheckableInstruction, ...]) -> None:
        for one in rules:
            verdict = "followed" if one.holds(answer) else "followed loosely" if one.holds_loosely(answer) else "missed"
            typer.echo(f"{verdict}: {one}" + (" (enforced)" if one in enforced else ""), err=True)
        if not all(one.holds(answer) for one in rules):
            raise typer.Exit(1)

    async def work(pool: Pool) -> None:
        options = Options(sampling=Sampling(max_tokens=max_tokens))
        program = CheckedProgram(pool.model(), options=options, rules=rules, grammar=not free)
        answer = await program(said)
        show(answer)
        judge(str(answer.output), () if free else program.compiled(said).kept)

    if only:
        judge(said, ())
    else:
        work_with(model, work)


def recipe(
    text: Text,
    model: ModelName = None,
    ways: Annotated[int, typer.Option("-n", "--ways", min=1, help="Different ways to find.")] = 1,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="A constraint that ranks them; may be repeated.")
    ] = None,
    alike: Annotated[float, typer.Option(min=0.01, max=1.0, help="Likeness above which two are the same.")] = 0.5,
) -> None:
    """List the steps to a goal; with -n several different ways, ranked by constraints."""
    goal = read_text(text)

    async def work(pool: Pool) -> None:
        found = await approaches(pool.model(), goal, Variety(ways, alike=alike), constraints=tuple(rule or ()))
        for number, way in enumerate(found.found, 1):
            if ways > 1:
                typer.echo(f"way {number}" + (f", keeps the rules {way.score:.2f}" if rule else ""))
            for index, step in enumerate(way.steps, 1):
                typer.echo(f"  {index}. {step}")
        if ways > 1:
            typer.echo(f"similarity of the two closest: {found.closest:.2f}; rejected: {found.rejected}", err=True)
        if found.failure is not None:
            typer.echo(f"rung: {found.failure.message}", err=True)
            raise typer.Exit(1)

    work_with(model, work)
