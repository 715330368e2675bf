"""Who may do what: five roles, one table."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

Role = Literal["admin", "operator", "developer", "caller", "auditor"]
Verb = Literal[
    "ask", "list", "judge", "search", "files", "batch", "traces", "spending", "metrics", "status", "reload",
    "keys", "keys-change", "forget",
]  # fmt: skip

ROLES: tuple[str, ...] = get_args(Role)
VERBS: tuple[str, ...] = get_args(Verb)

MAY: dict[str, frozenset[str]] = {
    # Whoever hands out keys does not spend: an administrator's key that leaks buys nothing.
    "admin": frozenset({"list", "spending", "metrics", "status", "reload", "keys", "keys-change", "forget"}),
    "operator": frozenset({"list", "metrics", "status", "reload", "spending", "traces"}),
    "developer": frozenset({"ask", "list", "judge", "search", "files", "batch", "traces", "spending", "status"}),
    "caller": frozenset({"ask", "list", "judge", "search"}),
    "auditor": frozenset({"list", "traces", "spending", "metrics", "status", "keys"}),
}

PATHS: tuple[tuple[str, Verb], ...] = (
    ("/v1/chat/", "ask"),
    ("/v1/messages", "ask"),
    ("/v1/embeddings", "ask"),
    ("/v1/models", "list"),
    ("/v1/feedback", "judge"),
    ("/v1/appeals", "judge"),
    ("/v1/search", "search"),
    ("/v1/indexes", "search"),
    ("/v1/document", "search"),
    ("/v1/files", "files"),
    ("/v1/batches", "batch"),
    ("/graphql", "traces"),
    ("/mcp", "ask"),
    ("/metrics", "metrics"),
    ("/ready", "status"),
    ("/openapi.json", "list"),
)
"""The verb that an address needs, by its beginning; what is not here needs an operator's ``status``."""


@lru_cache(maxsize=1024)
def verb_of(path: str) -> Verb:
    return next((verb for beginning, verb in PATHS if path.startswith(beginning)), "status")


def may(role: str, verb: str) -> bool:
    return verb in MAY.get(role, frozenset())
