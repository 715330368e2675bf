from __future__ import annotations

from pathlib import Path

import pytest

from rung.models import Pool
from rung.serving.gateway.build import Gateway
from rung.serving.quality.chaos import provoke, table

TEXT = """endpoints: {a: {model: fake:echo}, b: {model: fake:echo}, c: {model: fake:echo}}
routes:
  full: {try: [[a, b], c, refusal]}
  short: {try: a, retries: 0}
"""


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_full_chain_answers_everything_and_a_short_one_tells(tmp_path: Path, seed: int) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(TEXT)
    async with Pool() as pool:
        found = await provoke(Gateway(file, pool, None).read(), 120, 0.3, seed, 0.1)
    full, short = found["full"], found["short"]
    assert full.errors == 0
    assert not full.failed
    assert full.silent == short.silent == 0
    assert full.degraded > 0
    assert sum(full.faults.values()) > 20
    assert sum(full.served.values()) + full.broken == 120
    assert short.errors > 0  # the faults are real
    assert full.broken + short.broken > 0
    assert "answered by refusal" in table(found) or full.served["refusal"] == 0
