"""Work spread over Ray Data (docs.ray.io/en/latest/data/data.html): values go through steps wherever Ray has room, and
come back in the order of what went in.

Values travel pickled, each in a row of its own. Steps are functions from one value to any number; what they open they
open by name, so on several machines it must be there.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rung.core import errors
from rung.core.errors import RungError
from rung.core.system.extras import require

if TYPE_CHECKING:
    import pyarrow as pa

STORE = 512 * 1024 * 1024
"""Bytes of shared memory that a Ray of our own may hold values in."""
BLOCK = 2 * 1024 * 1024
"""Bytes of results that are handed on together, so that what is ready is not waited for."""

Work = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class RayStep:
    """What is done with each value, and how many cores that takes."""

    work: Work
    cores: float = 1.0


@contextmanager
def running() -> Iterator[None]:
    """The Ray that runs (``ray.init`` before, or RAY_ADDRESS), else one of our own on this machine, ended behind it.
    Raises MissingExtra without Ray, RungError when it cannot be started or reached."""
    require("ray.data", "ray", "--on ray")
    require("pyarrow", "ray", "--on ray")
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        options["object_store_memory"] = STORE
    try:
        ray.init(**options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise RungError(
            f"cannot start or reach Ray: {error}", remedy="see RAY_ADDRESS, or leave --on ray out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def spread(groups: Iterable[Sequence[Any]], steps: Sequence[RayStep]) -> Generator[Any]:
    """What the steps make of all values, in order. Values of one group are read by one task, which has its price.

    Raises what a step raised on purpose (a RungError), and RungError when Ray itself failed.
    """
    with running():
        import pyarrow
        import ray
        from ray import data

        tables = [
            pyarrow.table({"value": pyarrow.array(list(map(pickle.dumps, group)), pyarrow.large_binary())})
            for group in groups
        ]
        if not tables:
            return
        with _quiet(data):
            try:
                found = data.from_arrow(tables)
                for step in steps:
                    found = found.map_batches(
                        partial(apply, work=step.work), batch_size=1, batch_format="pyarrow", num_cpus=step.cores,
                        zero_copy_batch=True,
                    )  # fmt: skip
                for batch in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                    yield from unpacked(batch)
            except (ray.exceptions.RayError, data.exceptions.RayDataUserCodeException) as error:
                said = str(error).strip().splitlines()
                raise RungError(
                    f"Ray could not finish: {said[-1] if said else type(error).__name__}",
                    remedy="what was written stays: run the same again, or leave --on ray out",
                ) from error


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """Results in the order of what went in, blocks kept small, nothing printed; the caller's settings come back at
    the end."""
    context = data.DataContext.get_current()
    wanted = {"enable_progress_bars": False, "print_on_execution_start": False, "target_max_block_size": BLOCK}
    before = {name: getattr(context, name) for name in wanted}
    order = context.execution_options.preserve_order
    logger = logging.getLogger("ray.data")
    level = logger.level
    for name, value in wanted.items():
        setattr(context, name, value)
    context.execution_options.preserve_order = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        context.execution_options.preserve_order = order
        logger.setLevel(level)


# ---------------------------------------------------------------- in a worker


@dataclass(frozen=True, slots=True)
class _Raised:
    """An error that was raised on purpose, on its way to the process that asked."""

    kind: str
    message: str
    remedy: str

    def error(self) -> RungError:
        kind: type[RungError] = getattr(errors, self.kind, RungError)
        return kind(self.message, remedy=self.remedy)


def apply(batch: pa.Table, work: Work) -> Iterator[pa.Table]:
    """A step's results for each value of a batch, a table each. An error of ours is a result, which later steps pass
    on."""
    for raw in batch.column("value").to_pylist():
        value = pickle.loads(raw)  # noqa: S301  the process that asked, or a step before this, wrote it
        if isinstance(value, _Raised):
            yield packed(value)
            continue
        try:
            for made in work(value):
                yield packed(made)
        except RungError as error:
            yield packed(_Raised(type(error).__name__, error.message, error.remedy))


def packed(value: Any) -> pa.Table:
    """A value as the one row of a table."""
    import pyarrow

    return pyarrow.table({"value": pyarrow.array([pickle.dumps(value, protocol=5)], pyarrow.large_binary())})


def unpacked(batch: pa.Table) -> Iterator[Any]:
    """The values of a batch. Raises the error that a step raised in place of one."""
    for raw in batch.column("value").to_pylist():
        value = pickle.loads(raw)  # noqa: S301  our own worker wrote it
        if isinstance(value, _Raised):
            raise value.error()
        yield value
