"""``rung pattern``: use one prompt pattern from the shell, or measure what patterns add."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.late import late

if TYPE_CHECKING:
    from rung.core.protocols import Program
    from rung.core.types import Answer, Interval
    from rung.models import Pool

STUDIES = {
    "few-shot": ("study:few-shot", "Measure how many demonstrations help."),
    "factorial": ("study:factorial", "Measure what each of some patterns adds."),
    "agree": ("study:agreement", "Find out whether a model judges as people do."),
    "swap": ("study:swap", "Find out whether answers change with a name or a gender."),
}

app = typer.Typer(
    cls=late(STUDIES), help="Prompt patterns, one command each.", no_args_is_help=True, rich_markup_mode=None
)

Text = Annotated[str, typer.Option("-i", "--input", metavar="TEXT", help="The input; - reads standard input.")]
ModelName = Annotated[str | None, typer.Option("-m", "--model", metavar="MODEL", help="Model, as provider:name.")]
Order = Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What to do with the input.")]
Passages = Annotated[
    Path | None, typer.Option("--passages", metavar="FILE", help="Text file (a passage a paragraph) or a task file.")
]
Steps = Annotated[bool, typer.Option("--steps", help="Show every call.")]


def _run(work: Callable[[Pool], Awaitable[None]], model: str | None) -> None:
    import asyncio

    from rung.core.settings import Settings
    from rung.models import Pool

    settings = Settings({"model": model})

    async def whole() -> None:
        async with Pool(settings, default=settings["model"]) as pool:
            await work(pool)

    asyncio.run(whole())


def _read(text: str) -> str:
    import sys

    from rung.core.errors import InputError

    text = sys.stdin.read() if text == "-" else text
    if not text.strip():
        raise InputError("the input is empty", remedy='give it: -i "..."')
    return text.strip()


def _passages(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    from rung.core.errors import InputError

    if path.suffix in (".yaml", ".yml") or not path.exists() or path.is_dir():
        from rung import tasks

        found = dict(tasks.load(str(path)).passages)
    else:
        try:
            paragraphs = [part.strip() for part in path.read_text(encoding="utf-8").split("\n\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read it: {error}", file=path, remedy="name a text file") from None
        found = {f"{path.stem}-{number}": text for number, text in enumerate(filter(None, paragraphs), 1)}
    if not found:
        raise InputError("there are no passages in it", file=path, remedy="name a text file with paragraphs")
    return found


def _show(answer: Answer, steps: bool) -> None:
    import json

    if steps:
        for step in answer.steps:
            typer.echo(f"[{step.name}] {step.reply}" + (f"  ({step.note})" if step.note else ""), err=True)
    if answer.failure is not None:
        typer.echo(f"rung: no answer ({answer.failure.where}): {answer.failure.message}", err=True)
        raise typer.Exit(1)
    typer.echo(
        answer.output if isinstance(answer.output, str) else json.dumps(answer.output, ensure_ascii=False, indent=2)
    )


def _ask(make: Callable[[Pool], Program], text: str, model: str | None, steps: bool) -> None:
    question = _read(text)

    async def work(pool: Pool) -> None:
        _show(await make(pool)(question), steps)

    _run(work, model)


def _span(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


@app.command("react")
def react(
    text: Text,
    model: ModelName = None,
    prompt: Order = "Answer the question.",
    passages: Passages = None,
    limit: Annotated[int, typer.Option(min=1, help="Steps at most.")] = 6,
    steps: Steps = False,
) -> None:
    """Thought, action, observation until the answer; tools: search over the passages, calculator."""
    from rung.prompts.patterns.react import ReactProgram
    from rung.prompts.template.prompt import Prompt

    found = _passages(passages)
    _ask(
        lambda pool: ReactProgram(pool.model(), passages=found, prompt=Prompt(prompt), limit=limit), text, model, steps
    )


@app.command("template")
def template(
    text: Text,
    sections: Annotated[str, typer.Option("--sections", metavar="[A][B]", help="The template of the answer.")],
    model: ModelName = None,
    prompt: Order = "",
    width: Annotated[int, typer.Option(min=1, help="Characters of a section at most.")] = 300,
    steps: Steps = False,
) -> None:
    """Answer under an output template such as [Introduction][Summary][Conclusion]; prints the sections as JSON."""
    from rung.prompts.patterns.outline import Outline, OutlineProgram
    from rung.prompts.template.prompt import Prompt

    outline = Outline.parse(sections, width=width)
    _ask(lambda pool: OutlineProgram(outline, pool.model(), prompt=Prompt(prompt)), text, model, steps)


@app.command("refine")
def refine(
    text: Text, model: ModelName = None, rounds: Annotated[int, typer.Option(min=1, help="Rewritings at most.")] = 1
) -> None:
    """Put a question better; prints the original where no rewriting kept its meaning."""
    from rung.prompts.patterns import refine as room

    question = _read(text)

    async def work(pool: Pool) -> None:
        found = await room.refine(pool.model(), question, rounds=rounds)
        typer.echo(found.question)
        if found.why:
            typer.echo(f"rung: a rewriting was not used: {found.why}", err=True)

    _run(work, model)


@app.command("verify")
def verify(
    text: Annotated[
        str, typer.Option("-i", "--input", metavar="TEXT", help="The text to verify; - reads standard input.")
    ] = "",
    source: Annotated[Path | None, typer.Option("--source", metavar="FILE", help="What it must agree with.")] = None,
    model: ModelName = None,
    planted: Annotated[bool, typer.Option("--planted", help="Plant false claims in the source and measure.")] = False,
) -> None:
    """Split a text into claims and hold each against a source, with the evidence; exit code 1 when one does not hold."""
    from rung.core.errors import InputError
    from rung.prompts.patterns import verify as room

    if source is None:
        raise InputError("there is no source", remedy='type: rung pattern verify -i "..." --source FILE')
    try:
        against = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the source: {error}", file=source, remedy="name a text file") from None
    claims = "" if planted else _read(text)

    async def work(pool: Pool) -> None:
        if planted:
            found = await room.detect(pool.model(), against, room.plant(against))
            typer.echo(f"{found.claims} claims, {found.false} planted false, {found.flagged} flagged")
            typer.echo(f"precision {_span(found.precision) if found.precision else 'undefined: nothing was flagged'}")
            typer.echo(
                f"recall    {_span(found.recall) if found.recall else 'undefined: nothing false could be planted'}"
            )
            return
        verdict = await room.verify(pool.model(), claims, against)
        for item in verdict.findings:
            typer.echo(f"{item.verdict}: {item.claim}\n  {item.why}")
            if item.evidence is not None:
                typer.echo(f"  [{item.evidence.start}:{item.evidence.end}] {item.evidence.text}")
        if not verdict.holds:
            raise typer.Exit(1)

    _run(work, model)


@app.command("combine")
def combine(
    text: Text,
    task: Annotated[str, typer.Argument(help="A task file, its folder, or a built-in pack.")],
    parts: Annotated[str, typer.Option("--parts", metavar="A+B", help="persona+few-shot=3+cot, in any order.")],
    model: ModelName = None,
    steps: Steps = False,
) -> None:
    """Answer an input of a task with several patterns at once."""
    from rung import tasks
    from rung.prompts.patterns.combine import compose

    loaded = tasks.load(task)
    _ask(lambda pool: compose(loaded, parts, pool), text, model, steps)


@app.command("audience")
def audience(
    text: Text,
    reader: Annotated[str, typer.Option("--for", metavar="READER", help="Who reads it: a high-school student.")],
    model: ModelName = None,
    prompt: Order = "Explain it.",
    steps: Steps = False,
) -> None:
    """Answer for a reader; prints the text's reading grade too."""
    from rung.prompts.patterns.audience import reading_grade
    from rung.prompts.program import Options, PromptProgram
    from rung.prompts.template.prompt import Prompt

    question = _read(text)

    async def work(pool: Pool) -> None:
        answer = await PromptProgram(Prompt(prompt, audience=reader), pool.model(), Options())(question)
        _show(answer, steps)
        if any(letter.isascii() and letter.isalpha() for letter in answer.output):
            typer.echo(f"reading grade {reading_grade(answer.output):.1f} (Flesch-Kincaid, English)", err=True)

    _run(work, model)


