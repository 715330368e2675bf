"""Whatever is wrong with a workflow file is told with its line, before anything is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.parts.problem import Problem, Problems
from rung.models import Pool
from rung.workflow.program import WorkflowProgram, examine

HEAD = """workflow: w
inputs: [topic]
agents:
  a: {policy: {name: scripted, calls: [], output: said}}
"""


def look(tmp_path: Path, steps: str, head: str = HEAD) -> tuple[WorkflowProgram | None, tuple[Problem, ...]]:
    file = tmp_path / "flow.yaml"
    file.write_text(head + steps)
    problems = Problems()
    found = examine(file, Pool(), problems)
    return found, problems.close()


def test_an_input_that_is_named_twice_has_its_line(tmp_path: Path) -> None:
    head = HEAD.replace("[topic]", "[topic, other, topic]")
    found, problems = look(tmp_path, "steps:\n  - {value: topic + other, output: x}\n", head)
    assert found is None
    assert ("twice", 2) in {(problem.code, problem.line) for problem in problems}


@pytest.mark.parametrize(
    ("steps", "code", "line"),
    [
        ("steps:\n  - {agent: a, task: 'of {{ topic }} {{ facts }}', output: x}\n", "missing-input", 6),
        ("steps:\n  - {agent: b, task: '{{ topic }}', output: x}\n", "no-part", 6),
        ("steps:\n  - {value: topic, output: x}\n  - {value: topic, output: x, name: y}\n", "output-twice", 7),
        ("steps:\n  - {value: topic, output: topic}\n", "output-twice", 6),
        ("steps:\n  - {value: y, output: x}\n  - {value: x + topic, output: y}\n", "circle", 6),
        ("steps:\n  - {value: topic, output: x}\noutputs: [z]\n", "missing-output", 7),
        ("steps:\n  - {value: '1', output: x}\n", "unused-input", 2),
        ("steps:\n  - {value: 'topic +', output: x}\n", "expression", 6),
        (
            "steps:\n  - when: topic\n    then: [{value: '1', output: x}]\n  - {value: x, output: y}\n",
            "missing-input",
            8,
        ),
        (
            "steps:\n  - each: topic\n    do: [{value: item, output: x}]\n    output: xs\n  - {value: x, output: y}\n",
            "missing-input",
            9,
        ),
        (
            "steps:\n  - repeat: [{value: d, output: y}]\n    carry: {d: topic}\n    until: y\n    most: 2\n",
            "carry",
            7,
        ),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, steps: str, code: str, line: int) -> None:
    found, problems = look(tmp_path, steps)
    assert found is None
    assert (code, line) in {(problem.code, problem.line) for problem in problems}
    assert all(problem.remedy for problem in problems)


@pytest.mark.parametrize(
    "steps",
    [
        "steps: []\n",
        "steps: 3\n",
        "steps: [3]\n",
        "steps:\n  - {agent: a, value: '1'}\n",
        "steps:\n  - {agent: a}\n",
        "steps:\n  - {agent: a, task: t, most: 2}\n",
        "steps:\n  - {value: topic, output: 9x}\n",
        "steps:\n  - {value: topic, output: x, retry: -1}\n",
        "steps:\n  - {value: topic, output: x, retry: true}\n",
        "steps:\n  - {repeat: [{value: topic, output: x}]}\n",
        "steps:\n  - {each: topic, output: x}\n",
        "steps:\n  - {each: topic, do: [{value: '1'}], output: x}\n",
        "steps:\n  - {vote: a, task: t, output: x}\n",
        "steps:\n  - {tool: calculator, arguments: {}, output: x}\n",
        "steps:\n  - {value: topic, output: x}\ntogether: 0\n",
        "steps:\n  - {value: topic, output: x}\ninput: [a]\n",
        "coordinator: nobody\n",
    ],
)
def test_bad_input_is_told(tmp_path: Path, steps: str) -> None:
    found, problems = look(tmp_path, steps)
    assert found is None
    assert all(problem.line and problem.remedy for problem in problems)


def test_an_agent_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    head = "inputs: [topic]\nagents:\n  a: {policy: nobody}\n  b: none.yaml\nsteps:\n"
    found, problems = look(tmp_path, "  - {value: topic, output: x}\n", head)
    assert found is None
    assert [problem.line for problem in problems] == [3, 4]


def test_a_mistake_in_an_agents_file_has_its_place_once(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("limits: {}\npolicy: nobody\n")
    head = "inputs: [topic]\nagents:\n  b: b.yaml\nsteps:\n"
    found, (problem,) = look(tmp_path, "  - {agent: b, task: '{{ topic }}', output: x}\n", head)
    assert found is None
    assert (Path(problem.file).name, problem.line) == ("b.yaml", 2)
    assert "b.yaml" not in problem.message


def test_an_agent_that_nobody_asks_is_a_warning(tmp_path: Path) -> None:
    found, problems = look(tmp_path, "steps:\n  - {value: topic, output: x}\n")
    assert found is not None
    assert [(problem.code, problem.level) for problem in problems] == [("unused-agent", "warning")]


def test_what_deep_nesting_reads_is_known_outside(tmp_path: Path) -> None:
    steps = """steps:
  - each: topic.split(',')
    as: part
    do:
      - repeat:
          - {value: draft + '.', output: draft}
        carry: {draft: part}
        until: draft | length > limit
        most: 4
      - {value: draft, output: done}
    output: all
"""
    found, problems = look(tmp_path, steps)
    assert found is None
    assert [problem.code for problem in problems if problem.level == "error"] == ["missing-input"]
    found, _ = look(tmp_path, steps, HEAD.replace("[topic]", "{topic: , limit: 3}"))
    assert found is not None
    assert found.flow.steps[0].reads == {"topic", "limit"}
