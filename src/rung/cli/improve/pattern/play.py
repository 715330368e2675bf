"""Patterns that talk: interview, quiz, and a small language of one's own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import ModelName
from rung.cli.improve.pattern.shared import Text, read_file, read_passages, read_text, show, work_with
from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.models import Pool
from rung.prompts.patterns.dialogue.flip import Script, Slot, User, interview
from rung.prompts.patterns.dialogue.quiz import Quiz
from rung.prompts.patterns.language.earley import Node
from rung.prompts.patterns.language.language import Language, interpret, speak, template_action


def flip(
    goal: Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What is done once all is known.")],
    slot: Annotated[
        list[str], typer.Option("--slot", help="What must be known: city, people:number, size:small|large.")
    ],
    text: Annotated[str, typer.Option("-i", "--input", metavar="TEXT", help="What you say first.")] = "",
    model: ModelName = None,
    fact: Annotated[
        list[str] | None, typer.Option("--fact", metavar="SLOT=TEXT", help="A scripted user's answer.")
    ] = None,
    turns: Annotated[int, typer.Option(min=0, help="Questions at most; 0: two a slot.")] = 0,
) -> None:
    """Let the model ask you until it knows what it needs, then answers; an empty answer ends the questions."""
    slots = [Slot.parse(one) for one in slot]
    pairs = [one.partition("=") for one in fact or ()]
    if wrong := next((name for name, equals, _ in pairs if not equals), None):
        raise InputError(f"got the fact {wrong!r}", remedy="write --fact city=Oslo")

    async def prompted(question: str) -> str:
        return str(await asyncio.to_thread(typer.prompt, question, default="", show_default=False))

    user: User = Script({name: said for name, _, said in pairs}) if pairs else prompted

    async def work(pool: Pool) -> None:
        found = await interview(pool.model(), goal, slots, user, opening=text, turns=turns)
        for question, said in found.dialogue if pairs else ():
            typer.echo(f"? {question}\n> {said}", err=True)
        show(found.answer)
        missing = f", missing: {', '.join(found.missing)}" if found.missing else ""
        typer.echo(f"{len(found.filled)} of {len(slots)} slots filled in {found.turns} turns{missing}", err=True)

    work_with(model, work)


@dataclass(frozen=True, slots=True)
class Game:
    """How a quiz is played."""

    rounds: int = option(5, "Questions.", low=1)
    worded: bool = option(False, "Let the model word the questions (checked).", flags=("--worded",))
    level: int = option(1, "Difficulty to begin with.", low=1, high=3)
    seed: int = option(0, "Equal seeds, equal questions.")


def quiz(
    passages: Annotated[
        Path, typer.Option("--passages", metavar="FILE", help="Text file, task file or pack to ask about.")
    ],
    play: Game,
    model: ModelName = None,
    show: Annotated[bool, typer.Option("--show", help="Print the questions with their keys; play nothing.")] = False,
) -> None:
    """Play a quiz about some texts: multiple choice, checked keys, a difficulty that follows you."""
    found = read_passages(passages)

    async def work(pool: Pool) -> None:
        game = Quiz(found, pool.model() if play.worded else None, seed=play.seed, level=play.level)
        for number in range(1, play.rounds + 1):
            question = await game.ask()
            if question is None:
                typer.echo("There is nothing more to ask about.")
                break
            typer.echo(f"\n{number}. (level {question.level}) {question.text}")
            for index, text in enumerate(question.options, 1):
                typer.echo(f"   {index}) {text}")
            if show:
                typer.echo(f"   key: {question.key}, from {question.passage}")
                continue
            choice = 0
            while not 1 <= choice <= len(question.options):
                choice = int(await asyncio.to_thread(typer.prompt, "Your choice", type=int))
            right = game.tell(question, choice - 1)
            typer.echo("Right." if right else f"No: {question.key}. ({question.sentence})")
        if not show:
            score = game.progress
            typer.echo(f"\n{score.right} of {score.asked} right, {score.points} points, level {score.level}")

    work_with(model, work)


def language(
    bnf: Annotated[Path, typer.Option("--bnf", metavar="FILE", help='The language: <a> ::= "text" | <b> | /regex/')],
    text: Text,
    model: ModelName = None,
    shot: Annotated[list[str] | None, typer.Option("--shot", metavar="ORDER=>TEXT", help="An example.")] = None,
    action: Annotated[
        list[str] | None, typer.Option("--action", metavar="RULE=TEMPLATE", help="What a rule means: 'move=go {1}'.")
    ] = None,
    parse: Annotated[
        bool, typer.Option("--parse", help="The input is a text of the language: only interpret it.")
    ] = False,
) -> None:
    """Say something in a small language of your own; prints the text and what it means (or its parse)."""
    own = Language.parse(read_file(bnf))
    said = read_text(text)
    meant = {}
    for one in action or ():
        rule, equals, template = one.partition("=")
        if not equals or rule not in own.rules:
            known = ", ".join(own.rules)
            raise InputError(f"got the action {one!r}", remedy=f"write RULE=TEMPLATE with one of {known}")
        meant[rule] = template_action(template)
    shots = [(order.strip(), spoken.strip()) for order, _, spoken in (one.partition("=>") for one in shot or ())]

    def tell(node: Node) -> None:
        value = interpret(node, meant) if meant else node.shown()
        typer.echo(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    async def work(pool: Pool) -> None:
        answer = await speak(pool.model(), own, said, shots=shots)
        if answer.failure is not None:
            show(answer)
        typer.echo(answer.raw)
        tell(answer.output)

    if not parse:
        work_with(model, work)
    elif (node := own.read(said)) is not None:
        tell(node)
    else:
        raise InputError(f"{said[:60]!r} is not of the language", remedy="correct it or the BNF")