@app.command("flip")
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
    """The model asks you until it knows what it needs, then answers; an empty answer ends the questions."""
    import asyncio

    from rung.core.errors import InputError
    from rung.prompts.patterns.flip import Script, Slot, User, interview

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
        _show(found.answer, steps=False)
        missing = f", missing: {', '.join(found.missing)}" if found.missing else ""
        typer.echo(f"{len(found.filled)} of {len(slots)} slots filled in {found.turns} turns{missing}", err=True)

    _run(work, model)


@app.command("grade")
def grade(
    text: Annotated[
        str, typer.Option("-i", "--input", metavar="TEXT", help="The work to grade; - reads standard input.")
    ],
    assignment: Annotated[str, typer.Option("-p", "--prompt", metavar="TEXT", help="What was to be done.")],
    rubric: Annotated[
        str, typer.Option(help="A rubric's name, or criteria: 'clarity: Is it clear?; ...'")
    ] = "helpfulness",
    model: ModelName = None,
) -> None:
    """Grade a work by a rubric, 1 to 5 for each criterion, with feedback."""
    from rung.core.errors import ModelError
    from rung.prompts.patterns import grade as room

    work_text = _read(text)

    async def work(pool: Pool) -> None:
        found = await room.grade(pool.model(), rubric, assignment, work_text)
        if found.grade is None:
            raise ModelError(found.failure, remedy="use another model: -m PROVIDER:NAME")
        typer.echo(f"grade {found.grade:.1f} of {room.GRADES}")
        for item in found.remarks:
            typer.echo(f"  {item.criterion} {item.grade:.1f}: {item.feedback}")

    _run(work, model)


