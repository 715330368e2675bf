"""Meta language: a small language of the user's own, given as BNF, taught to the model, enforced, parsed and
interpreted.

BNF as in ``<order> ::= "move " <where> | <order> "; " <order>``: rules in angle brackets, terminals in quotes, ``|``
between alternatives, ``/[0-9]{1,3}/`` for a terminal by regular expression, ``#`` before a remark. The first rule is
the whole text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rung.core.errors import InputError
from rung.core.parts.program import Storable
from rung.core.protocols import Context, Model, Resources, Traits
from rung.core.text.pattern import compile_pattern
from rung.core.types import Answer, Failure, Input, Message, ResponseFormat, Sampling, Task, as_input, text_of
from rung.prompts.answer import ask, conclude
from rung.prompts.patterns.language.earley import LONGEST, Chart, Node, Symbol
from rung.prompts.program import Options


@dataclass(frozen=True)
class Language:
    """A language: alternatives by rule, the first rule is the start; ``source`` is the BNF it was read from."""

    rules: Mapping[str, tuple[tuple[Symbol, ...], ...]]
    source: str

    @classmethod
    def parse(cls, source: str) -> Language:
        """Read BNF. Raises InputError (with the line) for what cannot be read, a rule that is used and not defined, and
        a rule that no text can satisfy."""
        rules: dict[str, tuple[tuple[Symbol, ...], ...]] = {}
        pending = ""
        lines: list[tuple[int, str]] = []
        for number, line in enumerate(source.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if re.match(r"\s*<[^<>]+>\s*::=", line):
                lines.append((number, line.strip()))
            elif lines:
                lines[-1] = (lines[-1][0], f"{lines[-1][1]} {line.strip()}")
            else:
                pending = line
        if pending or not lines:
            raise InputError(
                f'expected a rule such as <name> ::= "text" | <other>, got {pending.strip()[:60]!r}',
                line=1,
                remedy="write BNF",
            )
        for number, line in lines:
            found = re.match(r"<([^<>]+)>\s*::=\s*(.*)$", line)
            assert found is not None
            name = found[1].strip()
            rules[name] = rules.get(name, ()) + tuple(_alternatives(found[2], number))
        language = cls(rules, source)
        used = {s.value for options in rules.values() for option in options for s in option if s.kind == "rule"}
        if missing := sorted(used - set(rules)):
            raise InputError(f"<{missing[0]}> is used and not defined", remedy=f"add <{missing[0]}> ::= ...")
        if endless := [name for name in rules if name not in language._depths]:
            raise InputError(
                f"<{endless[0]}> never ends: every alternative needs itself", remedy="add one that does not"
            )
        return language

    @property
    def start(self) -> str:
        return next(iter(self.rules))

    @cached_property
    def _depths(self) -> dict[str, int]:
        """By rule, the nesting that its shallowest text needs."""
        depths: dict[str, int] = {}
        while True:
            before = dict(depths)
            for name, options in self.rules.items():
                needs = [
                    1 + max((before[s.value] for s in option if s.kind == "rule"), default=0)
                    for option in options
                    if all(s.kind != "rule" or s.value in before for s in option)
                ]
                if needs:
                    depths[name] = min(needs)
            if depths == before:
                return depths

    def form(self, depth: int = 8) -> ResponseFormat:
        """The closed form of a text, nested ``depth`` rules deep at most: so that a model that goes on and on comes to
        an end.

        Raises InputError where even the shallowest text is deeper.
        """
        if self._depths[self.start] > depth:
            raise InputError(
                f"a text is nested {self._depths[self.start]} rules deep, more than {depth}",
                remedy=f"write depth={self._depths[self.start]} or more",
            )
        numbers = {name: f"r{index}" for index, name in enumerate(self.rules)}
        wanted = [(self.start, depth)]
        done: set[tuple[str, int]] = set()
        lines = [f"start: {numbers[self.start]}_{depth}"]
        while wanted:
            name, left = wanted.pop()
            if (name, left) in done:
                continue
            done.add((name, left))
            options = []
            for option in self.rules[name]:
                if any(s.kind == "rule" and self._depths[s.value] > left - 1 for s in option):
                    continue
                wanted += [(s.value, left - 1) for s in option if s.kind == "rule"]
                words = [f"{numbers[s.value]}_{left - 1}" if s.kind == "rule" else _lark(s) for s in option]
                options.append(" ".join(words) or '""')
            lines.append(f"{numbers[name]}_{left}: {' | '.join(options)}")
        return ResponseFormat("grammar", pattern="\n".join(lines))

    def read(self, text: str) -> Node | None:
        """The parse of ``text`` as the start rule, or None where it is not of the language. Of several parses, the one
        by the alternatives that stand first. Raises InputError for a text above ``LONGEST`` characters, or
        one that takes too long."""
        if len(text) > LONGEST:
            raise InputError(f"got {len(text):,} characters, expected at most {LONGEST:,}", remedy="parse it in pieces")
        try:
            chart = Chart(self.rules, text, self.start)
            whole = (self.start, 0, len(text)) in chart.whole
            return chart.tree(self.start, 0, len(text), frozenset()) if whole else None
        except RecursionError:
            raise InputError("the text is nested too deeply", remedy="parse it in pieces") from None


def _lark(symbol: Symbol) -> str:
    return json.dumps(symbol.value, ensure_ascii=False) if symbol.kind == "text" else f"/{symbol.value}/"


def _alternatives(text: str, line: int) -> Iterator[tuple[Symbol, ...]]:
    option: list[Symbol] = []
    at = 0
    token = re.compile(r'\s*(?:<([^<>]+)>|"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|/((?:[^/\\]|\\.)+)/|(\|))')
    text = text.rstrip()
    while at < len(text):
        found = token.match(text, at)
        if found is None:
            raise InputError(
                f"cannot read {text[at:].strip()[:40]!r}", line=line, remedy='write <rule>, "text", /regex/ or |'
            )
        rule, double, single, pattern, bar = found.groups()
        at = found.end()
        if bar:
            yield tuple(option)
            option = []
        elif rule is not None:
            option.append(Symbol("rule", rule.strip()))
        elif pattern is not None:
            option.append(_terminal(pattern, line))
        elif literal := (_unescape(double) if double is not None else single):
            option.append(Symbol("text", literal))
    yield tuple(option)


def _terminal(source: str, line: int) -> Symbol:
    """A terminal by regular expression. It is tried at every place without a deadline, so it is one that ends."""
    try:
        empty = compile_pattern(source).fullmatch("") is not None
    except InputError as error:
        raise InputError(error.message, line=line, remedy="correct the regular expression") from None
    if empty:
        raise InputError(f"/{source}/ matches nothing at all", line=line, remedy='write "" for nothing')
    if len(re.findall(r"(?<!\\)[*+?{]", source)) > 2 or re.search(r"\)[*+?{]|\\\d", source):
        raise InputError(
            f"/{source}/ repeats a group, or repeats more than twice",
            line=line,
            remedy="write the repetition as a rule",
        )
    return Symbol("regex", source)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), text)


Action = Callable[[Sequence[Any]], Any]
"""What a rule means: from its parts' values (a terminal's value is its text) to its own."""


def interpret(node: Node, actions: Mapping[str, Action]) -> Any:
    """The value of a parsed text, from the leaves up. A rule without an action is the value of its only part, else its
    text.

    Raises InputError when an action fails, naming its rule.
    """
    if not node.rule:
        return node.text
    values = [interpret(part, actions) for part in node.parts]
    if node.rule not in actions:
        return values[0] if len(values) == 1 else node.text
    try:
        return actions[node.rule](values)
    except Exception as error:
        raise InputError(
            f"the action of <{node.rule}> failed on {node.text[:60]!r}: {error}", remedy="correct the action"
        ) from error


def template_action(template: str) -> Action:
    """An action from a text such as ``go {0} by {2}``: parts by their number; a part that is not there is nothing."""
    return lambda values: re.sub(
        r"\{(\d+)\}", lambda found: str(values[int(found[1])]) if int(found[1]) < len(values) else "", template
    )


async def speak(
    model: Model,
    language: Language,
    order: str,
    *,
    shots: Sequence[tuple[str, str]] = (),
    depth: int = 8,
    sampling: Sampling | None = None,
    repeat: int = 0,
) -> Answer:
    """Teach the language and say ``order`` in it. The output is the parsed Node, ``raw`` the text.

    ``shots`` are orders with their text; each must be of the language (InputError). Under constrained decoding every
    reply that is not cut at ``max_tokens`` parses.
    """
    for _, text in shots:
        if language.read(text) is None:
            raise InputError(f"the example {text[:60]!r} is not of the language", remedy="correct it or the BNF")
    taught = (
        "Translate what the user says into a small language. Write one text of the language and nothing else. "
        f"Its grammar in BNF, the first rule is the whole text:\n{language.source.strip()}"
    )
    messages = [Message("system", taught)]
    for said, text in shots:
        messages += [Message("user", said), Message("assistant", text)]
    messages.append(Message("user", order))
    form = language.form(depth) if "grammar" in model.capabilities.forms else ResponseFormat()
    sampling = sampling or Sampling()
    sampling = replace(sampling, seed=(sampling.seed or 0) + repeat)
    answer = conclude([await ask(model, tuple(messages), form, sampling, repeat=repeat)])
    if answer.failure is not None:
        return answer
    node = language.read(answer.raw) or language.read(answer.raw.strip())
    if node is None:
        said = f"not of the language: {answer.raw[:80]!r}"
        return replace(answer, output=None, failure=Failure("parse", said))
    return replace(answer, output=node)


# ---------------------------------------------------------------- as a program


@dataclass(eq=False)
class LanguageProgram(Storable):
    """Says the input in the language ``bnf``. The output is that text, or what it means where ``actions`` (templates by
    rule) say so."""

    kind: ClassVar[str] = "language"

    model: Model
    bnf: str
    _: KW_ONLY
    options: Options = Options()
    shots: tuple[tuple[str, ...], ...] = ()
    actions: Mapping[str, str] = field(default_factory=dict)
    depth: int = 8

    def __post_init__(self) -> None:
        self.language = Language.parse(self.bnf)
        if unknown := sorted(set(self.actions) - set(self.language.rules)):
            raise InputError(
                f"there is an action for {unknown[0]!r}, which is no rule",
                remedy=f"rules: {', '.join(self.language.rules)}",
            )
        self.language.form(self.depth)

    async def __call__(self, input: Input | str, *, repeat: int = 0) -> Answer:
        order = text_of(as_input(input, self.options.fields))
        shots = [(shot[0], shot[1]) for shot in self.shots]
        answer = await speak(
            self.model, self.language, order,
            shots=shots, depth=self.depth, sampling=self.options.sampling, repeat=repeat,
        )  # fmt: skip
        if answer.failure is not None:
            return answer
        meant = {name: template_action(text) for name, text in self.actions.items()}
        return replace(answer, output=interpret(answer.output, meant) if meant else answer.output.text)


@dataclass(frozen=True)
class MetaLanguage:
    """The answer in a small language of your own: ``bnf`` is its BNF, or a file with it beside the task file. ``shots``
    training examples whose references are of the language are shown; ``actions`` (rule: template) say what a text
    means."""

    traits: ClassVar[Traits] = Traits(optional=True)

    bnf: str = ""
    shots: int = 4
    actions: Mapping[str, str] = field(default_factory=dict)
    depth: int = 8

    def obstacle(self, task: Task, resources: Resources) -> str:
        if not self.bnf:
            return "it needs a language: meta-language: {bnf: FILE} in the task file"
        return "" if task.form.kind in ("text", "grammar") else f"the answer has a form of its own ({task.form.kind})"

    async def fit(self, task: Task, context: Context) -> LanguageProgram:
        source = self.bnf if "::=" in self.bnf else _read_bnf(Path(task.path).parent / self.bnf)
        language = Language.parse(source)
        shots = [
            (text_of(example.input), example.reference)
            for example in task.train
            if isinstance(example.reference, str) and not self.actions and language.read(example.reference) is not None
        ]
        return LanguageProgram(
            context.resources.model(),
            source,
            options=Options.of(task),
            shots=tuple(shots[: self.shots]),
            actions=self.actions,
            depth=self.depth,
        )


def _read_bnf(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the BNF: {error}", file=path, remedy="name a text file beside the task file"
        ) from None
