"""Closed forms of answers as token masks, through llguidance (Microsoft, MIT): regular expressions, JSON schemas, EBNF.

A form that cannot be compiled is an InputError of the one request that asked for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rung.core.codec import canonical, encode
from rung.core.errors import InputError, ModelError
from rung.core.system.extras import require
from rung.core.types import ResponseFormat

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUMBER = r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,10})?"
"""What ``ResponseFormat(kind="number")`` means: a decimal number without an exponent."""

FUEL = 5_000_000
"""Work that one mask may take, about 0.3 s: words that are forbidden within a bounded text need more than llguidance
allows by itself (200,000), and only at their first tokens."""

KINDS = frozenset({"text", "labels", "json", "regex", "number", "grammar"})
_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "coerce_one_of": True}


def _lark(label: str) -> str:
    return json.dumps(label, ensure_ascii=False)


class Grammars:
    """Compiles forms for one vocabulary: ``tokens`` are the bytes of every token (specials: their text)."""

    def __init__(
        self,
        tokens: Sequence[bytes],
        specials: Sequence[int],
        ends: Sequence[int],
        encode: Callable[[str], Sequence[int]],
    ) -> None:
        ll = require("llguidance", "embedded", "a closed form of answer (labels, json, regex, number, grammar)")
        self._matcher = ll.LLMatcher
        self._limits = ll.LLParserLimits(step_lexer_fuel=FUEL)
        self._from = ll.grammar_from
        self._tokenizer = ll.LLTokenizer(
            ll.TokenizerWrapper(_Vocabulary(list(tokens), list(specials), ends[0], encode)), eos_token=list(ends)
        )
        self._start = lru_cache(maxsize=128)(self._compile)

    def matcher(self, form: ResponseFormat) -> Mask | None:
        """A fresh mask for the form, None for free text. Raises InputError when the form cannot be compiled."""
        if form.kind == "text":
            return None
        key = {
            "labels": canonical(list(form.labels)),
            "json": json.dumps(
                encode(form.schema), ensure_ascii=False, allow_nan=False
            ),  # fields are said in this order
            "number": NUMBER,
        }.get(form.kind, form.pattern)
        return Mask(self._start(form.kind, key).deep_copy(), self._tokenizer.vocab_size)

    def _compile(self, kind: str, key: str) -> Any:
        try:
            if kind == "labels":
                labels = json.loads(key)
                if not labels:
                    raise ValueError("no labels")
                source = "start: " + " | ".join(_lark(label) for label in labels)
            elif kind == "json":
                source = self._matcher.grammar_from_json_schema(key or "{}", overrides=_JSON)
            elif kind in ("regex", "number"):
                source = self._matcher.grammar_from_regex(key)
            else:
                source = self._from("grammar", key)
            matcher = self._matcher(self._tokenizer, source, log_level=0, limits=self._limits)
            if not matcher.is_error():
                first = matcher.deep_copy()
                first.compute_bitmask()  # some forms compile, and nothing can begin them
                problem = first.get_error() if first.is_error() else ""
            else:
                problem = matcher.get_error()
        except ValueError as error:
            problem = str(error) or type(error).__name__
        if problem:
            raise InputError(
                f"the {kind} form cannot be compiled: {problem.strip().splitlines()[0]}",
                remedy=f"correct this {kind}: {key[:200]}",
            )
        return matcher


def reader(form: ResponseFormat) -> Callable[[str], bool]:
    """Whether a text has the form, by the rules that it is decoded by. Raises InputError when it cannot be compiled,
    and MissingExtra without llguidance."""
    # A vocabulary of single bytes reads every text.
    grammars = Grammars([*(bytes([n]) for n in range(256)), b"<end>"], [256], [256], lambda text: list(text.encode()))
    first = grammars.matcher(form)
    return (lambda _: True) if first is None else lambda text: first.copy().reads(text.encode("utf-8", "replace"))


class _Vocabulary:
    """A vocabulary in the shape that llguidance asks for."""

    bos_token_id = None

    def __init__(
        self, tokens: list[bytes], specials: list[int], end: int, encode: Callable[[str], Sequence[int]]
    ) -> None:
        self.tokens = tokens
        self.special_token_ids = specials
        self.eos_token_id = end
        self._encode = encode

    def __call__(self, text: bytes | str) -> list[int]:
        return list(self._encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text))


class Mask:
    """The state of one answer under a form."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, shape (vocabulary,). Raises ModelError for a form that nothing can follow, or
        that takes too much to work out."""
        import numpy as np

        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():  # its mask would be the end of the text, as if this one were whole
            raise ModelError(f"the form broke down here: {self._matcher.get_error().splitlines()[0]}", code="form")
        return np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)

    def take(self, token: int) -> None:
        """Advance by a token. Raises RuntimeError when the form does not allow it."""
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"the form stopped: {self._matcher.get_error() or self._matcher.stop_reason()}")

    @property
    def complete(self) -> bool:
        """Nothing but the end may follow."""
        return bool(self._matcher.is_stopped())

    def reads(self, tokens: Sequence[int]) -> bool:
        """Advance by all ``tokens``; whether the form allows each, and an end after the last."""
        return all(self._matcher.consume_token(token) for token in tokens) and bool(self._matcher.is_accepting())

    def copy(self) -> Mask:
        return Mask(self._matcher.deep_copy(), self._vocabulary)
