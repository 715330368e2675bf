from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.core.types import Request
from rung.models.providers.fake import CAPABILITIES, Fake
from rung.prompts.patterns.language.language import Language, interpret, speak, template_action

SUM = """
# sums and products, left to right
<sum> ::= <sum> "+" <product> | <product>
<product> ::= <product> "*" <value>
            | <value>
<value> ::= /[0-9]{1,3}/ | "(" <sum> ")"
"""
ACTIONS = {
    "sum": lambda v: v[0] + v[2] if len(v) == 3 else v[0],
    "product": lambda v: v[0] * v[2] if len(v) == 3 else v[0],
    "value": lambda v: v[1] if len(v) == 3 else int(v[0]),
}
ROBOT = '<orders> ::= <order> | <order> "; " <orders>\n<order> ::= "go " <where> | "stop" | ""\n<where> ::= "left" | "right"'


@pytest.mark.parametrize(("text", "value"), [("1+2*3", 7), ("(1+2)*3", 9), ("7", 7), ("1+2+3*(4+5)", 30)])
def test_left_recursion_precedence_and_meaning(text: str, value: int) -> None:
    node = Language.parse(SUM).read(text)
    assert node is not None
    assert node.text == text
    assert interpret(node, ACTIONS) == value


@pytest.mark.parametrize("text", ["", "1+", "+1", "1234", "(1", "1 + 2", "1**2"])
def test_what_is_not_of_the_language(text: str) -> None:
    assert Language.parse(SUM).read(text) is None


expressions = st.recursive(
    st.integers(0, 999).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+*"), inner).map("".join), inner.map(lambda text: f"({text})")
    ),
    max_leaves=8,
)


@given(expressions)
def test_it_computes_what_python_does(text: str) -> None:
    node = Language.parse(SUM).read(text)
    assert node is not None
    assert interpret(node, ACTIONS) == eval(text)


def test_empty_alternatives_and_cycles_end() -> None:
    robot = Language.parse(ROBOT)
    assert robot.read("") is not None
    assert robot.read("go left; ; stop") is not None
    assert robot.read("; ") is not None
    loop = Language.parse('<a> ::= <a> | <b> <a> | "x"\n<b> ::= "" | <b>')
    found = loop.read("x")
    assert found is not None
    assert found.text == "x"


@pytest.mark.parametrize(
    ("bnf", "text"), [('<s> ::= <s> <s> | "b"', "b" * 1500), ("<w> ::= <c> | <c> <w>\n<c> ::= /[a-z]/", "word" * 300)]
)
def test_a_parse_that_would_not_end_soon_is_refused(bnf: str, text: str) -> None:
    with pytest.raises(InputError, match=r"steps to parse|too deeply"):
        Language.parse(bnf).read(text)


def test_templates_as_meaning() -> None:
    node = Language.parse(ROBOT).read("go left; stop")
    assert node is not None
    actions = {"order": template_action("[{0}{1}]"), "orders": template_action("{0} {2}")}
    assert interpret(node, actions) == "[go left] [stop] "
    with pytest.raises(InputError, match="action of <where>"):
        interpret(node, {"where": lambda values: math.sqrt(-1)})


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "expected a rule"),
        ("nonsense", "expected a rule"),
        ("<a> ::= <b>", "not defined"),
        ('<a> ::= "x" <a>', "never ends"),
        ("<a> ::= x", "cannot read"),
        ("<a> ::= /(/", "correct the regular"),
        ("<a> ::= /x*/", "matches nothing"),
        ("<a> ::= /(x|y)+z/", "as a rule"),
    ],
)
def test_a_wrong_grammar(source: str, why: str) -> None:
    with pytest.raises(InputError) as raised:
        Language.parse(source)
    assert why in str(raised.value)


def test_the_form_is_bounded_in_depth() -> None:
    form = Language.parse(SUM).form(5)
    assert form.kind == "grammar"
    assert "r0_5: " in form.pattern
    assert "r0_0" not in form.pattern
    with pytest.raises(InputError, match="3 rules deep"):
        Language.parse(SUM).form(2)
    with pytest.raises(InputError, match="characters"):
        Language.parse(SUM).read("1" * 3000)


async def test_it_is_taught_and_enforced() -> None:
    def rule(request: Request) -> str:
        assert "<order>" in request.messages[0].content
        assert request.form.kind == "grammar"
        assert request.messages[2].content == "go left"
        return "go right; stop"

    model = Fake(rule, capabilities=replace(CAPABILITIES, forms=CAPABILITIES.forms | {"grammar"}))
    robot = Language.parse(ROBOT)
    answer = await speak(model, robot, "turn right, then halt", shots=[("turn left", "go left")])
    assert answer.output.shown()[0] == "orders"
    assert answer.raw == "go right; stop"
    with pytest.raises(InputError, match="not of the language"):
        await speak(model, robot, "x", shots=[("a", "fly")])
    lost = await speak(Fake(lambda _: "I turn right."), robot, "x")
    assert lost.failure is not None
    assert lost.failure.where == "parse"


def test_llguidance_compiles_the_form() -> None:
    llguidance = pytest.importorskip("llguidance")
    for source in (SUM, ROBOT):
        grammar = llguidance.grammar_from("grammar", Language.parse(source).form(5).pattern)
        problem = llguidance.LLMatcher.validate_grammar(grammar)
        assert problem == ""
