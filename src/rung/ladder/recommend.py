"""From scored rungs to differences, a Pareto front, a payback volume and a recommendation with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rung.core.protocols import Metric
from rung.core.types import Result, Score, Task
from rung.ladder.measure.calls import best_case
from rung.ladder.records import BASELINE, Recommendation, RungRecord
from rung.ladder.view.numbers import cost, count, seconds
from rung.metrics.statistics.choice import Chosen, Contender, choose
from rung.metrics.stats import Difference, holm, paired


async def compare(
    task: Task,
    metric: Metric,
    records: Sequence[RungRecord],
    results: Mapping[str, Sequence[Result]],
    core_hour: float,
) -> tuple[list[RungRecord], Recommendation]:
    """Fill in what only the whole run can tell: paired differences with corrected p, Pareto front, payback; and
    recommend.

    Rungs cut short by the budget are compared where they have answers, and never chosen. An example of which any rung's
    call failed counts for no rung; where such calls could change the choice, none is made.
    """
    failed = [record for record in records if record.status == "failed"]
    failures = tuple(f"Not measured: {record.title}, {record.reason.splitlines()[0]}" for record in failed)
    kept = _kept(results)
    if not results or not kept:
        why = "No rung could be measured; the notes beside the rungs say why."
        return list(records), Recommendation("", "", (why, *failures))
    scores = {title: [mine[at].scores[metric.name] for at in kept if at < len(mine)] for title, mine in results.items()}
    scores = {title: mine for title, mine in scores.items() if mine}
    by_title = {record.title: record for record in records}
    candidates = [Contender(title, mine, *_cost_1000(by_title[title])) for title, mine in scores.items()]
    choice = choose(metric, candidates, tolerance=task.tolerance, say=_say)
    baseline = next((r.title for r in records if r.name == BASELINE and r.title in scores), next(iter(scores)))
    standings = {standing.name: standing for standing in choice.standings}
    changes = _to_baseline(metric, scores, baseline)
    out = [
        replace(record, baseline=changes.get(record.title), best=standing.versus, pareto=not standing.dominated)
        if (standing := standings.get(record.title)) is not None
        else record
        for record in records
    ]
    sign = 1.0 if metric.higher_is_better else -1.0
    out = [replace(record, payback=_payback(record, out, task, metric, core_hour)) for record in out]
    if open_ := _nothing(metric, choice, scores) or await _could_differ(task, metric, choice, candidates, results):
        return out, Recommendation("", choice.best, (open_, *failures))
    return out, Recommendation(choice.name, choice.best, (*_why(task, metric, choice, out, sign), *failures))


def _kept(results: Mapping[str, Sequence[Result]]) -> list[int]:
    """Places of the test examples of which no rung's call failed."""
    longest = max(map(len, results.values()), default=0)
    return [at for at in range(longest) if all(at >= len(mine) or mine[at].answered for mine in results.values())]


def _nothing(metric: Metric, choice: Chosen, scores: Mapping[str, Sequence[Score]]) -> str:
    """A sentence where no rung got anything right: the cheapest of those is no answer to the task."""
    if not metric.higher_is_better or any(score.value for mine in scores.values() for score in mine):
        return ""
    return (
        f"No rung is recommended: none got anything right ({metric.name} 0 on {len(scores[choice.best])} items). "
        f"See what was answered: rung show last {choice.best} --failed"
    )


async def _could_differ(
    task: Task,
    metric: Metric,
    choice: Chosen,
    candidates: Sequence[Contender],
    results: Mapping[str, Sequence[Result]],
) -> str:
    """A sentence where failed calls leave the choice open: were the chosen rung's wrong answers and the others' right
    ones, another would be taken."""
    missing = {title: sum(not result.answered for result in mine) for title, mine in results.items()}
    if not any(missing.values()):
        return ""
    against = []
    for candidate in candidates:
        mine = results[candidate.name]
        worst = candidate.name == choice.name
        scores = [r.scores[metric.name] for r in mine] if worst else await best_case(metric, mine)
        against.append(replace(candidate, scores=scores))
    if choose(metric, against, tolerance=task.tolerance).name == choice.name:
        return ""
    counts = ", ".join(f"{n} of {title}" for title, n in missing.items() if n)
    return (
        f"No rung is recommended: on the examples that were answered it would be {choice.name}, but calls failed ({counts}), "
        "and their answers could change that. Climb again: only those calls are asked anew."
    )


def _cost_1000(record: RungRecord) -> tuple[float, float]:
    """US dollars of 1,000 answers, and by how much that may differ in another run."""
    online = record.online
    return (online.cost * 1000, online.noise * 1000) if online is not None else (float("inf"), 0.0)


