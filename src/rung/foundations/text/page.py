"""A web page to open without a server: a template of ours, filled in, in one self-contained file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.system.files import atomic_write


def write_page(template: Traversable, values: Mapping[str, Any], path: Path, flag: str) -> None:
    """Fill in the template and write it to ``path`` (replaced in one step). Raises InputError where that cannot be
    written; ``flag`` is the option that names another file."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template.read_text(encoding="utf-8")).render(values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, durable=False) as part:
            part.write_text(text, encoding="utf-8", errors="replace")  # a model may write half of a surrogate pair
    except OSError as error:
        raise InputError(
            f"cannot write the page to {path}: {error.strerror}", remedy=f"name another file: {flag} FILE"
        ) from None
