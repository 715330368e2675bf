from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from rung.core.types import Usage
from rung.serving.access.call import Caller, RequestCall
from rung.serving.observe.metrics import Metrics


def counted() -> Metrics:
    """Every metric there is, with names that need quoting."""
    metrics = Metrics()
    call = RequestCall(Caller('a "tenant"\\', "k"), served_by="big\nlines", degraded="big: 500", cache="miss")
    scope: Any = {"rung.model": "dësk", "rung.call": call, "rung.first": 0.02, "rung.usage": Usage(1, 7, 3, money=0.5)}
    metrics.request(scope, 200, 0.1)
    metrics.request({}, 404, 0.001)
    metrics.load(3, 4)
    return metrics


def test_requests_are_counted_by_model_tenant_and_way() -> None:
    text = counted().text().decode()
    for line in (
        'rung_requests_total{code="",model="dësk",status="200"} 1.0',
        'rung_requests_total{code="",model="-",status="404"} 1.0',
        'rung_tokens_total{kind="completion",model="dësk",tenant="a \\"tenant\\"\\\\"} 3.0',
        'rung_served_by_total{endpoint="big\\nlines",model="dësk"} 1.0',
        'rung_first_piece_seconds_bucket{le="0.025",model="dësk"} 1.0',
        "rung_running 3.0",
    ):
        assert f"{line}\n" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install -y prometheus")
def test_promtool_has_nothing_to_say() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=counted().text(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
