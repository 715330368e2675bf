"""An align.yaml: what is wished for, by which method, and how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rung.alignment.methods.dpo import Dpo
from rung.alignment.methods.method import AlignMethod
from rung.alignment.methods.names import METHODS
from rung.alignment.rewards.reward import read_weights
from rung.alignment.rewards.robust import read_defences
from rung.alignment.runs.loop import Pacing
from rung.alignment.runs.player import Drawing
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.system.files import under
from rung.foundations.text.yaml import load_yaml
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.work import PLACES

T = TypeVar("T")
LORA = ("rank", "alpha", "targets", "upper", "precision", "tokens")
"""What of a tuning's recipe is an alignment's too."""


@dataclass(frozen=True, slots=True)
class AlignConfig:
    """One alignment. Exactly one of ``task`` (its train split is answered and rewarded by ``reward``), ``pairs`` (a
    file of preference pairs, for dpo) and ``environment`` (played from a table) is given; dpo over a task makes its own
    pairs, the best against the worst of ``replies`` answers. ``gold`` is what is really wished for, measured on
    ``held`` examples of dev that nothing is learnt from. ``policy``: who plays an environment, a table or the language
    model. ``robust`` names defences against cheating; ``watch`` switches the auditor on."""

    method: AlignMethod | Dpo
    drawing: Drawing
    pace: Pacing
    recipe: Recipe
    out: Path
    model: str = ""
    task: str = ""
    pairs: tuple[Path, ...] = ()
    environment: str | Mapping[str, Any] = ""
    policy: str = "table"
    reward: Mapping[str, float] = field(default_factory=dict)
    gold: Mapping[str, float] = field(default_factory=dict)
    robust: tuple[str, ...] = ()
    held: int = 60
    exports: tuple[str, ...] = ("adapter", "f16")
    watch: bool = True
    instruction: str = "full"
    tensorboard: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of its method, for others that have the same options; and ``options: {METHOD: {...}}`` for one
    alone."""
    general: tuple[str, ...] = ()
    """Tasks, texts or rows on which the weights before and after are compared, in place of those that come with
    rung."""

    def named(self, method: str) -> AlignConfig:
        """The same by another method, in a folder of its own."""
        found = _method(method, {**self.options, **(self.options.get("options") or {}).get(method, {})})
        return replace(self, method=found, out=self.out.with_name(f"{self.out.name}-{method}"))


def read(path: Path, changes: Mapping[str, Any] | None = None) -> AlignConfig:
    """The configuration of a file, with some settings changed. Paths in it are under its folder. Raises InputError
    naming the setting."""
    document = load_yaml(path, "name an align.yaml: docs/alignment.md")
    if not isinstance(document, dict):
        raise InputError("expected a mapping of settings", file=path, remedy="see docs/alignment.md")
    try:
        return understand({**document, **(changes or {})}, path.parent.resolve())
    except InputError as error:
        raise InputError(error.message, file=path, remedy=error.remedy, code=error.code) from None


def understand(given: Mapping[str, Any], folder: Path) -> AlignConfig:
    """Settings by name as a configuration; relative paths are under ``folder``. Raises InputError."""
    own = {item.name for item in fields(AlignConfig)} - {"drawing", "pace", "recipe"}
    name = str(given.get("method", "grpo"))
    kinds = (_kind(name), Drawing, Pacing)
    known = own.union(LORA, *({item.name for item in fields(kind)} for kind in kinds))
    for key in given:
        if key not in known:
            raise InputError(f"unknown setting {key!r} for {name}", remedy=nearest(key, known), code="setting")
    method = _method(name, {**given, **_own(given, name)})
    drawing, pace = _fill(Drawing, given), _fill(Pacing, given)
    if isinstance(method, AlignMethod):
        method.validate(drawing.replies)
    pace.validate()
    held = _one("held", int, given, 60)
    drawing.validate(held)
    recipe = replace(
        Recipe(rank=8, alpha=16.0, upper=0.34, precision="fp32", seed=drawing.seed),
        **{
            key: value
            for key, value in vars_of(_fill(Recipe, {k: given[k] for k in LORA if k in given})).items()
            if key in given
        },
    )
    recipe.validate()
    _check_source(given, name)
    task = str(given.get("task") or "")
    reward = _beside(read_weights(given["reward"]), folder) if given.get("reward") else {}
    board = given.get("tensorboard")
    robust = given.get("robust") or ()
    robust = (robust,) if isinstance(robust, str) else tuple(map(str, robust))
    read_defences(robust)
    return AlignConfig(
        method,
        drawing,
        pace,
        recipe,
        under(folder, str(given.get("out") or f"{name}-aligned")),
        str(given.get("model") or ""),
        _place(folder, task),
        tuple(under(folder, item) for item in _several(_files(given))),
        given.get("environment") or "",
        _policy(given),
        reward,
        _beside(read_weights(given["gold"]), folder) if given.get("gold") else {},
        robust,
        held,
        _exports(given),
        _one("watch", bool, given, True),
        _instruction(given),
        under(folder, str(board)) if board else None,
        {key: value for key, value in given.items() if key not in own or key == "options"},
        tuple(_place(folder, item) for item in _several(given.get("general"))),
    )


