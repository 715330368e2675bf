"""One contract for every rung: what the ladder reads of it before it fits one is declared."""

from __future__ import annotations

import pytest

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.parts.rung import make_rung
from rung.core.protocols import Rung, Trainable, Traits
from rung.core.types import RungChoice


@pytest.mark.parametrize("name", sorted(registry.table("rung")))
def test_every_rung_declares_its_traits(name: str) -> None:
    rung = make_rung(RungChoice(name))
    assert isinstance(rung, Rung)
    assert isinstance(rung.traits, Traits)
    assert isinstance(rung, Trainable) == rung.traits.tuned


class Undeclared:
    """A rung without traits."""

    def obstacle(self, task: object, resources: object) -> str:
        return ""

    async def fit(self, task: object, context: object) -> None: ...


def test_what_does_not_declare_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: Undeclared)
    with pytest.raises(InputError) as refused:
        make_rung(RungChoice("undeclared"))
    assert refused.value.code == "rung-protocol"
