"""Documents as rows: texts, questions with answers, sections."""

from __future__ import annotations

from pathlib import Path

from rung.core.parts.problem import Problems
from rung.data.sources.kind import kind_of_source
from rung.data.sources.papers import gather

FAQ = """# Help

Welcome.

## How do I return a lamp?

Within 30 days.

```
## Is this a heading?
```

## Prices

Q: Is delivery free?
A: From 50 euros on.
Else 5 euros.

**Q: And abroad?**
**A:** No.
"""


def test_forms_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "help.md").write_text(FAQ)
    (tmp_path / "empty.txt").write_text("no heading\n")
    problems = Problems()
    pairs = [
        (r.messages[0].content, r.messages[1].content, r.source["line"]) for r in gather([tmp_path], "faq", problems)
    ]
    assert [pair[0] for pair in pairs] == ["How do I return a lamp?", "Is delivery free?", "And abroad?"]
    assert pairs[0][1].startswith("Within 30 days.")
    assert "Is this a heading?" in pairs[0][1]
    assert pairs[1][1] == "From 50 euros on.\nElse 5 euros."
    assert pairs[0][2] == 5
    assert len(problems.found) == 1
    assert (problems.found[0].file.endswith("empty.txt"), problems.found[0].code) == (True, "no-rows")
    sections = list(gather([tmp_path / "help.md"], "sections", Problems()))
    assert [r.messages[0].content for r in sections] == ["Help", "Help: How do I return a lamp?", "Help: Prices"]
    [text] = gather([tmp_path / "help.md"], "text", Problems())
    assert text.text == FAQ
    assert text.shape == "text"
    assert kind_of_source(tmp_path) == kind_of_source(tmp_path / "help.md") == "text"
