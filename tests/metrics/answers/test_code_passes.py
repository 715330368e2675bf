"""Code that is run against its tests."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from rung.core.errors import InputError, RungError
from rung.core.types import Case, Failure
from rung.metrics.answers.code import Passes, open_passes, program
from rung.metrics.mean import pass_at
from rung.sandbox import open_sandbox

PROMPT = 'import math\n\ndef half(n):\n    return n // 2\n\ndef area(r):\n    """Area of a disc."""\n'
TESTS = "def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-3\n    assert candidate(0) == 0\n"
BODY = "    return math.pi * r ** 2\n"
WHOLE = f"Here it is:\n```python\ndef area(r):\n{BODY}```\nIt squares the radius."


@pytest.fixture(scope="module")
def passes() -> Passes:
    try:
        return Passes(open_sandbox("bubblewrap"))
    except RungError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (BODY, ""), (WHOLE, ""), (f"def area(r):\n{BODY}", ""), (f"```\n{PROMPT}{BODY}", ""), ("    return half(r)\n", "AssertionError"),
        ("    return (\n", "SyntaxError"), ("", "Error"), ("    import os; os._exit(0)\n", "ended before"),
        ("    raise SystemExit(0)\n", "ended before"), (None, "Error"), ("    return open('/etc/passwd').read()\n", "FileNotFoundError"),
    ],
)  # fmt: skip
async def test_an_answer_passes_or_says_why(passes: Passes, output: Any, why: str) -> None:
    (score,) = await passes.score([Case({"prompt": PROMPT}, output, TESTS)])
    assert score.value == float(why == "")
    assert why in score.why


async def test_statements_are_tests_too(passes: Passes) -> None:
    tests = ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]
    question = {"text": "Write a function to add two numbers."}
    scores = await passes.score(
        [Case(question, f"def add(a, b):\n    return {body}\n", tests) for body in ("a + b", "a - b")]
        + [Case(question, None, tests, failure=Failure("model", "away"))]
    )
    assert [score.value for score in scores] == [1.0, 0.0, 0.0]


async def test_of_several_tries_one_may_pass(passes: Passes) -> None:
    tries = [BODY, "    return 1\n", "    return 2\n"]
    (one,) = await passes.score([Case({"prompt": PROMPT}, tries, TESTS)])
    (two,) = await Passes(passes.sandbox, 2).score([Case({"prompt": PROMPT}, tries, TESTS)])
    assert one.value == pytest.approx(1 / 3)
    assert two.value == pytest.approx(2 / 3)
    assert two.why.startswith("1 of 3 pass")


def test_the_estimator_counts_draws() -> None:
    for n in range(1, 7):
        for passed in range(n + 1):
            for k in range(1, n + 1):
                draws = list(combinations(range(n), k))
                share = sum(any(item < passed for item in draw) for draw in draws) / len(draws)
                assert pass_at(n, passed, k) == pytest.approx(share)
    for n, k in ((1, 2), (3, 0)):
        with pytest.raises(InputError):
            pass_at(n, 1, k)


def test_what_is_run_is_put_together() -> None:
    assert program(PROMPT, BODY, TESTS) == f"{PROMPT}{BODY}\n\n{TESTS}\ncheck(area)\n"
    assert "def half" in program(PROMPT, WHOLE, TESTS)
    assert program("", "x = 1", ["assert x"]) == "x = 1\n\nassert x\n"
    assert program("", "x = 1", TESTS + "check(print)").count("check(print)") == 1


def test_k_is_a_number() -> None:
    for bad in ("0", "-1", "many"):
        with pytest.raises(InputError):
            open_passes(bad, None)  # type: ignore[arg-type]
