"""Where an optimizer's next prompts come from: edits of one prompt's words, parts, rendering and demonstrations.

Every source but ``reflection`` needs no clever model: it takes what it says from the task file, from train, or from a short
list of phrasings. None of them sees an answer to dev.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log

import numpy as np

from rung.core.types import Example, Input, Message, Request, Result, Sampling, Task, text_of
from rung.foundations.text.words import words as words_of
from rung.foundations.tfidf import Tfidf
from rung.prompts.program import PromptProgram
from rung.prompts.search.bootstrap import swapped
from rung.prompts.select import Kind, Selector
from rung.prompts.template.prompt import Prompt, Shot, describe
from rung.prompts.template.render import STYLES, fence, show
from rung.prompts.template.template import Template, Variable

LONGEST = 800
"""Characters of a rewritten instruction at most."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A program to try, where it came from (``source``) and what is different, in a few words."""

    program: PromptProgram
    source: str
    note: str


@dataclass
class Material:
    """What proposals are made of. ``pool`` is shown as demonstrations; ``feedback`` are the parent's answers to training
    examples that are kept out of the pool; ``rivals`` are the other prompts on the front; ``metric`` names the score."""

    task: Task
    pool: tuple[Example, ...]
    metric: str
    seed: int = 0
    feedback: Sequence[Result] = ()
    rivals: Sequence[PromptProgram] = ()
    _selectors: dict[Kind, Selector] = field(default_factory=dict)

    def selector(self, kind: Kind, k: int) -> Selector:
        """The pool's vectors are made once for each kind."""
        if kind not in self._selectors:
            self._selectors[kind] = Selector(kind, k, self.pool, seed=self.seed)
        return self._selectors[kind].with_k(k)

    @property
    def right(self) -> list[Example]:
        return [result.example for result in self.feedback if result.scores[self.metric].value >= 1]

    @property
    def wrong(self) -> list[Result]:
        return [result for result in self.feedback if result.scores[self.metric].value < 1]


def parts_of(program: PromptProgram) -> Prompt:
    """The words of a program's prompt."""
    return program.prompt.parts if isinstance(program.prompt, Template) else program.prompt


def editable(program: PromptProgram) -> bool:
    """Whether its words can be edited part by part: a template with a body of turns has only its demonstrations."""
    return not (isinstance(program.prompt, Template) and program.prompt.body)


def style_of(program: PromptProgram) -> str:
    return (program.prompt.style or "chat") if isinstance(program.prompt, Template) else program.prompt.style


def with_parts(program: PromptProgram, parts: Prompt) -> PromptProgram:
    """The same program saying ``parts``."""
    prompt = program.prompt
    changed = _hashed(replace(prompt, parts=parts)) if isinstance(prompt, Template) else parts
    return PromptProgram(changed, program.model, program.options, program.selector, program.weights)


def with_selector(program: PromptProgram, selector: Selector | None) -> PromptProgram:
    """The same words with other demonstrations; those inside the prompt give way to the selector's."""
    if selector is not None and parts_of(program).examples and editable(program):
        program = with_parts(program, parts_of(program).drop("examples"))
    return PromptProgram(program.prompt, program.model, program.options, selector, program.weights)


def _styled(program: PromptProgram, style: str) -> PromptProgram:
    prompt = program.prompt
    changed = _hashed(replace(prompt, style=style)) if isinstance(prompt, Template) else prompt.styled(style)
    return PromptProgram(changed, program.model, program.options, program.selector, program.weights)


def _hashed(template: Template) -> Template:
    return replace(template, origin=template.hash())


# ---------------------------------------------------------------- demonstrations


