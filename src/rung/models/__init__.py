"""Language models and embedders, one file a provider, and what goes around any of them.

``open_model("provider:name")`` opens a model, ``open_embedder("kind:argument")`` an embedder; ``Pool`` opens each once
and hands it to rungs and programs.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Self, cast

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Embedder, Model
from rung.core.settings import Settings
from rung.models.embed import fit_embedder, open_embedder

if TYPE_CHECKING:
    from rung.models.wrap import MeteredModel

__all__ = ["Pool", "fit_embedder", "open_embedder", "open_model"]


def open_model(name: str, settings: Settings | None = None) -> MeteredModel:
    """Open the model ``provider:name`` with retry, limits, prices and metering around it.

    A provider is registered under ``provider`` as a function ``(name without the provider, settings) -> Model``.
    Raises InputError for a malformed or unknown name, FetchError when weights are not there, MissingExtra when the
    provider's library is not installed, AuthError when its key is not set.
    """
    from rung.models.wrap import wrap

    settings = settings or Settings()
    provider, colon, rest = name.strip().partition(":")
    known = sorted(registry.table("provider"))
    if provider not in known and (not colon or "/" in provider or "\\" in provider or provider.endswith(".gguf")):
        near = difflib.get_close_matches(provider, known, n=1)
        hint = f"{near[0]}:NAME" if near else f"openvino:{name}"
        raise InputError(
            f"got model {name!r}, expected provider:name", remedy=f"did you mean {hint}? providers: {', '.join(known)}"
        )
    factory = registry.load("provider", provider)
    if not rest.strip():
        raise InputError(
            f"got model {name!r}, expected a name after the provider",
            remedy=f"for instance: {_EXAMPLES.get(provider, provider + ':NAME')}",
        )
    return wrap(cast(Model, factory(rest.strip(), settings)), settings)


_EXAMPLES = {
    "openvino": "openvino:smollm2-135m",
    "transformers": "transformers:smollm2-135m, or transformers:FOLDER",
    "openai": "openai:gpt-4.1-mini, or openai:NAME@http://127.0.0.1:8000/v1",
    "anthropic": "anthropic:claude-haiku-4-5",
    "google": "google:gemini-2.5-flash",
    "fake": "fake:echo",
}


class Pool:
    """Opens each model and embedder once (the ``Resources`` of the protocols), and closes the models:
    ``async with Pool() as pool``.

    ``default`` is the model that None stands for (a task's first model); without it, the setting ``model``.
    """

    def __init__(self, settings: Settings | None = None, *, default: str | None = None) -> None:
        self.settings = settings or Settings()
        self.default = default or str(self.settings["model"])
        self._models: dict[str, Model] = {}
        self._embedders: dict[str, Embedder] = {}

    def add(self, model: Model, name: str | None = None) -> Model:
        """Put in a model that is open already, under ``name`` or its own name; it is metered like any other."""
        from rung.models.wrap import MeteredModel, wrap

        wrapped = model if isinstance(model, MeteredModel) else wrap(model, self.settings)
        self._models[name or model.name] = wrapped
        return wrapped

    def model(self, name: str | None = None) -> Model:
        name = name or self.default
        if name not in self._models:
            self._models[name] = open_model(name, self.settings)
        return self._models[name]

    def embedder(self, name: str | None = None) -> Embedder:
        """The embedder of that name; None: ``static`` (256 dimensions, no network once its vectors are pulled)."""
        name = name or "static"
        if name not in self._embedders:
            self._embedders[name] = open_embedder(name, self.settings)
        return self._embedders[name]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every model that was opened."""
        models, self._models = list(self._models.values()), {}
        for model in models:
            await model.close()
