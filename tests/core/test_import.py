"""The front door: importing rung and its core loads the standard library and nothing else; its names are pinned."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import rung
import rung.core

FORBIDDEN = {
    *("alembic", "anthropic", "fastapi", "google", "httpx", "jinja2", "jsonschema", "numpy", "openai", "openvino"),
    *(
        "openvino_genai",
        "peft",
        "psycopg",
        "pyarrow",
        "pydantic",
        "rich",
        "scipy",
        "sklearn",
        "sqlalchemy",
        "tokenizers",
    ),
    *("torch", "transformers", "typer", "uvicorn", "yaml"),
}
"""Named one by one, so that the message is plain; whatever else is not in the standard library fails as well."""

CORE = sorted(module.name for module in pkgutil.walk_packages(rung.core.__path__, "rung.core."))

LIST = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(n for n, m in sys.modules.items() if m and n not in before)))"


def loaded(statement: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LIST.format(statement)], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_there_is_a_core() -> None:
    assert {"rung.core.types", "rung.core.settings", "rung.core.parts.registry"} <= set(CORE)


@pytest.mark.parametrize("statement", ["import rung", f"import rung, {', '.join(CORE)}"], ids=["rung", "core"])
def test_importing_loads_the_standard_library_only(statement: str) -> None:
    tops = {name.partition(".")[0] for name in loaded(statement)}
    assert not tops & FORBIDDEN
    assert tops - set(sys.stdlib_module_names) == {"rung"}


def test_import_rung_alone_loads_no_room() -> None:
    assert {name for name in loaded("import rung") if name.startswith("rung")} == {
        "rung",
        "rung.core",
        "rung.core.errors",
        "rung.core.system",
        "rung.core.system.extras",
    }


def test_a_public_name_loads_only_what_it_needs() -> None:
    tops = {name.partition(".")[0] for name in loaded("import rung; rung.Task; rung.RungError")}
    assert tops - set(sys.stdlib_module_names) == {"rung"}


def test_public_names() -> None:
    assert rung.__all__ == [
        "__version__", "Answer", "Budget", "Example", "Message", "ResponseFormat", "RungError", "Sampling", "Task",
        "answer", "ask", "climb", "evaluate_model", "load",
    ]  # fmt: skip
    for name in rung.__all__:
        assert getattr(rung, name) is not None
    with pytest.raises(AttributeError, match="module 'rung' has no attribute 'Taks'"):
        rung.Taks  # noqa: B018


def test_the_types_ship() -> None:
    assert (Path(rung.__file__).parent / "py.typed").exists()
