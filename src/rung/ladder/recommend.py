"""From scored rungs to differences, a Pareto front, a payback volume and a recommendation with its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rung.core.protocols import Metric
from rung.core.settings import Settings
from rung.core.types import Result, Score, Task
from rung.ladder.records import Recommendation, RungRecord
from rung.metrics.stats import Difference, holm, paired

BASELINE = "zero-shot"


def compare(
    task: Task,
    metric: Metric,
    records: Sequence[RungRecord],
    scored: Mapping[str, Sequence[Result]],
    settings: Settings,
) -> tuple[list[RungRecord], Recommendation]:
    """Fill in what only the whole run can tell: paired differences with corrected p, Pareto front, payback; and recommend."""
    scores = {title: [result.scores[metric.name] for result in results] for title, results in scored.items()}
    if not scores:
        why = ("No rung could be measured; the notes beside the rungs say why.",)
        return list(records), Recommendation("", "", why)
    whole = [record for record in records if record.status == "done" and record.scored] or [
        record for record in records if record.scored
    ]
    sign = 1.0 if metric.higher_is_better else -1.0
    best = max(whole, key=lambda record: sign * record.metrics[metric.name].value)
    first = next((r for r in records if r.name == BASELINE and r.scored), next(r for r in records if r.scored))
    out = _differences(metric, records, scores, first.title, best.title)
    out = [replace(record, pareto=_undominated(record, out, metric, sign)) for record in out]
    out = [replace(record, payback=_payback(record, out, task, metric, sign, settings)) for record in out]
    return out, _recommend(task, metric, out, best.title, sign, settings)


def _differences(
    metric: Metric,
    records: Sequence[RungRecord],
    scores: Mapping[str, Sequence[Score]],
    baseline: str,
    best: str,
) -> list[RungRecord]:
    """Paired differences of every rung to the baseline and to the best, Holm over all of them together."""
    found: list[tuple[str, str, Difference]] = []
    for title, mine in scores.items():
        for field, rival in (("baseline", baseline), ("best", best)):
            if title == rival:
                continue
            n = min(len(mine), len(scores[rival]))
            found.append((title, field, paired(metric, mine[:n], scores[rival][:n])))
    corrected = holm([change.p for _, _, change in found])
    changes = {(title, field): replace(change, p=p) for (title, field, change), p in zip(found, corrected, strict=True)}
    return [
        replace(r, baseline=changes.get((r.title, "baseline")), best=changes.get((r.title, "best"))) for r in records
    ]


def _cost(record: RungRecord) -> float:
    return record.online.cost if record.online is not None else float("inf")


def _undominated(record: RungRecord, records: Sequence[RungRecord], metric: Metric, sign: float) -> bool:
    if not record.scored:
        return False
    mine, cost = sign * record.metrics[metric.name].value, _cost(record)
    return not any(
        other.scored
        and sign * other.metrics[metric.name].value >= mine
        and _cost(other) <= cost
        and (sign * other.metrics[metric.name].value > mine or _cost(other) < cost)
        for other in records
    )


def offline_cost(record: RungRecord, core_hour: float) -> float:
    """What fitting cost in US dollars: provider's money plus CPU time."""
    offline = record.offline
    return offline.usage.money + offline.cpu_seconds / 3600 * core_hour


def _payback(
    record: RungRecord, records: Sequence[RungRecord], task: Task, metric: Metric, sign: float, settings: Settings
) -> float | None:
    """Answers after which a tuned rung has earned its fit, against the cheapest untuned rung that is as good."""
    if not record.tuned or not record.scored:
        return None
    wanted = sign * record.metrics[metric.name].value - task.tolerance
    rivals = [r for r in records if r.scored and not r.tuned and sign * r.metrics[metric.name].value >= wanted]
    if not rivals:
        return None
    saved = min(_cost(rival) for rival in rivals) - _cost(record)
    return offline_cost(record, settings["core_hour"]) / saved if saved > 0 else None


def _recommend(
    task: Task, metric: Metric, records: Sequence[RungRecord], best: str, sign: float, settings: Settings
) -> Recommendation:
    top = next(record for record in records if record.title == best)
    value = top.metrics[metric.name].value
    enough = [
        r
        for r in records
        if r.scored and r.status == "done" and sign * (r.metrics[metric.name].value - value) >= -task.tolerance
    ]
    chosen = min(enough, key=_cost)
    return Recommendation(chosen.title, best, (f"{chosen.title} it is",), tuple(r.title for r in enough))
