"""``rung reward fit``: what was learnt from, and which rows were not."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.command import rung


def test_what_was_left_out_is_said_by_count(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [
        {"prompt": f"q{at}", "chosen": f"please {draw.random()}", "rejected": f"no {draw.random()}"} for at in range(40)
    ]
    rows += [{"prompt": "same", "chosen": "a", "rejected": "a"}] * 2
    (tmp_path / "vectors.vec").write_text("2 2\nplease 1 0\nno 0 1\n")
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    words = ("reward", "fit", "pairs.jsonl", "--to", "learnt", "--embedder", "words:vectors.vec")
    done = rung(*words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "of 43 rows 3 are left out: 2 with equal answers, 1 that cannot be read" in done.stdout
    found = json.loads(rung(*words, "--json", folder=tmp_path).stdout)
    assert (found["rows"], found["left_out"]) == (43, {"equal": 2, "unreadable": 1})
    assert found["learnt"] + found["held"] == 40

    few = rung("reward", "fit", "none.jsonl", "--to", "learnt", folder=tmp_path)
    assert (few.returncode, few.stderr.split("\n")[0]) == (2, "rung: there is no none.jsonl")