def _place(folder: Path, name: str) -> str:
    """A file of the folder where there is one of that name, else the name."""
    return str(folder / name) if name and (folder / name).exists() else name


def _check_source(given: Mapping[str, Any], name: str) -> None:
    """Raises InputError unless there is one source to learn from, and nothing that it has no use for."""
    sources = [key for key in ("task", "pairs", "environment") if (_files(given) if key == "pairs" else given.get(key))]
    if len(sources) != 1 or ((sources == ["pairs"]) and name != "dpo"):
        raise InputError(
            f"got {' and '.join(sources) or 'none'} of task, pairs and environment, expected one (pairs: for dpo alone)",
            remedy="task: task.yaml, pairs: FILE, or environment: gridworld",
        )
    if sources != ["task"] and (idle := [key for key in ("reward", "gold", "robust") if given.get(key)]):
        raise InputError(
            f"{idle[0]} does nothing beside {sources[0]}: what is learnt from is in {sources[0]} itself",
            remedy=f"leave {idle[0]} out, or name a task in place of {sources[0]}",
            code="setting",
        )


def _files(given: Mapping[str, Any]) -> Any:
    """What ``pairs`` names, if it is files; a number is how many dpo takes a step."""
    value = given.get("pairs")
    return None if isinstance(value, int) else value


def vars_of(record: Any) -> dict[str, Any]:
    """The fields of a dataclass by name."""
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _own(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What stands under ``options`` for a method alone. Raises InputError for what is no option of it."""
    options = given.get("options") or {}
    if not isinstance(options, Mapping) or not all(isinstance(value, Mapping) for value in options.values()):
        raise InputError(f"options is {options!r}", remedy="for example options: {trpo: {bound: 0.02}}", code="setting")
    for method, values in options.items():
        known = {item.name for item in fields(_kind(str(method)))}
        if unknown := [key for key in values if key not in known]:
            raise InputError(
                f"{method} has no option {unknown[0]!r}", remedy=nearest(unknown[0], known), code="setting"
            )
    found: Mapping[str, Any] = options.get(name, {})
    return found


def _kind(name: str) -> type[AlignMethod | Dpo]:
    if name == "dpo":
        return Dpo
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}", remedy=f"known: {', '.join([*METHODS, 'dpo'])}", code="method")
    return METHODS[name]


def _method(name: str, given: Mapping[str, Any]) -> AlignMethod | Dpo:
    kind = _kind(name)
    options = {item.name for item in fields(kind)} - ({"pairs"} if _files(given) else set())
    method = _fill(kind, {key: value for key, value in given.items() if key in options})
    if isinstance(method, Dpo):
        method.validate()
    return method


def _fill(kind: type[T], given: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _one(name, hints[name], given, None) for name in given if name in names})


def _one(name: str, kind: Any, given: Mapping[str, Any], default: Any) -> Any:
    if name not in given:
        return default
    try:
        return decode(kind, given[name])
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {given[name]!r}: {error}", remedy=f"correct {name}", code="setting") from None


def _exports(given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get("exports", ["adapter", "f16"])
    items = _several(value)
    if unknown := [item for item in items if item not in PLACES]:
        raise InputError(f"unknown export {unknown[0]!r}", remedy=f"expected {', '.join(PLACES)}")
    return items


def _policy(given: Mapping[str, Any]) -> str:
    value = given.get("policy", "table")
    if value not in ("table", "language") or (value == "language" and not given.get("environment")):
        raise InputError(f"policy is {value!r}", remedy="expected table or language, beside environment: NAME")
    return str(value)


def _instruction(given: Mapping[str, Any]) -> str:
    value = given.get("instruction", "full")
    if value not in ("short", "full"):
        raise InputError(f"instruction is {value!r}", remedy="expected short (the task's instruction alone) or full")
    return str(value)


def _beside(weights: Mapping[str, float], folder: Path) -> dict[str, float]:
    """Metrics with the files that they name looked up in ``folder`` first."""
    out = {}
    for name, weight in weights.items():
        metric, _, argument = name.partition(":")
        out[f"{metric}:{folder / argument}" if argument and (folder / argument).exists() else name] = weight
    return out


def _several(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise InputError(f"got {value!r}, expected a text or a list of texts", remedy="correct the file")
    return tuple(items)
