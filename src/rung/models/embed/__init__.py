"""Text to vectors: one file an embedder, all behind the one protocol, opened by a string.

``open_embedder("kind")``, ``open_embedder("kind:argument")`` or
``open_embedder("kind:argument?option=value&option=value")``; docs/embedders.md has the kinds and their options. An
embedder's ``name`` is that string, so that it can be opened again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Embedder
from rung.core.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Spec", "fit_embedder", "open_embedder", "unit"]

_OPTIONS = re.compile(r"[a-z]+=[^&=?]+(?:&[a-z]+=[^&=?]+)*")

SLOW = frozenset({"minilm", "hf", "st", "llm", "openai"})
"""Kinds whose vectors are kept on disk unless ``cache=off`` is said: computing them takes longer than looking them
up."""


@dataclass(frozen=True, slots=True)
class Spec:
    """An embedder's name taken apart."""

    kind: str
    argument: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str) -> Spec:
        """Read ``kind:argument?option=value&...``. A question mark that no ``option=value`` follows belongs to the
        argument."""
        head, mark, tail = name.strip().rpartition("?")
        if not mark or not _OPTIONS.fullmatch(tail):
            head, tail = name.strip(), ""
        kind, _, argument = head.partition(":")
        pairs = [pair.partition("=")[::2] for pair in tail.split("&")] if tail else []
        return cls(kind, argument, dict(pairs))

    @property
    def name(self) -> str:
        tail = "&".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return self.kind + (f":{self.argument}" if self.argument else "") + (f"?{tail}" if tail else "")

    def without(self, option: str) -> Spec:
        return replace(self, options={key: value for key, value in self.options.items() if key != option})

    def read(self, defaults: Mapping[str, str | int | float]) -> dict[str, Any]:
        """The options with ``defaults`` filled in, each of its default's type. Raises InputError for any other
        option."""
        values: dict[str, Any] = dict(defaults)
        for key, text in self.options.items():
            if key not in defaults:
                near = difflib.get_close_matches(key, defaults, n=1)
                raise InputError(
                    f"embedder {self.name!r} has no option {key!r}",
                    remedy=f"did you mean {near[0]}?" if near else f"its options: {', '.join(defaults) or 'cache'}",
                )
            kind = type(defaults[key])
            try:
                values[key] = kind(text)
            except ValueError:
                raise InputError(
                    f"embedder {self.name!r}: got {key}={text}, expected {kind.__name__}", remedy="correct the option"
                ) from None
        return values

    def choose(self, key: str, value: str, known: tuple[str, ...]) -> str:
        """``value`` if it is one of ``known``, else an InputError."""
        if value not in known:
            raise InputError(f"embedder {self.name!r}: got {key}={value}", remedy=f"{key} is one of {', '.join(known)}")
        return value


def open_embedder(name: str | None = None, settings: Settings | None = None) -> Embedder:
    """Open the embedder of that name; None: ``static``, which needs no network once its vectors are pulled.

    A kind is registered under ``embedder`` as a function ``(Spec, Settings) -> Embedder``. Every kind takes the option
    ``cache`` (on or off): whether vectors are kept on disk by content. Raises InputError for an unknown name or option,
    FetchError when weights are not there, MissingExtra when a library is not installed.
    """
    settings = settings or Settings()
    spec = Spec.parse(name or "static")
    factory = registry.load("embedder", spec.kind)
    wanted = spec.choose("cache", spec.options.get("cache", "on" if spec.kind in SLOW else "off"), ("on", "off"))
    embedder = cast(Embedder, factory(spec.without("cache"), settings))
    limit = int(settings["embeddings"])
    if wanted == "off" or limit <= 0:
        return embedder
    from rung.models.embed.cache import CachedEmbedder

    return CachedEmbedder(embedder, settings.cache / "embeddings", limit * 1_000_000)


def fit_embedder(name: str, texts: Sequence[str], path: Path, settings: Settings | None = None) -> Embedder:
    """Fit what an embedder must know of a corpus, write it to ``path`` (an ``.npz``), and open the embedder with it.

    ``name`` is ``tfidf`` or ``onehot`` (with ``?dimensions=N``; 2048 if unsaid), or a kind with ``pooling=sif``. The
    name of what comes back opens it again. Raises InputError for any other, and for texts without words.
    """
    settings = settings or Settings()
    spec = Spec.parse(name)
    if spec.kind in ("tfidf", "onehot"):
        from rung.models.embed.counts import fit_counts

        fit_counts(spec.kind, texts, int(replace(spec, argument="").read({"dimensions": 2048})["dimensions"]), path)
        return open_embedder(f"{spec.kind}:{path}", settings)
    if spec.options.get("pooling") != "sif":
        raise InputError(
            f"{name!r} learns nothing from texts", remedy="tfidf, onehot and embedders with pooling=sif are fitted"
        )
    embedder = cast(Any, registry.load("embedder", spec.kind)(spec.without("cache").without("fitted"), settings))
    embedder.fit(texts).save(path)
    return open_embedder(replace(spec, options={**spec.options, "fitted": str(path)}).name, settings)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows of shape (n, dimensions) to unit length, in place. A row that is zero or not finite gets equal
    components, so that no row is zero or NaN."""
    import numpy as np

    if not rows.size:
        return rows
    bad = ~np.isfinite(rows).all(axis=1)
    rows[bad] = 1.0
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows[norms[:, 0] < 1e-12] = 1.0
    norms[norms < 1e-12] = np.sqrt(rows.shape[1])
    rows /= norms
    return rows
