"""What hosted models cost: a dated table in ``prices.yaml``, overridden by the user's own (setting ``prices``).

A model that is in neither table is *unpriced*: its money counts as 0, and that is said, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.types import Usage

BUILT_IN = Path(__file__).with_name("prices.yaml")
_SNAPSHOT = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens read (``prompt``), read from the provider's cache, and written.

    A call whose prompt has more than ``above`` tokens costs what ``long`` says. After the day ``until`` it is no price.
    """

    prompt: float
    completion: float
    cached: float | None = None
    source: str = ""
    above: int = 0
    long: Price | None = None
    until: date | None = None

    def money(self, usage: Usage) -> float:
        """US dollars of one call; its cached tokens are part of its prompt tokens."""
        if self.long is not None and usage.prompt_tokens > self.above:
            return self.long.money(usage)
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        rate = self.prompt if self.cached is None else self.cached
        return (
            (usage.prompt_tokens - cached) * self.prompt + cached * rate + usage.completion_tokens * self.completion
        ) / 1e6


FREE = Price(0.0, 0.0, 0.0, "local")


def find(name: str, overrides: str = "") -> Price | None:
    """The price of model ``provider:name``, or None when it is unpriced.

    ``overrides`` is the path of a YAML file like the built-in one; it wins. A dated snapshot (``-2025-04-14``,
    ``-20251001``) costs what its model costs. Raises InputError when a table cannot be read.
    """
    for path in (Path(overrides).expanduser(), BUILT_IN) if overrides else (BUILT_IN,):
        table = _table(path)
        for candidate in (name, _SNAPSHOT.sub("", name)):
            if (price := table.get(candidate)) is not None:
                return price if price.until is None or date.today() <= price.until else None
    return None


def version(path: Path = BUILT_IN) -> str:
    """The date of a table."""
    return str(_document(path).get("version", ""))


@lru_cache(maxsize=8)
def _document(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            f"cannot read prices: {error}", file=path, remedy="correct the file, or unset the setting prices"
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise InputError("expected a key 'models' with one entry a model", file=path, remedy=_REMEDY)
    return document


@lru_cache(maxsize=8)
def _table(path: Path) -> Mapping[str, Price]:
    return {str(name): _price(str(name), entry, path) for name, entry in _document(path)["models"].items()}


def _price(name: str, entry: Any, path: Path) -> Price:
    def wrong(said: str) -> InputError:
        return InputError(f"model {name!r}: {said}", file=path, remedy=_REMEDY)

    if not isinstance(entry, dict) or not {"prompt", "completion"} <= set(entry) <= _FIELDS:
        raise wrong(f"expected prompt and completion (and of {', '.join(sorted(_FIELDS))}), got {entry!r}")
    rates: dict[str, float] = {}
    for key in ("prompt", "completion", "cached"):
        rate = entry.get(key)
        if rate is None and key == "cached":
            continue
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1e6:
            raise wrong(f"{key} must be dollars a million tokens, got {rate!r}")
        rates[key] = float(rate)
    above, until = entry.get("above", 0), entry.get("until")
    if (
        not isinstance(above, int)
        or ("long" in entry) != ("above" in entry)
        or not (until is None or type(until) is date)
    ):
        raise wrong("expected above (tokens) together with long (prices), and until as a day such as 2026-12-31")
    seen = f", seen {entry['seen']}" if "seen" in entry else ""
    return Price(
        rates["prompt"],
        rates["completion"],
        rates.get("cached"),
        f"{entry.get('source', '')}{seen}".removeprefix(", "),
        above,
        _price(name, entry["long"], path) if "long" in entry else None,
        until,
    )


_FIELDS = {"prompt", "completion", "cached", "source", "seen", "above", "long", "until"}
_REMEDY = "write for instance:  models: {'openai:my-model': {prompt: 0.4, completion: 1.6, cached: 0.1}}"
