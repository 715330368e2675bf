"""Does a judge say what people say? Over a file of judged answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.core.parts.option import argument, option
from rung.ladder.view.numbers import change, exact
from rung.prompts.patterns.judging.agree import (
    Grades,
    JudgeAgreement,
    Pair,
    Work,
    agreement,
    grade_agreement,
    read_judged,
)
from rung.studies.remembered import RememberedModel
from rung.studies.study import Lab, Study


@dataclass(frozen=True)
class JudgeAgainstPeople(Study[None, JudgeAgreement | Grades]):
    """Does the model judge as people do? Agreement, kappa, and its bias for position and length."""

    name = "agreement"
    subject = "none"
    records = JudgeAgreement | Grades

    judged: Path = argument(
        "JSON or JSONL: input, output_1, output_2, label (1 or 2); or input, output, grade.", "FILE"
    )
    rubric: str = option("helpfulness", "A rubric's name, or criteria: 'clarity: Is it clear?; ...'")
    limit: int | None = option(None, "At most this many rows, the first ones.", low=2)

    async def measure(self, subject: None, lab: Lab) -> JudgeAgreement | Grades:
        """Raises InputError for a file that holds neither pairs nor grades, or a judge that fails on all."""
        rows, model = read_judged(self.judged), RememberedModel(lab.resources.model(), lab.store)
        works = [row for row in rows if isinstance(row, Work)][: self.limit]
        pairs = [row for row in rows if isinstance(row, Pair)][: self.limit]
        return await (grade_agreement(model, self.rubric, works) if works else agreement(model, self.rubric, pairs))

    def about(self, subject: None) -> str:
        return self.judged.name

    def table(self, found: JudgeAgreement | Grades) -> str:
        if isinstance(found, Grades):
            return (
                f"{found.n} works, {found.failed} not graded\n"
                f"weighted kappa  {exact(found.kappa)}\nequal grades    {exact(found.equal)}"
            )
        lines = [f"{found.n} pairs, {found.failed} not judged"]
        lines += [f"{way.way:<10} agree {exact(way.agree)}  kappa {exact(way.kappa)}  n {way.n}" for way in found.ways]
        lines.append(f"same verdict in both orders       {exact(found.bias.stable)}")
        lines.append(f"verdicts for the one shown first  {exact(found.bias.first)}")
        if found.longer is not None and found.longer_right is not None:
            lines.append(f"verdicts for the longer one       {exact(found.longer)}")
            lines.append(f"the longer one is the better one  {exact(found.longer_right)}")
        if found.padding is not None:
            lines.append(f"padding adds {change(found.padding)} of the scale, n {found.padding.n}")
        return "\n".join(lines)
