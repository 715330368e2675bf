"""rung: climb one ladder from a plain prompt to a tuned, served model, every step measured with one ruler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rung.core import __version__
from rung.core.system.extras import opt_out

if TYPE_CHECKING:
    from rung.core.errors import RungError as RungError
    from rung.core.types import Answer as Answer
    from rung.core.types import Budget as Budget
    from rung.core.types import Example as Example
    from rung.core.types import Message as Message
    from rung.core.types import ResponseFormat as ResponseFormat
    from rung.core.types import Sampling as Sampling
    from rung.core.types import Task as Task
    from rung.front import answer as answer
    from rung.front import ask as ask
    from rung.front import climb as climb
    from rung.front import evaluate_model as evaluate_model
    from rung.tasks import load as load

_PUBLIC = {
    "Answer": "rung.core.types",
    "Budget": "rung.core.types",
    "Example": "rung.core.types",
    "Message": "rung.core.types",
    "ResponseFormat": "rung.core.types",
    "RungError": "rung.core.errors",
    "Sampling": "rung.core.types",
    "Task": "rung.core.types",
    "answer": "rung.front",
    "ask": "rung.front",
    "climb": "rung.front",
    "evaluate_model": "rung.front",
    "load": "rung.tasks",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

opt_out()


def __getattr__(name: str) -> Any:
    # Lazy (PEP 562), so that `import rung` and `rung --help` load nothing heavy.
    if name in _PUBLIC:
        from importlib import import_module

        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'rung' has no attribute {name!r}")
