from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from rung.cli.base.options import assigned_values, expand
from rung.core.errors import InputError
from rung.core.parts.option import option


@dataclass(frozen=True)
class Oven:
    heat: int = option(180, "Degrees.", low=20, high=300)
    trays: tuple[str, ...] = option((), "Which trays.", flags=("--tray", "-t"))
    fan: bool = option(False, "With the fan.")
    mode: Literal["grill", "bake"] = option("bake", "How.")
    kept: str = "nobody is asked"


def bake(name: str, oven: Oven) -> None:
    typer.echo(f"{name} {oven}")


def call(*words: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(expand(bake))
    return CliRunner().invoke(app, list(words))


def test_each_field_with_a_help_is_an_option_and_the_verb_gets_the_record() -> None:
    done = call("bread", "--heat", "220", "--tray", "a", "-t", "b", "--fan", "--mode", "grill")
    assert done.output.strip() == f"bread {Oven(220, ('a', 'b'), True, 'grill')}"
    assert call("bread").output.strip() == f"bread {Oven()}"


def test_bounds_and_choices_are_those_of_the_field() -> None:
    assert call("x", "--heat", "301").exit_code == 2
    assert call("x", "--mode", "fry").exit_code == 2
    assert call("x", "--kept", "y").exit_code == 2
    assert "Degrees." in call("--help").output


def test_a_verb_without_a_record_is_left_alone() -> None:
    def plain(name: str) -> None: ...

    assert expand(plain) is plain


def test_options_are_yaml() -> None:
    assert assigned_values(["a=1", "b=[x, 2]", "c=x=y", "d="]) == {"a": 1, "b": ["x", 2], "c": "x=y", "d": None}
    for bad in ("a", "=1", "a=[1"):
        with pytest.raises(InputError):
            assigned_values([bad])
