"""``tune.yaml``: what to tune on which rows and how, in our words or in those of peft's LoraConfig and transformers'
TrainingArguments, which are taken as they are."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from rung.core.errors import InputError
from rung.core.system.files import under
from rung.core.types import Guard
from rung.foundations.text.yaml import read_yaml
from rung.tuning.checks.privacy import read_guard
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.work import PLACES as FILES
from rung.tuning.work import Export

OURS = {item.name for item in fields(Recipe)}
PLACES = (
    "model",
    "task",
    "data",
    "dev",
    "texts",
    "window",
    "out",
    "export",
    "name",
    "general",
    "tensorboard",
    "private",
)
LORA = {
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "use_rslora": "rslora",
    "use_dora": "dora",
}
"""peft's names and ours."""
TRAINING = {
    "num_train_epochs": "epochs",
    "learning_rate": "rate",
    "weight_decay": "decay",
    "max_grad_norm": "clip",
    "max_steps": "steps",
    "gradient_checkpointing": "checkpointing",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "seed": "seed",
}
"""transformers' names and ours."""
HEEDED = {
    "output_dir": "out",
    "logging_dir": "tensorboard",
    "per_device_train_batch_size": "rows of a step, with gradient_accumulation_steps",
    "gradient_accumulation_steps": "see per_device_train_batch_size",
    "eval_steps": "dev is looked at every so many steps",
    "save_steps": "a checkpoint at least every so many steps",
    "logging_steps": "a point of the curves every so many steps",
    "fp16": "computed in what this processor does well, bfloat16 or float32: neither needs loss scaling",
    "bf16": "computed in bfloat16",
    "bias": "only none",
    "task_type": "only CAUSAL_LM",
    "evaluation_strategy": "no, steps or epoch",
    "eval_strategy": "no, steps or epoch",
    "adam_beta1": "first of betas",
    "adam_beta2": "second of betas",
    "load_in_4bit": "method qlora, 4 bits",
    "load_in_8bit": "method qlora, 8 bits",
}
IGNORED = {
    "save_strategy": "checkpoints are written by time and at each look at dev",
    "save_total_limit": "the last two checkpoints are kept",
    "load_best_model_at_end": "the best step is always restored",
    "metric_for_best_model": "the best step is that of least loss on dev",
    "report_to": "use tensorboard: FOLDER",
    "per_device_eval_batch_size": "dev rows are cut by tokens",
    "remove_unused_columns": "there are none",
    "optim": "AdamW",
    "inference_mode": "training",
    "overwrite_output_dir": "a training of its own needs a folder of its own",
    "dataloader_num_workers": "rows lie in memory",
    "disable_tqdm": "see --quiet",
    "packing": "rows are always packed without seeing one another",
    "completion_only_loss": "only answers are trained",
    "max_length": "see window",
    "max_seq_length": "see window",
}
"""Settings that change nothing here, and why."""


@dataclass(frozen=True, slots=True)
class Config:
    """A read tune.yaml. Paths are absolute. ``dev`` is a file, a share of the rows, or None; ``general`` names task
    files or text files on which forgetting is measured; ``notes`` say what was understood differently from what was
    written."""

    recipe: Recipe
    model: str
    out: Path
    exports: tuple[Export, ...]
    task: str = ""
    data: tuple[Path, ...] = ()
    texts: tuple[Path, ...] = ()
    dev: Path | float | None = None
    window: int = 0
    name: str = ""
    general: tuple[str, ...] = ()
    tensorboard: Path | None = None
    saves: int = 0
    points: int = 1
    private: Guard | None = None
    notes: tuple[str, ...] = ()


