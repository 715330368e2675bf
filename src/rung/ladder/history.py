"""Runs read back from the store: what was measured, example by example, and what changed between two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rung.core.codec import decode, digest, encode
from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Answer, Case, Example, Result
from rung.ladder.measure import looks
from rung.ladder.measure.evaluate import Evaluator, example_hash, failures_key
from rung.ladder.records import RungRecord, RunRecord
from rung.metrics import load_metric
from rung.metrics.stats import Difference, holm, paired
from rung.store import Entry, Store, StoredLook

ALL = "all"


def _examples_key(task_hash: str) -> str:
    return digest(["examples", task_hash])


async def keep_examples(store: Store, run: str, task_hash: str, examples: Sequence[Example]) -> None:
    """Keep the test examples beside the answers, so that a run can be read when its files have moved."""
    key = _examples_key(task_hash)
    if not store.answers.recall(key, [ALL], 0):
        await store.answers.record([Entry(key, ALL, json.dumps(encode(list(examples)), ensure_ascii=False), 0, run)])


def read_examples(store: Store, task_hash: str) -> list[Example]:
    """The test examples of a task that was climbed, in the order in which they were asked."""
    found = store.answers.recall(_examples_key(task_hash), [ALL], 0)
    if ALL not in found:
        raise InputError("the store does not hold this run's examples", remedy="climb the task again")
    return [decode(Example, item) for item in json.loads(found[ALL])]


def read_run(store: Store, run: str) -> RunRecord:
    """The run of that id (or its unique start, or ``last``), as far as it came."""
    row = store.runs.find(run)
    record = decode(RunRecord, json.loads(row.summary))
    if not record.rungs:
        record = replace(
            record, rungs=tuple(decode(RungRecord, json.loads(stored.payload)) for stored in store.runs.rungs(row.id))
        )
    return replace(record, status=row.status)


def read_runs(store: Store, limit: int) -> list[RunRecord]:
    """Newest first."""
    return [read_run(store, row.id) for row in store.runs.newest(limit)]


def find_rung(run: RunRecord, title: str) -> RungRecord:
    """The rung of that title. Raises InputError naming those that the run has."""
    record = run.rung(title)
    if record is None:
        raise InputError(
            f"run {run.id} has no rung {title!r}",
            remedy=f"its rungs: {', '.join(record.title for record in run.rungs)}",
        )
    return record


async def read_results(
    store: Store,
    run: RunRecord,
    title: str,
    resources: Resources,
    metrics: Sequence[str] | None = None,
    *,
    what: str = "show",
) -> list[Result]:
    """What a rung answered in a run, scored again from the journal (judges' scores are journalled too). ``what`` asks
    for it: a look at the test split, which is noted."""
    record = find_rung(run, title)
    if not record.program:
        raise InputError(f"{title} has no answers in run {run.id}: {record.reason}", remedy=f"rung show {run.id}")
    examples = read_examples(store, run.task_hash)
    looks.show(store, examples, StoredLook("", run.task, run.task_hash, run.id, record.program, what))
    examples = examples[: record.n]
    hashes = [example_hash(example) for example in examples]
    known = store.answers.recall(record.program, hashes, 0) | store.answers.recall(
        failures_key(record.program, run.id), hashes, 0
    )
    rows = [(example, json.loads(known[key])) for example, key in zip(examples, hashes, strict=True) if key in known]
    answers = [decode(Answer, row["answer"]) for _, row in rows]
    loaded = [load_metric(name, resources) for name in (metrics or run.metrics)]
    evaluator = Evaluator(store, run.id, loaded)
    cases = [
        Case(example.input, answer.output, example.reference, answer.raw, answer.failure, answer.steps)
        for (example, _), answer in zip(rows, answers, strict=True)
    ]
    scores = await evaluator.score(cases)
    return [
        Result(
            example, answer, {name: scores[name][i] for name in scores}, row["seconds"], row.get("alone", False), True
        )
        for i, ((example, row), answer) in enumerate(zip(rows, answers, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class RungChange:
    """A rung that two runs share: the second minus the first on common examples, and the examples that changed."""

    title: str
    difference: Difference | None
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    first: RunRecord
    second: RunRecord
    metric: str
    changes: tuple[RungChange, ...]
    notes: tuple[str, ...] = ()


async def compare_runs(store: Store, first: str, second: str, resources: Resources) -> Comparison:
    """Paired comparison of every rung that both runs have. Raises InputError for runs with different primary
    metrics."""
    one, two = read_run(store, first), read_run(store, second)
    if one.metrics[:1] != two.metrics[:1]:
        raise InputError(
            f"run {one.id} is measured in {one.metrics[0]}, run {two.id} in {two.metrics[0]}",
            remedy="compare runs with the same first metric",
        )
    name = one.metrics[0]
    metric = load_metric(name, resources)
    changes: list[RungChange] = []
    for record in one.rungs:
        other = two.rung(record.title)
        if other is None or not record.scored or not other.scored:
            changes.append(
                RungChange(record.title, None, note="only in one run" if other is None else "not scored in both")
            )
            continue
        if record.program == other.program and one.task_hash == two.task_hash:
            changes.append(RungChange(record.title, None, note="the same program and examples"))
            continue
        before, after = [
            {
                example_hash(result.example): result
                for result in await read_results(store, run, record.title, resources, [name], what="diff")
            }
            for run in (one, two)
        ]
        common = [key for key in before if key in after and before[key].answered and after[key].answered]
        if not common:
            changes.append(RungChange(record.title, None, note="no common examples"))
            continue
        old = [before[key].scores[name] for key in common]
        new = [after[key].scores[name] for key in common]
        gained = tuple(before[k].example.id for k, a, b in zip(common, old, new, strict=True) if b.value > a.value)
        lost = tuple(before[k].example.id for k, a, b in zip(common, old, new, strict=True) if b.value < a.value)
        changes.append(RungChange(record.title, paired(metric, new, old), gained, lost))
    tested = [change for change in changes if change.difference is not None]
    corrected = iter(holm([change.difference.p for change in tested if change.difference is not None]))
    changes = [
        replace(c, difference=replace(c.difference, p=next(corrected))) if c.difference is not None else c
        for c in changes
    ]
    return Comparison(one, two, name, tuple(changes), tuple(_apart(one, two)))


def _apart(one: RunRecord, two: RunRecord) -> Iterator[str]:
    """In what the machines of two runs differ: then costs and latencies are not comparable, and rounding may turn
    answers."""
    said = "costs and latencies are not comparable, and near ties may turn out otherwise"
    if one.kind and two.kind and one.kind != two.kind:
        yield f"The processors are of different kinds ({one.kind}, then {two.kind}): {said}."
    elif one.machine != two.machine:
        yield f"The runs were made on different machines ({one.machine}; then {two.machine}): costs are not comparable."
    if one.threads != two.threads:
        yield f"Threads: {one.threads}, then {two.threads}."
    for model in one.precision:
        if model in two.precision and one.precision[model] != two.precision[model]:
            yield f"{model} was computed in {one.precision[model]}, then in {two.precision[model]}: {said}."
