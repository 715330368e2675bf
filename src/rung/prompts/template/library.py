"""Templates by name: in files and in the store, which hold the same thing, with the roots that they inherit.

A template's hash covers its roots' content, so that an edit of a root shows in every descendant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from rung.core.codec import canonical, decode
from rung.core.errors import InputError
from rung.prompts.template.files import SUFFIXES, read_file
from rung.prompts.template.template import Template
from rung.store import Store, StoredPrompt

DEEPEST = 16
"""Roots above one another."""


class PromptShelf(Protocol):
    """Where saved prompts are looked up: ``Store.prompts`` is one."""

    def get(self, name: str, version: int | None = None) -> StoredPrompt | None: ...
    def all(self, name: str | None = None) -> list[StoredPrompt]: ...


@dataclass(frozen=True, slots=True)
class FoundTemplate:
    """A template as written (``own``), joined with its roots (``flat``), and where it was found. ``roots`` are those it
    inherits, the nearest first; ``version`` is 0 for a file."""

    own: Template
    flat: Template
    hash: str
    roots: tuple[FoundTemplate, ...] = ()
    version: int = 0
    file: str = ""

    @property
    def root_hash(self) -> str:
        return self.roots[0].hash if self.roots else ""

    def stored(self, note: str = "") -> StoredPrompt:
        """As a row of the store; a root in a file is named by its own name there."""
        root = self.roots[0].own.name if self.roots and self.roots[0].file else self.own.root
        own = replace(self.own, root=root)
        return StoredPrompt(own.name, self.hash, root, self.root_hash, canonical(own), note)


def find(use: str, store: PromptShelf | None = None, folder: Path | None = None) -> FoundTemplate:
    """The template that ``use`` names: a file, or a saved name with or without ``@VERSION``; found good.

    A relative file is looked for in ``folder``, then where the user is. Raises InputError: no such template, a mistake
    in it or in a root, roots in a ring.
    """
    folder = folder or Path()
    here = Path(use).is_file() and not (folder / use).is_file()
    found = _find(use, store, Path() if here else folder, ())
    found.flat.check(found.file)
    return found


def read(template: Template, store: PromptShelf | None = None, *, folder: Path | None = None) -> FoundTemplate:
    """A template at hand, joined with its roots and found good. Raises InputError as ``find`` does."""
    found = _join(template, store, folder or Path(), (template.name or "the template",), 0, "")
    found.flat.check()
    return found


def _find(use: str, store: PromptShelf | None, folder: Path, chain: tuple[str, ...]) -> FoundTemplate:
    path = folder / use
    if path.suffix.lower() in SUFFIXES or path.is_file():
        key = str(path.resolve())
        template = read_file(path)
        version, file = 0, str(path)
    else:
        template, version = _stored(use, store, path)
        key, file = use if version and "@" in use else template.name, ""
    if key in chain:
        ring = " → ".join([*(Path(link).name for link in chain[chain.index(key) :]), Path(key).name])
        raise InputError(f"roots in a ring: {ring}", remedy="take the `root:` out of one of them", file=file or None)
    if len(chain) >= DEEPEST:
        raise InputError(f"more than {DEEPEST} roots above one another", remedy="join some of them")
    return _join(template, store, path.parent, (*chain, key), version, file)


def _join(
    template: Template, store: PromptShelf | None, folder: Path, chain: tuple[str, ...], version: int, file: str
) -> FoundTemplate:
    if not template.root:
        hash = template.hash()
        return FoundTemplate(template, replace(template.flat(), origin=hash), hash, (), version, file)
    root = _find(template.root, store, folder, chain)
    hash = template.hash(root.hash)
    flat = replace(template.over(root.flat), origin=hash)
    return FoundTemplate(template, flat, hash, (root, *root.roots), version, file)


def _stored(use: str, store: PromptShelf | None, path: Path) -> tuple[Template, int]:
    name, at, number = use.rpartition("@")
    name, number = (name, number) if at and number.isdigit() else (use, "")
    if store is None:
        raise InputError(f"{path}: no such file", remedy="name a template file")
    row = store.get(name, int(number) if number else None)
    if row is None:
        known = [prompt.name for prompt in store.all()]
        newest = store.get(name) if number else None
        if newest is not None:
            raise InputError(
                f"prompt {name} has no version {number}, its newest is {newest.version}",
                remedy=f"type: rung prompt show {name}",
            )
        raise InputError(
            f"{use!r} is neither a file nor a saved prompt",
            remedy=f"saved: {', '.join(known)}" if known else "save one: rung prompt save FILE",
        )
    return decode_template(row), row.version


def decode_template(row: StoredPrompt) -> Template:
    return decode(Template, json.loads(row.payload))


def save(found: FoundTemplate, store: Store, note: str = "") -> list[StoredPrompt]:
    """Store a template and the roots that it has in files, roots first, all or none. Returns them as they are stored.

    Raises InputError when two of them share a name, or one has none.
    """
    chain: Sequence[FoundTemplate] = [*reversed([root for root in found.roots if root.file]), found]
    names = [link.own.name for link in chain]
    for name in names:
        if not name or "@" in name or name != name.strip() or not name.isprintable() or "/" in name or len(name) > 100:
            raise InputError(f"{name!r} cannot be a prompt's name", remedy="name it: rung prompt save FILE --name NAME")
        if names.count(name) > 1:
            raise InputError(f"the prompt and its root are both called {name}", remedy="give them names of their own")
    return store.prompts.put([link.stored(note) for link in chain])
