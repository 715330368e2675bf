"""A language model of the product, SmolLM2 for instance, as this room's own decoder computes it: weights in 32-bit
floats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.core.errors import InputError, Unsupported
from rung.core.settings import Settings
from rung.foundations.language import Tensor, tensors
from rung.foundations.language.transformer import DecoderModel, DecoderShape, KeyValueCache
from rung.models import hub
from rung.models.adapters import weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT = "smollm2-135m"


@dataclass(frozen=True)
class EmbeddedDecoder:
    """``ours`` shares its weights with ``reference``, the model as transformers computes it (attention "eager")."""

    ours: DecoderModel
    reference: Any
    tokenizer: Any

    @classmethod
    def open(cls, name: str, settings: Settings) -> EmbeddedDecoder:
        """A catalogue name, a GGUF file or a model folder of the Llama family. Raises FetchError where it is not there,
        InputError, MissingExtra, and Unsupported for another architecture."""
        name = name.removeprefix("openvino:").removeprefix("transformers:")
        model, tokenizer = weights.read(hub.locate(name, settings.cache), f"the model {name}")
        config = model.config
        if config.model_type != "llama" or getattr(config, "attention_bias", False):
            raise Unsupported(
                f"{name} is of the family {config.model_type!r}, expected llama",
                remedy=f"use {DEFAULT}",
            )
        model = model.float().eval()
        model.set_attn_implementation("eager")
        turning: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
        base: Any = turning.get("rope_theta") or getattr(config, "rope_theta", 10_000.0)
        shape = DecoderShape(
            config.vocab_size,
            config.hidden_size,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.intermediate_size,
            base=float(base),
            epsilon=config.rms_norm_eps,
        )
        return cls(DecoderModel(shape, dict(model.state_dict())), model, tokenizer)

    def read(self, text: str, most: int) -> list[int]:
        """The tokens of a plain text. Raises InputError for none, or more than ``most``."""
        ids = [int(id) for id in self.tokenizer(text, verbose=False)["input_ids"]]
        if not ids:
            raise InputError("the text is empty", remedy="give a text in quotes", code="empty-text")
        if len(ids) > most:
            raise InputError(
                f"the text has {len(ids):,} tokens, at most {most} can be shown", remedy="shorten it", code="long-text"
            )
        return ids

    def spell(self, ids: list[int]) -> list[str]:
        return [str(self.tokenizer.decode([id], clean_up_tokenization_spaces=False)) for id in ids]


@dataclass
class CachedContinuation:
    """A decoder that goes on from what it has read (``sampling.Continuation``)."""

    model: DecoderModel
    cache: KeyValueCache = field(default_factory=KeyValueCache)

    def begin(self, prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        self.cache = KeyValueCache()
        return self._read(tensors().from_numpy(prompts))

    def extend(self, rows: NDArray[np.int64], symbols: NDArray[np.int64]) -> NDArray[np.float64]:
        self.cache.choose(tensors().from_numpy(rows))
        return self._read(tensors().from_numpy(symbols)[:, None])

    def _read(self, ids: Tensor) -> NDArray[np.float64]:
        torch = tensors()
        with torch.inference_mode():
            logits = self.model.logits(ids, cache=self.cache, last=True)[:, 0]
            out: NDArray[np.float64] = torch.log_softmax(logits, -1).double().numpy()
        return out