def read(path: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration; ``changes`` win over the file. Raises InputError for unknown keys and wrong values."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        document = read_yaml(text)
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror or error}", file=path, remedy="name a tune.yaml") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error)
        raise InputError(
            f"not valid YAML: {said}", file=path, line=mark.line + 1 if mark else None, remedy="correct the file"
        ) from None
    if not isinstance(document, dict):
        raise InputError("expected a mapping of settings", file=path, remedy="see docs/tuning.md")
    try:
        return understand({**_flat(document), **(changes or {})}, path.parent.resolve())
    except InputError as error:
        raise InputError(error.message, file=path, remedy=error.remedy) from None


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Settings may lie under ``recipe``, ``lora`` or ``training``, or side by side."""
    out: dict[str, Any] = {}
    for key, value in document.items():
        inner = value if key in ("recipe", "lora", "lora_config", "training", "training_args") else None
        for name, given in (inner if isinstance(inner, Mapping) else {key: value}).items():
            if name in out and out[name] != given:
                raise InputError(f"{name} is given twice: {out[name]!r} and {given!r}", remedy="keep one")
            out[str(name)] = given
    return out


def understand(given: Mapping[str, Any], folder: Path) -> Config:
    """Settings by name as a Config; relative paths are under ``folder``. Raises InputError."""
    _refuse_unknown(given)
    notes = [f"{key}: {IGNORED[key]}" for key in given if key in IGNORED]
    values = _renamed(given)
    _translate(given, values, notes)
    recipe = _recipe(values)
    recipe.validate()
    if recipe.advice:
        notes.append(recipe.advice)
    data, texts = (tuple(under(folder, item) for item in _several(key, given)) for key in ("data", "texts"))
    task = str(given.get("task") or "")
    if sum(map(bool, (data, texts, task))) != 1:
        raise InputError(
            f"got {'none' if not (data or texts or task) else 'several'} of data, texts and task, expected one",
            remedy="data: FILE (rows with answers), texts: FILE (plain text), or task: task.yaml",
        )
    board = given.get("tensorboard") or given.get("logging_dir")
    return Config(
        recipe=recipe,
        model=str(given.get("model") or ""),
        out=under(folder, str(given.get("out") or given.get("output_dir") or f"{recipe.method}-tuned")),
        exports=_exports(given, recipe.method),
        task=_beside(folder, task),
        data=data,
        texts=texts,
        dev=_dev(given, folder),
        window=_whole("window", given.get("window", 0)),
        name=str(given.get("name") or ""),
        general=tuple(_beside(folder, item) for item in _several("general", given)),
        tensorboard=under(folder, str(board)) if board else None,
        saves=_whole("save_steps", given.get("save_steps", 0)),
        points=max(1, _whole("logging_steps", given.get("logging_steps", 1))),
        private=read_guard(given.get("private"), folder),
        notes=tuple(notes),
    )


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    known = {*OURS, *PLACES, *LORA, *TRAINING, *HEEDED, *IGNORED}
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(OURS | set(PLACES)))}"
            raise InputError(f"unknown setting {key!r}", remedy=remedy)


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's settings by our names."""
    values: dict[str, Any] = {key: given[key] for key in OURS if key in given}
    for theirs, ours in (LORA | TRAINING).items():
        if theirs in given and theirs != ours:
            if ours in values and theirs != "warmup_ratio":
                raise InputError(f"{theirs} and {ours} are the same setting, and both are given", remedy="keep one")
            values[ours] = given[theirs]
    return values