def nearest(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The training examples most like the input, how many varied around what the parent shows; then the same but diverse."""
    kinds: tuple[Kind, ...] = ("knn", "mmr")
    for kind in kinds:
        for k in _counts(parent, kind, (4, 8, 2, 1, 12)):
            if k < len(material.pool):
                yield _shown(parent, material.selector(kind, k), "nearest", f"{kind}, {k} for each input")


def coverage(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """Examples that together cover the input's words."""
    for k in _counts(parent, "coverage", (5, 3, 8)):
        if k < len(material.pool):
            yield _shown(parent, material.selector("coverage", k), "coverage", f"coverage, {k} for each input")


def balanced(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One fixed draw for every input, labels in turn."""
    labels = len(material.task.form.labels)
    for draw in range(16):
        for k in dict.fromkeys((min(max(labels, 4), 12), 4, 8)):
            if k <= len(material.pool):
                fixed = Selector("random", k, material.pool, seed=material.seed + draw)
                yield _shown(parent, fixed, "balanced", f"{k} fixed, labels in turn, draw {draw + 1}")


def bootstrap(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """Held-out training examples that the parent answers rightly (Khattab et al. 2023); then those it gets wrong, with the
    right answer."""
    found = (("answered rightly", material.right), ("answered wrongly", [result.example for result in material.wrong]))
    for word, examples in found:
        for k in (8, 4, 2):
            if k <= len(examples) or (examples and k == 2):
                drawn = Selector("random", min(k, len(examples)), examples, seed=material.seed)
                yield _shown(parent, drawn, "bootstrap", f"{drawn.k} held-out training examples that it {word}")


def swap(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One of the parent's fixed demonstrations for another, of a reference that is often missed."""
    selector = parent.selector
    if selector is None or selector.kind != "random" or not selector.shown or len(material.pool) <= selector.k:
        return
    rng = random.Random(material.seed)
    for _ in range(24):
        shots = swapped(selector.shown, material.pool, material.feedback, material.metric, rng)
        out = [example.id for example in selector.shown if example not in shots]
        new = [example.id for example in shots if example not in selector.shown]
        yield _shown(parent, Selector.fixed(shots, seed=material.seed), "swap", f"{_ids(out)} for {_ids(new)}")


def bare(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """No demonstrations, or half as many."""
    if (selector := parent.selector) is None:
        return
    if selector.kind == "random" and selector.k > 1:
        half = selector.shown[: selector.k // 2]
        yield _shown(parent, Selector.fixed(half, seed=selector.seed), "fewer", f"the first {len(half)} demonstrations")
    yield Proposal(with_selector(parent, None), "fewer", "no demonstrations")


def _shown(parent: PromptProgram, selector: Selector, source: str, note: str) -> Proposal:
    return Proposal(with_selector(parent, selector), source, f"demonstrations: {note}")


def _counts(parent: PromptProgram, kind: Kind, usual: Sequence[int]) -> list[int]:
    selector = parent.selector
    if selector is None or selector.kind != kind:
        return list(usual)
    k = selector.k
    return [n for n in dict.fromkeys((2 * k, k // 2, k + 1, k - 1, *usual)) if 1 <= n <= 16 and n != k]


def _ids(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


# ---------------------------------------------------------------- words and parts

_WORDINGS: tuple[tuple[str, str], ...] = (
    ("read first", "Read the {fields} carefully. {instruction}"),
    ("meaning, not words", "{instruction} Decide by what the {fields} means as a whole, not by single words."),
    ("most specific", "{instruction} Where several answers seem right, give the most specific one."),
    ("given first", "You are given the {fields}. {instruction}"),
    ("to the point", "{instruction} Answer at once, without explanation."),
    ("follow examples", "{instruction} Answer as in the examples."),
    ("expert", "As an expert would do it: {instruction}"),
    ("check", "{instruction} Before you answer, check that the answer fits every part of the {fields}."),
)


def wording(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The task's instruction put another way, from a list of phrasings."""
    parts = parts_of(parent)
    stem = material.task.instruction.strip() or parts.instruction.strip()
    fields = " and ".join(material.task.fields) or "text"
    for name, pattern in _WORDINGS:
        if name == "follow examples" and parent.selector is None and not parts.examples:
            continue
        said = pattern.format(instruction=stem, fields=fields)
        yield _said(parent, replace(parts, instruction=said), "wording", f"instruction: {name}")
    if parts.instruction.strip() != stem:
        yield _said(parent, replace(parts, instruction=stem), "wording", "instruction: the task's own")


def notes(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """What each label means, from train: its most telling words, or its most typical example."""
    task, parts = material.task, parts_of(parent)
    if task.form.kind != "labels" or len(material.pool) < len(task.form.labels):
        return
    for name, found in (
        ("typical examples", typical(material.pool, task.form.labels)),
        ("telling words", telling(material.pool, task.form.labels)),
    ):
        said = describe(task.form, replace(task, label_notes=found))
        yield _said(parent, replace(parts, format=said), "notes", f"labels explained by {name} of train")
    if task.label_notes:
        yield _said(parent, replace(parts, format=describe(task.form, task)), "notes", "the task's label notes")
    listed = "Labels:\n" + "\n".join(f"- {label}" for label in task.form.labels)
    yield _said(parent, replace(parts, format=f"{listed}\nAnswer with one of them."), "notes", "labels one a line")
    plain = describe(task.form)
    if parts.format != plain:
        yield _said(parent, replace(parts, format=plain), "notes", "no label notes")


def telling(examples: Sequence[Example], labels: Sequence[str], most: int = 4) -> dict[str, str]:
    """For each label the words whose log-odds to be in its examples rather than in the others' are highest."""
    inside: dict[str, Counter[str]] = {label: Counter() for label in labels}
    everywhere: Counter[str] = Counter()
    for example in examples:
        words = {word for word in words_of(text_of(example.input)) if len(word) > 2}
        everywhere.update(words)
        inside.setdefault(str(example.reference), Counter()).update(words)
    out = {}
    for label in labels:
        mine, n = inside[label], sum(str(example.reference) == label for example in examples)
        others = len(examples) - n
        odds = {
            word: mine[word] * log((mine[word] + 0.5) / (n + 1) * (others + 1) / (everywhere[word] - mine[word] + 0.5))
            for word in mine
        }
        best = sorted(odds, key=lambda word: (-odds[word], word))[:most]
        if best:
            out[label] = f"often with the words {', '.join(best)}"
    return out


def typical(examples: Sequence[Example], labels: Sequence[str], longest: int = 120) -> dict[str, str]:
    """For each label its training example nearest to the mean of them (TF-IDF), among those that are short enough."""
    texts = [text_of(example.input) for example in examples]
    rows = Tfidf.fit(texts).transform(texts)
    out = {}
    for label in labels:
        mine = [i for i, example in enumerate(examples) if str(example.reference) == label]
        short = [i for i in mine if len(texts[i]) <= longest] or mine
        if mine:
            mean = np.asarray(rows[mine].mean(axis=0)).ravel()
            near = np.asarray(rows[short] @ mean).ravel()
            out[label] = f"for example {_short(texts[short[int(near.argmax())]], longest)!r}"
    return out


def _short(text: str, longest: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


_STOCK: Mapping[str, tuple[str, ...]] = {
    "labels": ("Give the closest label even when unsure.", "Write the label exactly as it is listed."),
    "number": ("Write digits only, without a unit.", "Work out every quantity before you answer."),
    "text": ("Use the words of the input where you can.", "Be brief.", "Write nothing but the answer."),
    "json": ("Leave out nothing that the input says.", "Copy names and numbers exactly."),
    "regex": ("Write nothing but the answer.",),
    "grammar": ("Write nothing but the answer.",),
}


def constraints(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """One rule more (the task's first, then stock ones for the answer's form), all of the task's, or one rule less."""
    task, parts = material.task, parts_of(parent)
    if task.constraints and parts.constraints != task.constraints:
        yield _said(parent, replace(parts, constraints=task.constraints), "constraints", "all of the task's rules")
    for rule in (*task.constraints, *_STOCK[task.form.kind]):
        if rule not in parts.constraints:
            more = (*parts.constraints, rule)
            yield _said(parent, replace(parts, constraints=more), "constraints", f"rule added: {rule}")
    for rule in parts.constraints:
        fewer = tuple(other for other in parts.constraints if other != rule)
        yield _said(parent, replace(parts, constraints=fewer), "constraints", f"rule dropped: {rule}")


def parts(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The persona in or out, the format out or back."""
    task, said = material.task, parts_of(parent)
    if task.persona and not said.persona:
        yield _said(parent, replace(said, persona=task.persona), "parts", "persona added")
    if said.format and (parent.selector is not None or said.examples):
        yield _said(parent, said.drop("format"), "parts", "format dropped: the demonstrations show it")
    if not said.format and (form := describe(task.form, task)):
        yield _said(parent, replace(said, format=form), "parts", "format added")
    for part in ("persona", "audience", "context"):
        if getattr(said, part):
            yield _said(parent, said.drop(part), "parts", f"{part} dropped")


def rendering(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The same parts in another rendering."""
    for style in ("plain", "markdown", "xml", "brackets", "chat"):
        if style != style_of(parent) and style in STYLES:
            yield Proposal(_styled(parent, style), "rendering", f"rendered as {style}")


def merge(parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """The parent's words with a rival's demonstrations, and a rival's words with the parent's (GEPA's crossover)."""
    for rival in material.rivals:
        if rival.selector is not None:
            yield Proposal(with_selector(parent, rival.selector), "merge", "demonstrations of another good prompt")
    for rival in material.rivals:
        if parent.selector is not None and rival.prompt != parent.prompt:
            yield Proposal(with_selector(rival, parent.selector), "merge", "words of another good prompt")


def _said(parent: PromptProgram, parts: Prompt, source: str, note: str) -> Proposal:
    return Proposal(with_parts(parent, parts), source, note)


Source = Callable[[PromptProgram, Material], Iterator[Proposal]]
REFLECTION = "reflection"
SOURCES: dict[str, Source | None] = {
    "nearest": nearest,
    "balanced": balanced,
    "bootstrap": bootstrap,
    "notes": notes,
    "wording": wording,
    "coverage": coverage,
    "rendering": rendering,
    REFLECTION: None,
    "constraints": constraints,
    "merge": merge,
    "swap": swap,
    "parts": parts,
    "fewer": bare,
}
"""Every source by name, in the order in which each is first asked; ``reflection`` asks a model and is a function of its own."""

_WORDS = {"notes", "wording", "rendering", REFLECTION, "constraints", "parts"}


def propose(name: str, parent: PromptProgram, material: Material) -> Iterator[Proposal]:
    """What the source ``name`` makes of ``parent``, best guesses first."""
    source = SOURCES[name]
    if source is None or (name in _WORDS and not editable(parent)):
        return iter(())
    return source(parent, material)


# ---------------------------------------------------------------- reflection


def reflection(parent: PromptProgram, material: Material, turn: int, most: int = 4) -> Request | None:
    """The question to the reflector: the parent's instruction and training examples that it got wrong (reflective
    mutation; Agrawal et al. 2025, GEPA, arXiv:2507.19457). None where nothing went wrong or no word may be changed."""
    wrong = material.wrong
    if not wrong or not editable(parent):
        return None
    chosen = random.Random(material.seed + turn).sample(wrong, min(most, len(wrong)))
    cases = "\n\n".join(
        f"Case {at}, input:\n{fence(text_of(result.example.input))}\n"
        f"It answered: {_said_instead(result)}\nRight answer: {show(result.example.reference)}"
        for at, result in enumerate(chosen, 1)
    )
    parts = parts_of(parent)
    rules = "".join(f"\n- {rule}" for rule in parts.constraints)
    said = (
        f"An assistant follows this instruction:\n{fence(parts.instruction + rules)}\n\n"
        f"It made these mistakes:\n\n{cases}\n\n"
        "Write a better instruction that would have prevented such mistakes. It must hold for any input, so do not repeat "
        "the cases. Use one to four sentences. Write the instruction only."
    )
    messages = (Message("system", "You improve instructions for assistants."), Message("user", said))
    return Request(messages, Sampling(temperature=0.8, top_p=0.95, max_tokens=160, seed=turn), repeat=turn)


def _content(text: str) -> set[str]:
    """The words that mean something. A rewriting that keeps few of the task's can win on dev by luck, never by sense."""
    return {word for word in words_of(text) if len(word) > 3}


def _said_instead(result: Result) -> str:
    answer = result.answer
    return _short(show(answer.output) if answer.failure is None else answer.raw or answer.failure.message, 200)


_LEADING = re.compile(
    r"^(?:text\n)?(?:\W*(?:here(?:'s| is)[^\n:]*|(?:(?:new|better|improved|revised|the) )*instruction)\W*:\W*)?",
    re.IGNORECASE,
)
"""What stands before an instruction in a chatty reply: the mark of a code block, "Here is a better instruction:"."""


def rewritten(parent: PromptProgram, material: Material, reply: str) -> tuple[Proposal | None, str]:
    """The reflector's reply as a proposal, or why it cannot be one: empty, nothing new, too long, about something
    else, a case repeated."""
    text = _LEADING.sub("", reply.strip().strip("`").strip())
    text = text.partition("\n\n")[0].strip().strip('"“”`*').strip()
    parts = parts_of(parent)
    if len(text) < 12:
        return None, "the reflector wrote next to nothing"
    if len(text) > LONGEST:
        return None, f"the reflector wrote {len(text):,} characters"
    if text == parts.instruction.strip():
        return None, "the reflector wrote the same instruction"
    if "{{" in text or "{%" in text:
        return None, "the reflector wrote template code"
    told, kept = _content(material.task.instruction), _content(text)
    if told and 3 * sum(any(word[:5] == other[:5] for other in kept) for word in told) < len(told):
        return None, "the reflector wrote about something else"
    plain = " ".join(text.split()).casefold()
    for result in material.feedback:
        case = " ".join(text_of(result.example.input).split()).casefold()
        if len(case) >= 16 and (case in plain or plain in case):
            return None, "the reflector repeated a case"
    program = with_parts(parent, replace(parts, instruction=text))
    return Proposal(program, REFLECTION, "instruction rewritten after mistakes on train"), ""


# ---------------------------------------------------------------- shown to people


def written(program: PromptProgram) -> str:
    """A program's prompt and demonstrations as lines that can be compared."""
    parts = parts_of(program)
    lines: list[str] = []
    for name in ("persona", "audience", "instruction", "context"):
        if text := getattr(parts, name).strip():
            lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    if parts.constraints:
        lines += ["constraints:", *(f"  - {rule}" for rule in parts.constraints)]
    if parts.format.strip():
        lines += ["format:", *(f"  {line}" for line in parts.format.splitlines())]
    if isinstance(program.prompt, Template) and program.prompt.body:
        lines += ["body:", *(f"  {line}" for line in program.prompt.body.splitlines())]
    lines.append(f"rendering: {style_of(program)}")
    shots: list[tuple[Input, str]] = [(dict(shot.input), shot.output) for shot in parts.examples]
    selector = program.selector
    if selector is not None and selector.kind != "random":
        lines.append(f"demonstrations: {selector.kind}, {selector.k} of {len(selector.pool):,} for each input")
    elif selector is not None:
        shots += [(example.input, show(example.reference)) for example in selector.shown]
    if shots:
        lines.append("demonstrations:")
        lines += [f"  - {_short(text_of(given), 160)} → {_short(output, 80)}" for given, output in shots]
    return "\n".join(lines) + "\n"


def template_of(program: PromptProgram, name: str) -> Template:
    """The words of a program as a template: it renders what the program sends. Demonstrations that are always the same are
    in it; those that are chosen for each input are not (``template: {prompt: FILE, k: 4, select: knn}`` adds them)."""
    if isinstance(program.prompt, Template):
        template = replace(program.prompt, name=name)
    else:
        said = program.prompt
        literal = replace(
            said,
            persona=_literal(said.persona),
            audience=_literal(said.audience),
            instruction=_literal(said.instruction),
            context=_literal(said.context),
            format=_literal(said.format),
            constraints=tuple(map(_literal, said.constraints)),
            style="chat",
        )
        variables = tuple(Variable(field) for field in program.options.fields)
        template = Template(name, literal, variables=variables, style=program.prompt.style)
    selector = program.selector
    if selector is not None and selector.kind == "random":
        shots = (*template.parts.examples, *map(Shot.of, selector.shown))
        template = replace(template, parts=replace(template.parts, examples=shots))
    return template


def _literal(text: str) -> str:
    """The text as Jinja2 that renders to it."""
    return f"{{% raw %}}{text}{{% endraw %}}" if re.search(r"\{[{%#]", text) else text
