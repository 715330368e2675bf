"""Jinja2 for templates that somebody sent: a prompt of a program folder, the chat template inside a file of weights.

Nothing that a prompt does not need can be written (imports, attributes of Python objects, formatted widths), and every
rendering has a budget of work. Before a template is compiled its tree is rewritten so that whatever can take long or
fill the memory (loops, comparisons, slices, arithmetic, filters, calls, literals, macros) is paid for by the size of
what it reads and makes. So the limit holds for time and memory alike, on every system, without a process apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError

from rung.core.errors import InputError
from rung.foundations.sandbox.environment import Sandbox, Trusted
from rung.foundations.sandbox.source import Metering, bare, names, parse
from rung.foundations.sandbox.work import LONGEST, WORK, Dialect, budget, refuse

__all__ = ["LONGEST", "Dialect", "Trusted", "bare", "compiled", "names", "parse", "render"]


@lru_cache(maxsize=512)
def compiled(source: str, dialect: Dialect = "prompt", escape: Callable[[str], str] = str) -> jinja2.Template:
    """A template that pays for its work. Raises InputError as ``parse`` does."""
    parse(source, dialect=dialect)  # refuses what may not be used
    budget.left = WORK
    environment = Sandbox(dialect, escape)
    try:
        tree = Metering().visit(environment.parse(source))
        tree.set_environment(environment)
        return environment.from_string(tree)
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError, SecurityError) as error:
        raise InputError(f"template: it cannot be compiled: {error}", remedy="simplify it") from None
    except jinja2.TemplateError as error:
        raise InputError(f"template: {error}", remedy="correct it") from None


def render(
    source: str, values: Mapping[str, Any], escape: Callable[[str], str] = str, dialect: Dialect = "prompt"
) -> str:
    """The template with its values. Raises InputError: a value is missing, or the template did what it may not."""
    template = compiled(source, dialect, escape)
    budget.left = WORK
    pieces: list[str] = []
    size = 0
    try:
        for piece in template.generate(dict(values)):
            pieces.append(piece)
            size += len(piece)
            if size > LONGEST:
                refuse(f"the text grew beyond {LONGEST:,} characters")
    except jinja2.UndefinedError as error:
        raise InputError(f"template: {error.message}", remedy="give the value, or declare a default") from None
    except SecurityError as error:
        raise InputError(
            f"template: {error}", remedy="prompts may use values, conditions, loops and the listed filters"
        ) from None
    except (RecursionError, MemoryError):
        raise InputError("template: nested too deeply", remedy="simplify it") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, jinja2.TemplateError) as error:
        said = str(error) if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {error}"
        raise InputError(f"template: {said[:300]}", remedy="correct the expression, or the value's type") from None
    return "".join(pieces)
