from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.foundations.text.page import write_page


def test_what_is_filled_in_is_text_and_no_markup(tmp_path: Path) -> None:
    template, page = tmp_path / "page.html.j2", tmp_path / "new" / "page.html"
    template.write_text("<p>{{ said }}</p>")
    write_page(template, {"said": "<b>a\ud800</b>"}, page, "--to")
    assert page.read_text() == "<p>&lt;b&gt;a?&lt;/b&gt;</p>"
    with pytest.raises(InputError) as caught:
        write_page(template, {"said": ""}, page / "below", "--to")
    assert caught.value.remedy == "name another file: --to FILE"
