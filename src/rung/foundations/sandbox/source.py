"""The source of a template: parsed, refused where it holds what it may not, and rewritten so that it pays for its
work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from rung.core.errors import InputError
from rung.foundations.sandbox.environment import Sandbox
from rung.foundations.sandbox.work import HIDDEN, TABLES, Dialect

SOURCE = 200_000
"""Characters of a template."""
DEEPEST = 100
"""Nodes of a template inside one another."""
NODES = 20_000
"""Nodes of a template's tree."""

_FORBIDDEN: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from ... import",
    nodes.Extends: "extends",
    nodes.Block: "block",
}
_FORBIDDEN_IN_PROMPTS: Mapping[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter blocks",
    nodes.AssignBlock: "set blocks",
    nodes.Concat: "~ (write the values side by side)",
}

_PLAIN: dict[Dialect, Sandbox] = {"prompt": Sandbox("prompt"), "chat": Sandbox("chat")}


@lru_cache(maxsize=512)
def parse(source: str, file: str = "", line: int = 1, dialect: Dialect = "prompt") -> nodes.Template:
    """The syntax tree of a template. Raises InputError with file and line (``line`` is where ``source`` begins)."""

    def wrong(said: str, remedy: str, at: int = 1) -> InputError:
        return InputError(f"template: {said}", remedy=remedy, file=file or None, line=line + at - 1)

    if "\0" in source:
        raise wrong("it holds a NUL character", "remove it")
    if len(source) > SOURCE:
        raise wrong(f"{len(source):,} characters, at most {SOURCE:,} are allowed", "give long texts as values")
    try:
        tree = _PLAIN[dialect].parse(source)
        found = list(_nodes(tree, DEEPEST))
    except jinja2.TemplateSyntaxError as error:
        raise wrong(
            str(error.message),
            "see the Jinja2 syntax: {{ value }}, {% if %}, {% for %}; text in {% raw %}...{% endraw %} is left alone",
            error.lineno,
        ) from None
    except (RecursionError, MemoryError, ValueError):
        raise wrong("nested too deeply, or with a number too large", "simplify it") from None
    if len(found) > NODES:
        raise wrong(
            f"{len(found):,} pieces, at most {NODES:,} are allowed", "simplify it, or give long texts as values"
        )
    for node in found:
        if isinstance(node, nodes.Filter | nodes.Test):
            known = TABLES[dialect] if isinstance(node, nodes.Filter) else _PLAIN[dialect].tests
            if node.name in HIDDEN or node.name not in known:
                kind = type(node).__name__.lower()
                listed = ", ".join(sorted(name for name in known if name[0].isalpha()))
                raise wrong(f"there is no {kind} {node.name!r}", f"{kind}s: {listed}", node.lineno)
        if what := _forbidden(node, dialect):
            raise wrong(
                f"{what} may not be used in {'prompts' if dialect == 'prompt' else 'chat templates'}",
                "use values, {% if %} and {% for %}; a prompt inherits by `root:` in its front matter",
                node.lineno,
            )
    return tree


def _forbidden(node: nodes.Node, dialect: Dialect) -> str:
    """What a node is that a template may not hold, "" for one that it may."""
    kinds = {**_FORBIDDEN, **(_FORBIDDEN_IN_PROMPTS if dialect == "prompt" else {})}
    if (what := kinds.get(type(node))) is not None:
        return what
    if isinstance(node, nodes.For) and node.recursive:
        return "recursive loops"
    if isinstance(node, nodes.Pair) and not (
        isinstance(node.key, nodes.Const) and isinstance(node.key.value, str | int)
    ):
        return "a key of a mapping that is no text"
    # What begins with an underscore is what a way out of a sandbox begins with. A name that is only made when the
    # template is rendered is refused there.
    name = node.attr if isinstance(node, nodes.Getattr) else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        name = node.arg.value
    if isinstance(name, str) and name.startswith("_"):
        return f"the attribute {name!r}"
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range":
        bounds = [bound.value for bound in node.args if isinstance(bound, nodes.Const)]
        if bounds and len(bounds) == len(node.args) and all(type(bound) is int for bound in bounds):
            return "range() of more than 1,000 numbers" if max(map(abs, bounds)) > 1000 else ""
    return ""


def _nodes(tree: nodes.Node, deepest: int | None = None) -> Iterator[nodes.Node]:
    """Every node. Raises RecursionError below ``deepest``."""
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if deepest is not None and depth > deepest:
            raise RecursionError
        yield node
        waiting.extend((child, depth + 1) for child in node.iter_child_nodes())


def _cost(parts: Sequence[nodes.Node]) -> int:
    """What it costs to go once through some nodes, apart from what they read and make."""
    every = [node for part in parts for node in _nodes(part)]
    return 1 + len(every) + sum(len(node.data) // 64 for node in every if isinstance(node, nodes.TemplateData))


class Metering(NodeTransformer):
    """Puts the calls in that pay. Costs are taken from the inside out, so that a loop in a loop costs its own turns."""

    def visit_For(self, node: Any) -> Any:
        cost = _cost([*node.body, *([node.test] if node.test is not None else [])])
        self.generic_visit(node)
        node.iter = _call(node.iter, "_walk", nodes.Const(cost))
        return node

    def visit_Macro(self, node: Any) -> Any:
        cost = _cost(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call(nodes.Const(cost), "_pay")))
        return node

    visit_CallBlock = visit_Macro

    def visit_Compare(self, node: nodes.Compare) -> nodes.Expr:
        self.generic_visit(node)
        left: nodes.Expr = node.expr
        whole: nodes.Expr | None = None
        for operand in node.ops:
            one = _call(left, "_compare", nodes.Const(operand.op), operand.expr)
            whole = one if whole is None else nodes.And(whole, one, lineno=node.lineno)
            left = operand.expr
        assert whole is not None
        return whole

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            bounds = [bound or nodes.Const(None) for bound in (node.arg.start, node.arg.stop, node.arg.step)]
            return _call(node.node, "_slice", *bounds)
        return node

    def visit_List(self, node: Any) -> nodes.Expr:
        self.generic_visit(node)
        return _call(node, "_build") if getattr(node, "ctx", "load") == "load" else node

    visit_Tuple = visit_Dict = visit_List

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        self.generic_visit(node)
        return _call(node.nodes[0], "_concat", *node.nodes[1:])


def _call(value: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, list(arguments), [], None, None, lineno=value.lineno or 1)


def names(source: str) -> dict[str, int]:
    """The variables that a template reads and the first line (from 1) where each stands."""
    from jinja2.meta import find_undeclared_variables

    tree = parse(source)
    found = find_undeclared_variables(tree) - {"range"}
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in found:
            lines[node.name] = min(lines.get(node.name, node.lineno), node.lineno)
    return lines


def bare(source: str, name: str) -> bool:
    """Whether ``name`` stands in the template only as ``{{ name }}``, outside of conditions, loops and filters."""
    tree = parse(source)
    direct = {
        id(node)
        for output in tree.body
        if isinstance(output, nodes.Output)
        for node in output.nodes
        if isinstance(node, nodes.Name)
    }
    return all(id(node) in direct for node in tree.find_all(nodes.Name) if node.name == name)
