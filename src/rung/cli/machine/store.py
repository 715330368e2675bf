"""``rung store``: a store encrypted, its key changed, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import StoreUrl
from rung.core.errors import InputError
from rung.core.settings import Settings

app = typer.Typer(help="Encrypt the store, change its key, decrypt it.", rich_markup_mode=None, no_args_is_help=True)

NewKey = Annotated[str, typer.Option("--new-key-file", help="A file with the new key.", metavar="FILE")]


@app.command()
def key() -> None:
    """Print a new key. Whoever loses it has lost the store."""
    from rung.store.engine.cipher import new_key

    typer.echo(new_key())


@app.command()
def encrypt(store: StoreUrl = None) -> None:
    """Encrypt the store with the key in RUNG_STORE_KEY (or in the file that RUNG_STORE_KEY_FILE names); stop servers
    before."""
    file = _file(store)
    _convert(file, "", _key(), plain=True)
    typer.echo(f"{file} is encrypted; without its key nobody can read it, you neither")
    typer.echo(
        "not encrypted: vectors of collections, model folders, exported programs, Postgres (use an encrypted disk)"
    )


@app.command()
def rekey(new_key_file: NewKey, store: StoreUrl = None) -> None:
    """Change the key of an encrypted store to that of a file."""
    from rung.store.engine.cipher import read_key_file

    file, old = _file(store), _key()
    _convert(file, old, read_key_file(Path(new_key_file)), plain=False)
    typer.echo(f"{file} has the key of {new_key_file} now: set RUNG_STORE_KEY_FILE={new_key_file}")


@app.command()
def decrypt(store: StoreUrl = None) -> None:
    """Write an encrypted store as a plain one."""
    file = _file(store)
    _convert(file, _key(), "", plain=False)
    typer.echo(f"{file} is not encrypted any more: unset RUNG_STORE_KEY")


def _file(store: str | None) -> Path:
    from rung.store.engine.address import parse

    url = parse(Settings({"store": store}).store_url)
    if url.get_backend_name() != "sqlite" or not url.database:
        raise InputError("only a store in a file can be encrypted", remedy="encrypt the disk of the database's server")
    if not Path(url.database).is_file():
        raise InputError(f"there is no store {url.database}", remedy="name it: --store sqlite:///FILE")
    return Path(url.database)


def _key() -> str:
    from rung.store.engine.cipher import VARIABLE, read_key

    if not (found := read_key()):
        raise InputError(f"{VARIABLE} is not set", remedy=f"make a key: export {VARIABLE}=$(rung store key)")
    return found


def _convert(file: Path, old: str, new: str, *, plain: bool) -> None:
    from rung.store.engine.cipher import convert, is_plain

    if is_plain(file) is not plain:
        said = "is encrypted already" if plain else "is not encrypted"
        raise InputError(f"{file} {said}", remedy="see: rung store --help", code="encrypted")
    convert(file, old, new)
