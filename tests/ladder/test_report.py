from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Task
from rung.ladder.climb import Climber
from rung.ladder.report import write_report
from rung.ladder.table import money, seconds
from rung.models import Pool
from rung.store import Store


class Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


async def test_the_report_is_one_file_that_asks_nobody(
    task: Task, store: Store, pool: Pool, settings: Settings, tmp_path: Path
) -> None:
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    bad = replace(task.test[0], input={"text": attack})
    run = await Climber(replace(task, test=(bad, *task.test[1:])), store, pool, settings).climb()
    path = await write_report(run, store, pool, tmp_path / "out" / "report.html")
    html = path.read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", html)
    assert attack not in html
    parser = Scripts()
    parser.feed(html)
    assert [tag for tag, _ in parser.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in parser.tags]
    for record in run.rungs:
        assert record.title in html
    assert run.recommendation is not None
    assert all(sentence.split(":")[0] in html for sentence in run.recommendation.why[:1])
    assert list(tmp_path.glob("out/.*part")) == []


def test_figures_read_well() -> None:
    assert [seconds(v) for v in (None, 2e-5, 0.0042, 0.25, 12.34, 95, 7200)] == [
        "–", "20 µs", "4.2 ms", "250 ms", "12.3 s", "1 min 35 s", "2.0 h",
    ]  # fmt: skip
    assert [money(v) for v in (0, 0.000123, 12.3456, 1234)] == ["$0", "$0.000123", "$12.3", "$1,234"]
