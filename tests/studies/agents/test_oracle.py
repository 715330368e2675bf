"""Agent files beside an environment's baselines: all that a file says holds, and kinds of scenarios are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rung.studies.agents.oracle import Oracle
from rung.studies.study import Lab
from tests.agents.calls.test_bfcl import write


async def test_an_agent_file_keeps_its_environments_options_and_its_memory(lab: Lab, tmp_path: Path) -> None:
    given = {"policy": "reflex", "limits": {"steps": 4}, "environment": {"name": "queue", "jobs": 1}}
    lesson = {"name": "lessons", "given": [{"text": "Be quick."}], "frozen": True}
    (tmp_path / "few.yaml").write_text(json.dumps({**given, "memory": lesson}))
    (tmp_path / "usual.yaml").write_text(json.dumps({**given, "environment": "gridworld"}))
    agents = f"{tmp_path}/few.yaml,{tmp_path}/usual.yaml"
    study = Oracle("queue", limit=2, baselines=False, agents=agents)
    found = await study.measure(None, lab)
    rows = {row.agent: row for row in found.rows}
    assert rows["few"].solved.value == 1
    assert rows["usual"].solved.value == 0  # all of its jobs take more steps
    assert found.kinds == ()
    few = study._asked(lab, "queue", None)["few"]  # (an agent without a model shows no memory)
    assert few.memory == lesson


async def test_what_was_asked_of_each_part_is_told(lab: Lab, tmp_path: Path) -> None:
    parameters = {"type": "dict", "properties": {}}
    for part in ("simple_python", "multiple"):
        names = [f"{part}{at}" for at in range(8)]
        rows: list[dict[str, Any]] = [
            {
                "id": f"{part}_{at}",
                "question": [[{"role": "user", "content": f"Do {name}"}]],
                "function": [{"name": name, "description": "Draw.", "parameters": parameters}],
            }
            for at, name in enumerate(names)
        ]
        truths = [{"id": f"{part}_{at}", "ground_truth": [{name: {}}]} for at, name in enumerate(names)]
        write(tmp_path, part, rows, truths)
    study = Oracle(f"bfcl:{tmp_path}", baselines=False, agents="scripted,lexical")
    found = await study.measure(None, lab)
    assert {(one.kind, one.agent, one.n) for one in found.kinds} == {
        (part, agent, 4) for part in ("simple_python", "multiple") for agent in ("scripted", "lexical")
    }
    assert all(one.solved.value == 1 for one in found.kinds if one.agent == "scripted")
    assert {one.agent for one in found.kinds if one.difference is not None} == {"lexical"}
    assert "of these" in study.table(found)
