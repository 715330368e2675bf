"""Names to things. Built-ins are a table of ``name -> "module:attribute"``, imported on use; other people's come by
entry points in the groups ``rung.<kind>`` and need no edit here."""

from __future__ import annotations

import difflib
import logging
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from rung.core.errors import InputError, RungError

logger = logging.getLogger("rung")

Kind = Literal[
    "provider", "embedder", "metric", "rung", "program", "pack", "index", "reader",
    "tool", "sandbox", "policy", "environment", "memory",
]  # fmt: skip

TABLES: dict[Kind, dict[str, str]] = {
    "provider": {
        "openvino": "rung.models.engine.openvino.model:open_model",
        "transformers": "rung.models.providers.transformers.model:open_model",
        "openai": "rung.models.providers.openai:open_model",
        "anthropic": "rung.models.providers.anthropic:open_model",
        "google": "rung.models.providers.google:open_model",
        "fake": "rung.models.providers.fake:open_model",
    },
    "embedder": {
        "static": "rung.models.embed.static:open_static",
        "minilm": "rung.models.embed.minilm:open_minilm",
        "hf": "rung.models.embed.hidden:open_hf",
        "st": "rung.models.embed.hidden:open_st",
        "llm": "rung.models.embed.hidden:open_llm",
        "words": "rung.models.embed.words:open_words",
        "subwords": "rung.models.embed.words:open_subwords",
        "tfidf": "rung.models.embed.counts:open_tfidf",
        "onehot": "rung.models.embed.counts:open_onehot",
        "openai": "rung.models.embed.hosted:open_hosted",
    },
    "metric": {},
    "rung": {},
    "program": {},
    "pack": {},
    "index": {},
    "reader": {},
    "tool": {},
    "policy": {},
    "environment": {},
    "memory": {},
    "sandbox": {
        "monty": "rung.sandbox.monty:open_monty",
        "bubblewrap": "rung.sandbox.bubblewrap:open_bubblewrap",
    },
}
"""The others are many; their rooms list them in the files named in LISTS."""

LISTS: dict[Kind, tuple[str, ...]] = {
    "metric": (
        "rung.metrics.names:METRICS",
        "rung.agents.program.metrics:METRICS",
        "rung.alignment.rungs:METRICS",
    ),
    "rung": (
        "rung.foundations.rungs:RUNGS",
        "rung.safety.rungs:RUNGS",
        "rung.prompts.rungs:RUNGS",
        "rung.retrieval.rungs:RUNGS",
        "rung.agents.rungs:RUNGS",
        "rung.workflow.rungs:RUNGS",
        "rung.tuning.rungs:RUNGS",
        "rung.alignment.rungs:RUNGS",
        "rung.compression.rungs:RUNGS",
    ),
    "program": (
        "rung.foundations.rungs:PROGRAMS",
        "rung.safety.rungs:PROGRAMS",
        "rung.prompts.rungs:PROGRAMS",
        "rung.retrieval.rungs:PROGRAMS",
        "rung.agents.rungs:PROGRAMS",
        "rung.workflow.rungs:PROGRAMS",
        "rung.tuning.rungs:PROGRAMS",
        "rung.alignment.rungs:PROGRAMS",
        "rung.compression.rungs:PROGRAMS",
    ),
    "pack": ("rung.tasks.packs.names:PACKS", "rung.agents.environments.packs.names:PACKS"),
    "index": ("rung.retrieval.index.names:INDEXES",),
    "reader": ("rung.documents.names:READERS",),
    "tool": ("rung.agents.tools.names:TOOLS",),
    "policy": ("rung.agents.policies.names:POLICIES",),
    "environment": ("rung.agents.environments.names:ENVIRONMENTS",),
    "memory": ("rung.agents.memory.names:MEMORIES",),
}


@cache
def table(kind: Kind) -> dict[str, str]:
    """Every registered name of a kind and where it is: built-ins first, then entry points (which may not shadow
    them)."""
    names = dict(TABLES[kind])
    for place in LISTS.get(kind, ()):
        module, _, attribute = place.partition(":")
        names.update(getattr(import_module(module), attribute))
    for point in entry_points(group=f"rung.{kind}"):
        names.setdefault(point.name, point.value)
    return names


def load(kind: Kind, name: str) -> Any:
    """Import the thing registered under ``name``.

    Raises InputError naming the nearest known names when there is none; with the code "plug-in" for another package's
    that cannot be imported.
    """
    known = table(kind)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise InputError(
            f"unknown {kind} {name!r}",
            remedy=f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known)) or 'none'}",
        )
    # An entry point's own loading: it knows dotted attributes and extras in brackets.
    point = EntryPoint(name=name, value=known[name], group=f"rung.{kind}")
    if _is_ours(point.value):
        return point.load()
    try:
        return point.load()
    except RungError:
        raise
    except Exception as error:  # whatever another package raises while it is imported
        raise InputError(
            f"{kind} {name!r} cannot be imported from {point.value}: {type(error).__name__}: {error}",
            remedy="correct, update or uninstall the package that brings it",
            code="plug-in",
        ) from error


def usable(kind: Kind) -> list[str]:
    """The names of a kind without those of other packages that cannot be imported; the log tells of them."""
    found = []
    for name, value in table(kind).items():
        try:
            if not _is_ours(value):
                load(kind, name)
        except InputError as error:
            if error.code != "plug-in":
                raise
            logger.warning("%s", error.message)
        else:
            found.append(name)
    return found


def _is_ours(value: str) -> bool:
    return value.startswith("rung.")