@app.command("checked")
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
    """Answer under instructions that a program can check, made part of the answer's form; exit code 1 when one is missed."""
    from rung.core.types import Sampling
    from rung.metrics.instructions import parse_instruction
    from rung.prompts.patterns.checked import CheckedProgram
    from rung.prompts.program import Options

    instructions = tuple(parse_instruction(one) for one in rule)
    said = _read(text)

    def judge(answer: str, enforced: tuple[Any, ...]) -> None:
        for one in instructions:
            verdict = "followed" if one.holds(answer) else "followed loosely" if one.holds_loosely(answer) else "missed"
            typer.echo(f"{verdict}: {one}" + (" (enforced)" if one in enforced else ""), err=True)
        if not all(one.holds(answer) for one in instructions):
            raise typer.Exit(1)

    if only:
        judge(said, ())
        return

    async def work(pool: Pool) -> None:
        options = Options(sampling=Sampling(max_tokens=max_tokens))
        program = CheckedProgram(pool.model(), options=options, rules=instructions, grammar=not free)
        answer = await program(said)
        _show(answer, steps=False)
        judge(str(answer.output), () if free else program.compiled(said).kept)

    _run(work, model)


@app.command("quiz")
def quiz(
    passages: Annotated[
        Path, typer.Option("--passages", metavar="FILE", help="Text file, task file or pack to ask about.")
    ],
    model: ModelName = None,
    rounds: Annotated[int, typer.Option(min=1, help="Questions.")] = 5,
    worded: Annotated[bool, typer.Option("--worded", help="Let the model word the questions (checked).")] = False,
    level: Annotated[int, typer.Option(min=1, max=3, help="Difficulty to begin with.")] = 1,
    seed: Annotated[int, typer.Option(help="Equal seeds, equal questions.")] = 0,
    show: Annotated[bool, typer.Option("--show", help="Print the questions with their keys; play nothing.")] = False,
) -> None:
    """Play a quiz about some texts: multiple choice, checked keys, a difficulty that follows you."""
    import asyncio

    from rung.prompts.patterns.quiz import Quiz

    found = _passages(passages)

    async def work(pool: Pool) -> None:
        game = Quiz(found, pool.model() if worded else None, seed=seed, level=level)
        for number in range(1, rounds + 1):
            question = await game.ask()
            if question is None:
                typer.echo("There is nothing more to ask about.")
                break
            typer.echo(f"\n{number}. (level {question.level}) {question.text}")
            for index, option in enumerate(question.options, 1):
                typer.echo(f"   {index}) {option}")
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

    _run(work, model)