def _several(key: str, given: Mapping[str, Any], default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The texts of a setting that may be one or a list."""
    value = given.get(key)
    items = [value] if isinstance(value, str) and value else value or default
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise InputError(f"{key} is {value!r}, expected a text or a list of texts", remedy=f"{key}: [...]")
    return tuple(items)


def _exports(given: Mapping[str, Any], method: str) -> tuple[Export, ...]:
    default = {"full": ("f16",), "lora": ("adapter", "f16"), "qlora": ("adapter", "f16")}.get(method, ("adapter",))
    exports = _several("export", given, default) if given.get("export") != [] else ()
    if unknown := [item for item in exports if item not in FILES]:
        raise InputError(f"unknown export {unknown[0]!r}", remedy=f"expected {', '.join(FILES)}")
    return cast("tuple[Export, ...]", exports)


def _dev(given: Mapping[str, Any], folder: Path) -> Path | float | None:
    dev = None if _strategy(given) == "no" else given.get("dev")
    if isinstance(dev, str):
        return under(folder, dev)
    if dev is not None and (isinstance(dev, bool) or not isinstance(dev, int | float) or not 0 < dev < 1):
        raise InputError(f"dev is {dev!r}, expected a file or a share between 0 and 1", remedy="dev: 0.1")
    return dev


def _beside(folder: Path, name: str) -> str:
    """A task's name, or the path of its file where there is one in the folder."""
    return str(folder / name) if name and (folder / name).exists() else name


def _strategy(given: Mapping[str, Any]) -> str:
    value = given.get("eval_strategy", given.get("evaluation_strategy", "steps" if "eval_steps" in given else "epoch"))
    if value not in ("no", "steps", "epoch"):
        raise InputError(f"eval_strategy is {value!r}", remedy="expected no, steps or epoch")
    return str(value)


def _translate(given: Mapping[str, Any], values: dict[str, Any], notes: list[str]) -> None:
    """Settings that are no mere renaming."""
    if given.get("bias", "none") != "none":
        raise InputError(f"bias is {given['bias']!r}", remedy="only bias: none is trained")
    if given.get("task_type", "CAUSAL_LM") != "CAUSAL_LM":
        raise InputError(f"task_type is {given['task_type']!r}", remedy="only CAUSAL_LM is tuned")
    if "per_device_train_batch_size" in given or "gradient_accumulation_steps" in given:
        if "batch" in values:
            raise InputError("batch and per_device_train_batch_size are both given", remedy="keep one")
        one = _whole("per_device_train_batch_size", given.get("per_device_train_batch_size", 8))
        values["batch"] = one * _whole("gradient_accumulation_steps", given.get("gradient_accumulation_steps", 1))
        notes.append(f"a step is {values['batch']} rows; how many are computed at once is set by tokens")
    if given.get("fp16") and "precision" not in values:
        values["precision"] = "auto"
        notes.append(f"fp16: {HEEDED['fp16']}")
    elif "bf16" in given and "precision" not in values:
        values["precision"] = "bf16" if given["bf16"] else "fp32"
    if "adam_beta1" in given or "adam_beta2" in given:
        values["betas"] = (given.get("adam_beta1", 0.9), given.get("adam_beta2", 0.999))
    if values.get("schedule") == "constant_with_warmup":
        values["schedule"] = "constant"
    if values.get("steps") == -1:  # transformers' way to say: no cut
        values["steps"] = 0
    if _strategy(given) == "steps" and "interval" not in values:
        values["interval"] = _whole("eval_steps", given.get("eval_steps", 500))
    if given.get("load_in_4bit") or given.get("load_in_8bit"):
        values["method"], values["bits"] = "qlora", 4 if given.get("load_in_4bit") else 8


def _recipe(values: Mapping[str, Any]) -> Recipe:
    """A Recipe with values of the right types."""
    out: dict[str, Any] = {}
    blank = Recipe()
    for key, value in values.items():
        like = getattr(blank, key)
        try:
            if key in ("targets", "betas"):
                out[key] = tuple([value] if isinstance(value, str) else value)
            elif key == "rate":
                out[key] = None if value is None else float(value)  # YAML reads 2e-5 as text
            elif isinstance(like, bool):
                if not isinstance(value, bool):
                    raise ValueError
                out[key] = value
            elif isinstance(like, int):
                if isinstance(value, bool) or float(value) != int(float(value)):
                    raise ValueError
                out[key] = int(float(value))
            elif isinstance(like, float):
                out[key] = float(value)
                if not math.isfinite(out[key]):
                    raise ValueError
            else:
                out[key] = value
        except (TypeError, ValueError):
            raise InputError(
                f"{key} is {value!r}, expected {type(like).__name__}", remedy=f"for example {key}: {like}"
            ) from None
    return replace(blank, **out)


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{key} is {value!r}, expected a whole number", remedy=f"{key}: 10")
    return value
