"""Writing and repairing functions: judged by hidden tests, in a sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.agents.environments.code.mutations import mutations
from rung.agents.environments.code.tasks import read_tasks
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.policies.given.repair import Repair
from rung.agents.policies.given.scripted import Scripted
from rung.agents.program.program import AgentProgram
from rung.core.errors import InputError, RungError
from rung.sandbox import open_sandbox

HEAD = '''def clamp(x, low, high):
    """Keep x between two bounds.
    >>> clamp(5, 0, 3)
    3
    >>> clamp(-1, 0, 3)
    0
    """
'''
BODY = """    if x < low:
        return low
    return high if x > high else x
"""
ROWS = [
    {"task_id": "T/0", "prompt": HEAD, "canonical_solution": BODY, "entry_point": "clamp",
     "test": "def check(f):\n    assert f(5, 0, 3) == 3\n    assert f(-1, 0, 3) == 0\n    assert f(2, 0, 3) == 2\n"},
    {"task_id": 2, "text": "Write a function to double.", "code": "def double(x):\r\n    return x + x\r\n", "test_setup_code": "",
     "test_list": ["assert double(2) == 4", "assert double(3) == 6"]},
]  # fmt: skip
LIMITS = EpisodeLimits(steps=60, loops=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "tasks.jsonl"
    made.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return made


async def solved(policy: Any, name: str, file: Path, scenario: str) -> dict[str, Any]:
    program = AgentProgram(policy, environment=f"{name}:{file}", limits=LIMITS)
    answer = await program({"scenario": scenario})
    found: dict[str, Any] = json.loads(answer.steps[-1].reply)
    return found


def test_tasks_of_both_kinds(file: Path) -> None:
    one, two = read_tasks(file)
    assert one.shown == ("assert (clamp(5, 0, 3)) == (3)", "assert (clamp(-1, 0, 3)) == (0)")
    assert two.shown == ("assert double(2) == 4",)
    assert "double(3)" not in two.prompt
    file.write_text('{"task_id": 3}\n')
    with pytest.raises(InputError):
        read_tasks(file)


def test_every_change_is_one_token_and_can_be_taken_back() -> None:
    code = "def f(x):\n    # 1 < 2\n    return x <= 10 and x != 3\n"
    found = mutations(code)
    assert all(one.line == 3 and one.code != code for one in found)
    assert all(code in {back.code for back in mutations(one.code)} for one in found)
    assert mutations("def f(:\n  '") == []


async def test_hidden_tests_judge_and_search_repairs(file: Path) -> None:
    try:
        open_sandbox("bubblewrap")
    except RungError:
        pytest.skip("no bubblewrap here")
    assert (await solved(Scripted(), "code", file, "1"))["solved"]
    wrong = Scripted(calls=({"tool": "submit", "arguments": {"code": "def double(x):\n    return 4"}},))
    assert "hidden test" in (await solved(wrong, "code", file, "1"))["missing"][0]
    assert not (await solved(Repair(tries=0), "code-repair", file, "1"))["solved"]
    assert (await solved(Repair(), "code-repair", file, "1"))["solved"]
    leaves = Scripted(calls=({"tool": "submit", "arguments": {"code": "import os\nos._exit(0)"}},))
    assert not (await solved(leaves, "code", file, "0"))["solved"]