@app.command("language")
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
    import json

    from rung.core.errors import InputError
    from rung.prompts.patterns.earley import Node
    from rung.prompts.patterns.language import Language, interpret, speak, template_action

    try:
        own = Language.parse(bnf.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read it: {error}", file=bnf, remedy="name a text file with BNF") from None
    said = _read(text)
    meant = {}
    for one in action or ():
        rule, equals, template = one.partition("=")
        if not equals or rule not in own.rules:
            raise InputError(
                f"got the action {one!r}", remedy=f"write RULE=TEMPLATE with one of {', '.join(own.rules)}"
            )
        meant[rule] = template_action(template)
    shots = [(order.strip(), spoken.strip()) for order, _, spoken in (one.partition("=>") for one in shot or ())]

    def tell(node: Node) -> None:
        value = interpret(node, meant) if meant else node.shown()
        typer.echo(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    if parse:
        node = own.read(said)
        if node is None:
            raise InputError(f"{said[:60]!r} is not of the language", remedy="correct it or the BNF")
        tell(node)
        return

    async def work(pool: Pool) -> None:
        answer = await speak(pool.model(), own, said, shots=shots)
        if answer.failure is not None:
            _show(answer, steps=False)
        typer.echo(answer.raw)
        tell(answer.output)

    _run(work, model)


@app.command("recipe")
def recipe(
    text: Text,
    model: ModelName = None,
    ways: Annotated[int, typer.Option("-n", "--ways", min=1, help="Different ways to find.")] = 1,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="A constraint that ranks them; may be repeated.")
    ] = None,
    alike: Annotated[float, typer.Option(min=0.01, max=1.0, help="Likeness above which two are the same.")] = 0.5,
) -> None:
    """Steps to a goal; with -n several different ways, ranked by constraints."""
    from rung.prompts.patterns.recipe import approaches

    goal = _read(text)

    async def work(pool: Pool) -> None:
        found = await approaches(pool.model(), goal, n=ways, constraints=tuple(rule or ()), alike=alike)
        for number, way in enumerate(found.found, 1):
            if ways > 1:
                kept = f", keeps the rules {way.score:.2f}" if rule else ""
                typer.echo(f"way {number}{kept}")
            for index, step in enumerate(way.steps, 1):
                typer.echo(f"  {index}. {step}")
        if ways > 1:
            typer.echo(f"similarity of the two closest: {found.closest:.2f}; rejected: {found.rejected}", err=True)
        if found.failure is not None:
            typer.echo(f"rung: {found.failure.message}", err=True)
            raise typer.Exit(1)

    _run(work, model)


@app.command("filter")
def filter_text(
    text: Annotated[
        str, typer.Option("-i", "--input", metavar="TEXT", help="A text to check; - reads standard input.")
    ] = "",
    harmless: Annotated[
        Path | None, typer.Option("--harmless", metavar="PATH", help="Measure: harmless texts.")
    ] = None,
    harmful: Annotated[Path | None, typer.Option("--harmful", metavar="PATH", help="Measure: harmful texts.")] = None,
    column: Annotated[str, typer.Option(help="The field of the texts, where rows have several.")] = "",
    words: Annotated[str, typer.Option(help="Block these words, with commas between, in place of the rules.")] = "",
    train: Annotated[
        bool, typer.Option("--train", help="Train on every other text of both, measure on the rest.")
    ] = False,
) -> None:
    """Check a text with the content filter (exit code 1: blocked), or measure how often the filter is wrong."""
    from rung.core.errors import InputError
    from rung.safety import filter as room

    listed = [word.strip() for word in words.split(",") if word.strip()]
    own: room.Filter = room.RuleFilter(words=listed)
    if harmless is None and harmful is None:
        verdict = own(_read(text))
        typer.echo(f"blocked ({verdict.why})" if verdict.blocked else "passed")
        raise typer.Exit(1 if verdict.blocked else 0)
    fine = room.read_texts(harmless, column) if harmless is not None else []
    bad = room.read_texts(harmful, column) if harmful is not None else []
    if train:
        if not fine or not bad:
            raise InputError("a filter is trained on both kinds", remedy="give --harmless PATH --harmful PATH")
        own = room.TrainedFilter.fit(bad[::2], fine[::2])
        fine, bad = fine[1::2], bad[1::2]
    found = room.measure(own, fine, bad)
    if found.false_positives is not None:
        typer.echo(f"false positives {_span(found.false_positives)} of {found.harmless} harmless texts")
    if found.caught is not None:
        typer.echo(f"caught          {_span(found.caught)} of {found.harmful} harmful texts")
    for one, why in found.wrong:
        typer.echo(f"  wrongly blocked ({why}): {one[:100]!r}")
