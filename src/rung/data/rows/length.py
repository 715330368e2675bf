"""How many tokens a row is: by the model's own template and tokenizer, or, where it is not there, by that of the
static embedder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rung.core.errors import FetchError, MissingExtra
from rung.core.settings import Settings
from rung.core.types import Message
from rung.data.rows.records import Record


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts the tokens of a record; ``name`` says whose tokens they are."""

    name: str
    count: Callable[[Record], int]


def open_counter(model: str, settings: Settings) -> TokenCounter:
    """The counter of a model, given as provider:name; empty: the one of the settings, or, where its weights are not
    on this machine, the static embedder's tokenizer. Raises FetchError when the weights of a named model are not
    there."""
    name = model or settings["model"]
    try:
        return TokenCounter(name, by_model(name, settings))
    except (FetchError, MissingExtra) as error:
        if model:
            raise
        return TokenCounter(f"the static embedder, an approximation ({error.message})", by_static(settings))


def by_model(name: str, settings: Settings) -> Callable[[Record], int]:
    """Counts with the model ``provider:name``: a conversation as its chat template writes it, a plain text as it is.
    Raises FetchError when its weights are not there (hosted models give a stated estimate)."""
    from rung.models import open_model

    model = open_model(name, settings)
    frame = model.count([Message("user", "")])

    def count(record: Record) -> int:
        if not record.messages:
            return model.count([Message("user", record.text)]) - frame
        return model.count(record.messages)

    return count


def by_static(settings: Settings) -> Callable[[Record], int]:
    """Counts with the tokenizer of the static embedder: about as many tokens, of another vocabulary, and no
    template."""
    from rung.models.embed import Spec
    from rung.models.embed.static import open_static

    embedder = open_static(Spec("static"), settings)
    return lambda record: len(embedder.tokens(record.whole))
