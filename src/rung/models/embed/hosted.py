"""Embeddings from any server that speaks OpenAI's embeddings API: ``openai:MODEL`` or ``openai:MODEL@http://HOST/v1``.

Written against the SDK's ``embeddings.create`` (openai 3.54) and OpenAI's API reference. Texts go in batches, a few at
once; a failed batch is tried again as a model's call is (settings retries, timeout); tokens and money go to the meter,
at the prices of the models. ``dimensions=N`` asks for shorter vectors where the model has them.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError, ModelError, RateLimited, ServerError
from rung.core.parts import meter
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.types import Usage
from rung.models import prices
from rung.models.embed import Spec, unit
from rung.models.providers.openai import OpenaiModel
from rung.models.providers.openai import open_model as open_chat
from rung.models.wrap import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger("rung.models")

BATCH = 128
CHARACTERS = 200_000
"""Of one request at most: OpenAI takes 300,000 tokens."""
AT_ONCE = 8


class HostedEmbedder:
    """Vectors of a hosted model, scaled to unit length. ``price`` is None when it is unpriced: its money counts as 0.

    A text that is empty or only white space is not sent (OpenAI refuses it): it gets the vector of equal components.
    """

    def __init__(self, name: str, model: OpenaiModel, settings: Settings, dimensions: int = 0) -> None:
        self.name = name
        self.price = prices.find(model.name, str(settings["prices"]))
        self._model = model
        self._policy = Policy.of(settings)
        self._asked = dimensions
        self._width = dimensions
        self._client: Any = None
        if self.price is None:
            logger.warning("%s is unpriced: its money counts as 0. Give its price: RUNG_PRICES=prices.yaml", name)

    @property
    def fingerprint(self) -> str:
        # As with models: a vendor may change what a name means and tells nobody.
        return digest(["openai-embeddings", self._model.model, self._model.access.url, self._asked])

    @property
    def dimensions(self) -> int:
        """Learned by embedding one word, where neither the name nor an earlier call says it."""
        if not self._width:
            self.embed(["dimensions"])
        return self._width

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), dimensions), float32, rows of unit length.

        Raises a ModelError when a batch fails for good, BudgetExceeded when the budget is spent.
        """
        import numpy as np

        sent = [row for row, text in enumerate(texts) if text.strip()]
        groups: list[list[int]] = []
        size = 0
        for row in sent:
            if not groups or len(groups[-1]) >= BATCH or size + len(texts[row]) > CHARACTERS:
                groups.append([])
                size = 0
            groups[-1].append(row)
            size += len(texts[row])
        parts: list[NDArray[np.float32]] = []
        workers = max(1, min(AT_ONCE, self._policy.concurrency))
        with ThreadPoolExecutor(workers, thread_name_prefix="rung-embeddings") as pool:
            for start in range(0, len(groups), workers):
                meter.check()
                wave = [
                    pool.submit(self._ask, [texts[row] for row in group]) for group in groups[start : start + workers]
                ]
                failed: BaseException | None = None
                for call in wave:  # what was paid for is metered, even if another batch failed
                    try:
                        vectors, usage = call.result()
                    except ModelError as error:
                        failed = error
                        continue
                    meter.report(usage)
                    parts.append(vectors)
                if failed is not None:
                    raise failed
        if parts:
            self._width = parts[0].shape[1]
        out = np.zeros((len(texts), self._width or (self.dimensions if texts else 0)), np.float32)
        if parts:
            out[sent] = np.concatenate(parts)
        return unit(out)

    def _ask(self, texts: list[str]) -> tuple[NDArray[np.float32], Usage]:
        """One request with its retries (full jitter, never less than the server's Retry-After; see wrap.Policy)."""
        policy = self._policy
        deadline = time.monotonic() + policy.deadline
        attempt = 0
        while True:
            try:
                return self._once(texts)
            except ModelError as error:
                wait = random.uniform(0.0, min(policy.cap, policy.base * 2**attempt))
                wait += (error.retry_after if isinstance(error, RateLimited | ServerError) else None) or 0.0
                if not error.retryable or attempt >= policy.retries or time.monotonic() + wait >= deadline:
                    raise
                logger.info(
                    "%s: try %d failed (%s); next in %.1f s", self.name, attempt + 1, type(error).__name__, wait
                )
                time.sleep(wait)
            attempt += 1

    def _once(self, texts: list[str]) -> tuple[NDArray[np.float32], Usage]:
        import numpy as np

        sdk = require("openai", "openai", f"the embedder {self.name}")
        if self._client is None:
            self._client = self._model.connect(blocking=True)
        started = time.monotonic()
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        extra: dict[str, Any] = {"dimensions": self._asked} if self._asked else {}
        try:
            answer = self._client.embeddings.create(
                model=self._model.model, input=clean, encoding_format="float", **extra
            )
            rows = sorted(answer.data, key=lambda item: item.index)
            vectors = np.array([item.embedding for item in rows], np.float32)
        except Exception as error:
            raise self._model.errors.shaped(error, sdk) from None
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ServerError(
                f"{self.name} gave {len(vectors)} vectors for {len(texts)} texts, expected one a text, of one length",
                remedy="check the server: it does not keep to the embeddings API",
            )
        if self._width and vectors.shape[1] != self._width:
            raise InputError(
                f"{self.name} gave vectors of {vectors.shape[1]} dimensions, expected {self._width}",
                remedy="the model has no option dimensions, or the server changed it: open it anew without",
            )
        tokens = int(getattr(answer.usage, "prompt_tokens", 0) or 0) if answer.usage is not None else 0
        usage = Usage(calls=1, prompt_tokens=tokens, seconds=time.monotonic() - started)
        money = self.price.money(usage) if self.price is not None else 0.0
        return vectors, Usage(calls=1, prompt_tokens=tokens, seconds=usage.seconds, money=money)


def open_hosted(spec: Spec, settings: Settings) -> HostedEmbedder:
    """``openai:MODEL`` or ``openai:MODEL@URL``; the address may also come from OPENAI_BASE_URL.

    Raises AuthError when the key is not set (an address of one's own may do without), MissingExtra, InputError.
    """
    dimensions = spec.read({"dimensions": 0})["dimensions"]
    if not spec.argument:
        raise InputError(
            f"got {spec.name!r}, expected openai:MODEL", remedy="for instance: openai:text-embedding-3-small"
        )
    return HostedEmbedder(spec.name, open_chat(spec.argument, settings), settings, dimensions)
