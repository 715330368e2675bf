"""Documents as rows: texts, questions with answers, sections."""

from __future__ import annotations

from pathlib import Path

from rung.data.sources.papers import gather
from rung.data.sources.sources import told_by

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
    faults: list[str] = []
    pairs = [
        (r.messages[0].content, r.messages[1].content, r.source["line"]) for r in gather([tmp_path], "faq", faults)
    ]
    assert [pair[0] for pair in pairs] == ["How do I return a lamp?", "Is delivery free?", "And abroad?"]
    assert pairs[0][1].startswith("Within 30 days.")
    assert "Is this a heading?" in pairs[0][1]
    assert pairs[1][1] == "From 50 euros on.\nElse 5 euros."
    assert pairs[0][2] == 5
    assert len(faults) == 1
    assert "holds no question" in faults[0]
    sections = list(gather([tmp_path / "help.md"], "sections", []))
    assert [r.messages[0].content for r in sections] == ["Help", "Help: How do I return a lamp?", "Help: Prices"]
    [text] = gather([tmp_path / "help.md"], "text", [])
    assert text.text == FAQ
    assert text.shape == "text"
    assert told_by(tmp_path) == told_by(tmp_path / "help.md") == "text"
