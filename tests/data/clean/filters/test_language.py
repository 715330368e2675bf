"""Languages: told, left open, and not confused by code."""

from __future__ import annotations

import pytest

pytest.importorskip("py3langid", reason="telling languages needs the extra text")

from rung.data.clean.filters.language import tell


def test_tell() -> None:
    assert tell("The lamp in the hall is broken again") == "en"
    assert tell("Die Lampe im Flur ist schon wieder kaputt") == "de"
    assert tell("ok 12345") == ""
    assert tell("```\nfor number in range(10): print(number)\n```") == ""
    assert tell("") == ""