def _say(candidate: Contender) -> str:
    return f"{cost(candidate.cost, candidate.noise)} per 1,000 answers"


def _to_baseline(metric: Metric, scores: Mapping[str, Sequence[Score]], baseline: str) -> dict[str, Difference]:
    """Paired difference of every other rung to the baseline on common items, p-values corrected together (Holm)."""
    found = {
        title: paired(metric, mine[: len(scores[baseline])], scores[baseline][: len(mine)])
        for title, mine in scores.items()
        if title != baseline
    }
    corrected = holm([change.p for change in found.values()])
    return {title: replace(change, p=p) for (title, change), p in zip(found.items(), corrected, strict=True)}


def _why(task: Task, metric: Metric, choice: Chosen, records: Sequence[RungRecord], sign: float) -> Iterator[str]:
    """The evidence in sentences: the choice's own, then target, payback, and what the budget cut off."""
    yield from choice.why
    chosen = next(record for record in records if record.title == choice.name)
    if task.target is not None:
        value = chosen.metrics[metric.name].value
        met = "reaches" if sign * (value - task.target) >= 0 else "misses"
        yield f"It {met} the target of {task.target:g} ({value:.3f})."
    if any(record.tuned and record.scored for record in records):
        yield from _prompting(metric, records, sign)
    for record in records:
        if record.tuned and record.scored and record.status == "done":
            spent = seconds(record.offline.seconds)
            if record.payback is not None:
                yield f"{record.title}: its fit ({spent}) pays back after {count(record.payback)} answers."
            elif not any(other.scored and not other.tuned for other in records):
                yield f"{record.title}: its fit took {spent}; no untuned rung stands beside it, so what it buys is not known."
            elif _as_good(record, records, task, metric, sign):
                yield f"{record.title}: its fit ({spent}) never pays back: an untuned rung as good costs less an answer."
            else:
                yield f"{record.title}: its fit ({spent}) buys quality: no untuned rung comes within the tolerance of it."
    cut = [record.title for record in records if record.status == "budget"]
    if cut:
        yield f"The budget was spent before these rungs were done: {', '.join(cut)}."


def _prompting(metric: Metric, records: Sequence[RungRecord], sign: float) -> Iterator[str]:
    """How far prompts got: what speaks for tuning or against it. Where they level off, and what is wrong with the best
    one's
    answers: the wrong form, claims that the passages do not hold."""
    prompts = [r for r in records if r.scored and not r.tuned and r.online is not None and r.online.tokens > 0]
    if not prompts:
        return
    best = max(prompts, key=lambda r: (sign * r.metrics[metric.name].value, -_cost(r)))
    said = [f"Prompts reach {best.metrics[metric.name].value:.3f} ({best.title})"]
    dearer = sum(_cost(r) > _cost(best) for r in prompts)
    if dearer:
        said.append(f"{dearer} dearer {'one is' if dearer == 1 else 'ones are'} no better")
    failed = best.failures.get("parse", 0)
    said.append(f"{failed} of its {best.n} answers ({failed / max(best.n, 1):.1%}) are not of the form asked for")
    held = next((value for name, value in best.metrics.items() if name.startswith("faithfulness")), None)
    if held is not None:
        said.append(f"{1 - held.value:.0%} of its claims are not in the passages")
    yield "; ".join(said) + "."


def _cost(record: RungRecord) -> float:
    return record.online.cost if record.online is not None else float("inf")


def _as_good(
    record: RungRecord, records: Sequence[RungRecord], task: Task, metric: Metric, sign: float
) -> list[RungRecord]:
    """Untuned rungs that are within the tolerance of a tuned one, or better."""
    wanted = sign * record.metrics[metric.name].value - task.tolerance
    return [r for r in records if r.scored and not r.tuned and sign * r.metrics[metric.name].value >= wanted]


def offline_cost(record: RungRecord, core_hour: float) -> float:
    """What fitting cost in US dollars: provider's money plus CPU time."""
    offline = record.offline
    return offline.usage.money + offline.cpu_seconds / 3600 * core_hour


def _payback(
    record: RungRecord, records: Sequence[RungRecord], task: Task, metric: Metric, core_hour: float
) -> float | None:
    """Answers after which a tuned rung has earned its fit, against the cheapest untuned rung that is as good."""
    if not record.tuned or not record.scored:
        return None
    rivals = _as_good(record, records, task, metric, 1.0 if metric.higher_is_better else -1.0)
    if not rivals:
        return None
    saved = min(_cost(rival) for rival in rivals) - _cost(record)
    return offline_cost(record, core_hour) / saved if saved > 0 else None
