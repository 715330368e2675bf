"""Templates of strangers: whatever they hold, a rendering ends soon and small, or in a clear error."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import InputError
from rung.foundations.sandbox import Dialect, compiled, render

LONG = "b" * 500_000
DOUBLED = "".join(f"{{% set l{n + 1} = [l{n}, l{n}] %}}" for n in range(50))
GROWN = "{% set ns = namespace(v=['b']) %}{% for i in range(80) %}{% set ns.v = [ns.v, ns.v] %}{% endfor %}"
VALUES = {
    "long": LONG,
    "ones": "1" * 500_000,
    "rows": [{"n": str(n)} for n in range(3000)],
    "text": "hello",
    "messages": [],
}

HOSTILE: list[tuple[Dialect, str]] = [
    ("prompt", "{{ 2.5|round(90000000) }}"),
    ("prompt", "{% set l0 = ['b'] %}" + DOUBLED + "{{ l50 == l49 }}"),
    ("prompt", "{% set l0 = ['b'] %}" + DOUBLED + "{{ l50|tojson }}"),
    ("prompt", "{% set l0 = ['b'] %}" + DOUBLED + "{{ [l50]|unique|list|length }}"),
    ("prompt", "{% set l0 = ['b'] %}" + DOUBLED + "{{ l50 in [l49] }}"),
    ("prompt", "{% set l0 = ['b'] %}" + DOUBLED + "{{ text[l50] }}"),
    ("prompt", "{% for a in range(999) %}" * 3 + "{% endfor %}" * 3),
    ("prompt", "{% for a in range(999) %}" * 2 + "{{ (a + 7) // 3 }}" + "{% endfor %}" * 2),
    ("prompt", "{% for a in range(999) %}{% if long[:] == long[1:] %}{% endif %}{% endfor %}"),
    ("prompt", "{% for a in range(999) %}{{ long.split('c')|length }}{% endfor %}"),
    ("prompt", "{% for a in range(999) %}{{ long|upper|lower|length }}{% endfor %}"),
    ("prompt", "{% for a in range(999) %}{{ rows|map(attribute='n')|sort|list|length }}{% endfor %}"),
    ("prompt", "{% for a in range(999) %}{{ 'c' in long }}{% endfor %}"),
    ("prompt", "{{ ones|int(base=2) }}"),
    ("prompt", "{% set n = 9 ** 99 %}" + "{% set n = n * n %}" * 12 + "{{ n }}"),
    ("prompt", "{{ " + "(" * 4000 + "1" + ")" * 4000 + " }}"),
    ("prompt", "{{ " + "+".join(["1"] * 6000) + " }}"),
    ("prompt", "{% for a in [1] %}" * 30 + "{% endfor %}" * 30),
    ("prompt", "{% if text %}" * 300 + "{% endif %}" * 300),
    ("prompt", "{{ 1 }}" * 30_000),
    ("prompt", "b" * 300_000),
    ("prompt", "{{ " + "7" * 9000 + " }}"),
    ("prompt", "{{ {[1]: 2} }}"),
    ("prompt", "{% macro m() %}{% endmacro %}"),
    ("chat", "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}"),
    ("chat", "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(50) }}"),
    ("chat", GROWN + "{{ ns.v }}"),
    ("chat", GROWN + "{{ ns.v == ns.v }}"),
    ("chat", "{% set s = 'bbbbbbbb' %}" + "{% set s = s ~ s %}" * 40 + "{{ s|length }}"),
    ("chat", "{% set s = 'bbbbbbbb' %}" + "{% set s = s.replace('b', s) %}" * 20 + "{{ s|length }}"),
    ("chat", "{% set s = 'bbbbbbbb' %}" + "{% set s = s.join([s, s, s]) %}" * 40 + "{{ s|length }}"),
    ("chat", "{% for a in range(999) %}{% set s %}{% for b in range(999) %}bbbbbbbb{% endfor %}{% endset %}{% endfor %}"),
    ("chat", "{{ messages.__class__.__mro__ }}"),
    ("chat", "{{ text.center(10 ** 9) }}"),
    ("chat", "{{ '%1000000000d' % 1 }}"),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "source"), HOSTILE)
def test_no_template_runs_for_long_or_grows(dialect: Dialect, source: str) -> None:
    with pytest.raises(InputError):
        render(source, VALUES, dialect=dialect)


@pytest.mark.parametrize(
    ("dialect", "source", "text"),
    [
        ("prompt", "{{ text|upper }} {{ rows[:2]|map(attribute='n')|join(',') }}", "HELLO 0,1"),
        ("prompt", "{{ 1 < 2 <= 2 }}{{ 3 in [1, 2] }}{{ 7 // 2 }}{{ 2.345|round(1) }}", "TrueFalse32.3"),
        ("prompt", "{% for r in rows if r.n == '7' %}{{ loop.index }}: {{ r.n }}{% endfor %}", "1: 7"),
        (
            "prompt",
            "{{ [3, 1, 2]|sort|join }}{{ ['a', 'a']|unique|list|length }}{{ {'k': [1]}|tojson }}",
            '1231{"k": [1]}',
        ),
        ("chat", "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('a') ~ m(x='b') }}", "<a><b>"),
        ("chat", "{% for r in rows %}{% if loop.index > 2 %}{% break %}{% endif %}{{ r['n'] }}{% endfor %}", "01"),
        (
            "chat",
            "{% set ns = namespace(n=0) %}{% for r in rows[:3] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        (
            "chat",
            "{% for r in rows[:1] %}{{ text.replace('l', 'L') }}{{ ' x '.strip() }}{% endfor %}{{ nothing }}",
            "heLLox",
        ),
        ("chat", "{% set s %}a{{ text }}{% endset %}{{ s is string }}{{ none is defined }}", "TrueTrue"),
    ],
)
def test_what_templates_need_works(dialect: Dialect, source: str, text: str) -> None:
    assert render(source, VALUES, dialect=dialect) == text


def test_what_is_not_there_is_named_in_json_too() -> None:
    with pytest.raises(InputError, match="has no attribute 'nosuch'"):
        render("{{ [topic.nosuch]|tojson }}", {"topic": "bees"})


def test_a_chat_template_may_refuse() -> None:
    with pytest.raises(InputError, match="roles must take turns"):
        render("{{ raise_exception('roles must take turns') }}", {}, dialect="chat")


PIECES = [
    "{{", "}}", "{%", "%}", "for", "in", "if", "endif", "endfor", "set", "x", "rows", "text", "|", "list", "map", "(", ")", "[", "]",
    "range", "999", "**", "*", "~", "'b'", ":", ",", ".", "=", "==", " ", "\n", "macro", "endmacro", "loop", "__class__", "{#", "#}",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["prompt", "chat"]))
def test_only_clear_errors(pieces: list[str], dialect: Dialect) -> None:
    with contextlib.suppress(InputError):
        render(" ".join(pieces), VALUES, dialect=dialect)
    compiled.cache_clear()
