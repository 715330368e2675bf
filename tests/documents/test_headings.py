"""Headings as CommonMark has them, in time in proportion to the text."""

from __future__ import annotations

import pytest

from rung.documents.formats.markdown.headings import headings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n\n## F# ##\n\n### C#\n\n# #\n\n####### seven\n#no\n", [(1, "One"), (2, "F#"), (3, "C#"), (1, "")]),
        ("Two\nlines\n===\n\nNext\n---\n", [(1, "Two lines"), (2, "Next")]),
        ("a\n\n---\n\nb\n", []),
        ("- item\n---\n\n> quote\n===\n\n| a |\n---\n", []),
        ("```sh\n# no\n```\n# yes\n~~~~\n# no\n```\n~~~\n# no\n~~~~\n# yes too\n", [(1, "yes"), (1, "yes too")]),
        ("`` `a` ``\n``` a `b`\n# yes\n", [(1, "yes")]),
        ("<!-- \n# no\n-->\n# yes\n<pre>\n# no\n</pre>\n<!-- open\n# still\n", [(1, "yes"), (1, "still")]),
        ("    # code\n   # yes\n", [(1, "yes")]),
        ("Dear all\n\nwith regards\n-- \nAnna\n", []),
        ("# One\nTwo\n---\n```\nx\n```\nThree\n=\n", [(1, "One"), (2, "Two"), (1, "Three")]),
    ],
)
def test_what_is_a_heading(text: str, expected: list[tuple[int, str]]) -> None:
    found = list(headings(text))
    assert [(level, title) for _, level, title in found] == expected
    for start, _, title in found:
        assert title.split(" ")[0] in text[start : start + 40]
    assert [title for _, _, title in headings("Words\n===\n# A\n", underlined=False)] == ["A"]
