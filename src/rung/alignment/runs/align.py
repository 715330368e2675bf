"""One alignment end to end: the base, what is wished for, the loop, a paired comparison on examples that nothing was
learnt from, and the files."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung import tasks
from rung.agents.environments.environment import Environment
from rung.agents.program.program import make_environment
from rung.alignment.audit.watch import Watchman
from rung.alignment.methods.dpo import Dpo
from rung.alignment.policies.language import LanguagePolicy
from rung.alignment.policies.policy import Trajectory
from rung.alignment.policies.table import TablePolicy, survey
from rung.alignment.rewards.pairs import AnswerPair, SiftedPairs, sift_pairs
from rung.alignment.rewards.reward import Reward
from rung.alignment.rewards.robust import read_defences
from rung.alignment.runs.config import AlignConfig, vars_of
from rung.alignment.runs.course import UNWATCHED, Course, Spectator
from rung.alignment.runs.loop import Learner
from rung.alignment.runs.pairwise import PairLearner, PairVerdict, TokenPair
from rung.alignment.runs.player import AskedExample, Sampler, TaskPlayer, WorldPlayer
from rung.alignment.runs.scene import ScenePlayer
from rung.core.codec import digest, encode
from rung.core.errors import FitError, InputError
from rung.core.parts.place import beside
from rung.core.protocols import Resources
from rung.core.settings import Settings
from rung.core.system.files import write_file
from rung.core.system.lock import file_lock
from rung.core.types import Example, Interval, Score, Task
from rung.data.sources.lineage import write_lineage
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, paired, share
from rung.prompts.template.prompt import Prompt
from rung.tuning.batches import Chat, TokenRow
from rung.tuning.compute.precision import settle
from rung.tuning.compute.session import open_session
from rung.tuning.trainer.checkpoints import Checkpoints
from rung.tuning.weights import find_base
from rung.tuning.work import PLACES

FORMAT = 1


@dataclass(frozen=True, slots=True)
class AlignmentResult:
    """A finished alignment. ``gains`` are paired differences, after less before, on held examples: of the reward, and
    of what is really wished for. ``wins``: the share of the held examples whose answer is better after than before, of
    those where it is not as good. ``judged``: held pairs before and after, for dpo. ``files`` are what was written."""

    method: str
    course: Course
    gains: Mapping[str, Difference] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    wins: Mapping[str, Interval] = field(default_factory=dict)
    judged: tuple[PairVerdict, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    kl: float = 0.0
    length: tuple[float, float] = (0.0, 0.0)
    notes: tuple[str, ...] = ()


def align(
    config: AlignConfig, resources: Resources, settings: Settings, watch: Spectator = UNWATCHED
) -> AlignmentResult:
    """Do it, or go on with it: a killed run goes on from its last whole update, to the same numbers bit for bit.

    Raises InputError for a task, pairs or an environment that cannot be learnt from, FitError as the loops do.
    """
    config.out.mkdir(parents=True, exist_ok=True)

    def wait(_: float) -> None:
        if watch.stopped:
            raise FitError("another process is at work on this alignment", remedy="wait for it", code="stopped")
        time.sleep(0.5)

    with file_lock(config.out / ".lock", wait):
        if config.environment and config.policy == "table":
            return _keep(config, None, _in_world(config, resources, watch))
        task = tasks.load(config.task) if config.task else None
        with beside(task, settings) if task else nullcontext():
            return _keep(config, task, align_language(config, task, resources, settings, watch))


def _keep(config: AlignConfig, task: Task | None, done: AlignmentResult) -> AlignmentResult:
    reward = config.reward or ({task.metrics[0]: 1.0} if task else {})
    said = {
        "task": config.task,
        "model": config.model,
        "reward": dict(reward),
        "gold": dict(config.gold),
        "instruction": config.instruction,
        "max_tokens": min(config.drawing.max_tokens, task.max_tokens) if task else config.drawing.max_tokens,
    }
    document = {"format": FORMAT, "aligned": encode(done), "config": said}
    write_file(config.out / "aligned.json", json.dumps(document, indent=1).encode())
    ids = [one.id for one in task.train] if task else []
    write_lineage(config.out, config.pairs, _parents(config), (id[7:] for id in ids if id.startswith("served:")))
    return done


def _parents(config: AlignConfig) -> list[Path]:
    """Where lies what goes into a run beside its rows: the weights that it begins with, and learnt rewards."""
    named = config.model.partition(":")[2].split("@")
    named += [name.partition(":")[2] for name in (*config.reward, *config.gold) if name.startswith("reward-model:")]
    found = [Path(name) for name in named if name and Path(name).exists()]
    return [path if path.is_dir() else path.parent for path in found]


def _in_world(config: AlignConfig, resources: Resources, watch: Spectator) -> AlignmentResult:
    environment: Environment = make_environment(config.environment)
    drawing = config.drawing
    scenarios, held = environment.scenarios("train", drawing.prompts), environment.scenarios("dev", config.held)
    world = survey(environment, [*scenarios, *held])
    policy = TablePolicy(len(world.places), len(world.calls))
    player = WorldPlayer(policy, world, scenarios, held, drawing)
    if isinstance(config.method, Dpo):
        raise InputError("dpo learns from pairs, not in an environment", remedy="choose another method")
    learner = Learner(policy, player, config.method, config.pace)
    key = digest([encode(config.environment), config.method.name, *_identity(config)])
    course = learner.run(Checkpoints(config.out, key, Course), watch)
    after = asyncio.run(player.gold())
    gains = {"return": compare(after, course.before)}
    states = policy.vector.numpy().reshape(policy.shape)
    np.save(config.out / "table.npy", states)
    files = {"table": str(config.out / "table.npy")}
    return AlignmentResult(
        config.method.name, course, gains, {"return": float(np.mean(course.before))}, files=files, kl=_last(course)
    )


def _identity(config: AlignConfig) -> list[Any]:
    """What makes a run the same run: its settings, but for where it is written and how long it goes on."""
    pace = {key: value for key, value in vars_of(config.pace).items() if key != "steps"}
    return [encode(vars_of(config.method)), encode(vars_of(config.drawing)), pace, encode(config.reward), config.robust]


def align_language(
    config: AlignConfig, task: Task | None, resources: Resources, settings: Settings, watch: Spectator
) -> AlignmentResult:
    """A language model over a task, or over pairs where there is none."""
    from rung.tuning.compute.replicas import Replicas

    base = find_base(config.model or settings["model"], settings.cache)
    recipe = settle(config.recipe)
    sifted = sift_pairs(config.pairs) if config.pairs else None
    with Replicas.of(open_session(base, recipe), recipe) as replicas:
        temperature = 1.0 if isinstance(config.method, Dpo) else config.drawing.temperature
        policy = LanguagePolicy(replicas, recipe, temperature)
        about = task.hash if task else encode(sifted.pairs) if sifted else encode(config.environment)
        key = digest([base.key, encode(recipe), about, *_identity(config)])
        work = _Language(config, policy, Chat(base), Checkpoints(config.out, key, Course), watch)
        if sifted:
            return work.over_pairs(sifted)
        sampler = Sampler(base, policy, settings)
        try:
            return work.over_task(task, sampler, resources) if task else work.over_scenes(sampler)
        finally:
            asyncio.run(sampler.close())


def questions(task: Task, examples: Sequence[Example], instruction: str) -> list[AskedExample]:
    """Examples as they are asked: as the zero-shot rung does (full), or with the instruction alone (short)."""
    prompt = Prompt(instruction=task.instruction) if instruction == "short" else Prompt.of(task)
    return [AskedExample(example, tuple(prompt.render(example.input))) for example in examples]


@dataclass
class _Language:
    config: AlignConfig
    policy: LanguagePolicy
    chat: Chat
    store: Checkpoints[Course]
    watch: Spectator

    def over_task(self, task: Task, sampler: Sampler, resources: Resources) -> AlignmentResult:
        config = self.config
        if not task.train:
            raise InputError(f"{task.name} has no train split to learn from", remedy="give the task a train split")
        reward = Reward.of(config.reward or {task.metrics[0]: 1.0}, resources)
        wished = Reward.of(config.gold, resources) if config.gold else reward
        held = questions(task, (task.dev or task.test)[: config.held], config.instruction)
        learnt = questions(task, task.train, config.instruction)
        defences = read_defences(config.robust)
        drawing = replace(config.drawing, max_tokens=min(config.drawing.max_tokens, task.max_tokens))
        player = TaskPlayer(sampler, learnt, held, task.form, reward, wished, drawing, defences)
        with asyncio.Runner() as runner:
            before = runner.run(player.answer())
            if isinstance(config.method, Dpo):
                course, judged = self._own_pairs(player, runner)
            else:
                judged = ()
                pace = config.pace
                looks = -(-pace.steps // pace.looks) + 1 if pace.looks else 1
                watchman = Watchman(gold=bool(config.gold), looks=looks) if config.watch else None
                learner = Learner(self.policy, player, config.method, config.pace, watchman)
                runner.close()
                course = learner.run(self.store, self.watch)
                if watchman is not None:
                    self._report(watchman, course)
        with asyncio.Runner() as runner:
            after = runner.run(player.answer())
            scores = {}
            for name, one in {"reward": reward, "gold": wished}.items():
                if name == "gold" and not config.gold:
                    continue
                for side, replies in (("before", before), ("after", after)):
                    found = runner.run(one.score([case for _, case in replies]))
                    scores[name, side] = [one.total(part) for part in found]
        gains = {
            n: compare(scores[n, "after"], scores[n, "before"]) for n in ("reward", "gold") if (n, "after") in scores
        }
        lengths = tuple(float(np.mean([len(reply.ids) for reply, _ in replies])) for replies in (before, after))
        self._show(held, before, after)
        first = {name: float(np.mean(scores[name, "before"])) for name in gains}
        read = [self.chat.prompt(question.messages) for question in learnt]
        files = self.write(task.name, read)
        done = AlignmentResult(config.method.name, course, gains, first, judged=judged, files=files, kl=_last(course))
        wins = {name: _won(scores[name, "after"], scores[name, "before"]) for name in gains}
        same = bool(config.gold) and set(config.gold) == set(config.reward or (task.metrics[0],))
        notes = ("gold is what is rewarded itself: nobody sees it being cheated; name what is really wished for",)
        kept = {n: win for n, win in wins.items() if win}
        return replace(done, length=(lengths[0], lengths[1]), wins=kept, notes=notes if same else ())

    def _own_pairs(self, player: TaskPlayer, runner: asyncio.Runner) -> tuple[Course, tuple[PairVerdict, ...]]:
        """Pairs of the model's own answers: the best of some against the worst, where the reward tells them apart."""
        pairs: list[TokenPair] = []
        count = -(-len(player.questions) // player.drawing.prompts)
        path = self.config.out / "pairs.jsonl"
        for step in range(min(self.config.pace.steps, count)):
            batch = runner.run(player.play(step))
            for group in sorted({one.group for one in batch}):
                answers = sorted((one for one in batch if one.group == group), key=lambda one: one.total)
                worst, best = answers[0], answers[-1]
                if best.total > worst.total:
                    pairs.append(TokenPair(f"{step}:{best.example}", best, worst))
        if len(pairs) < 10:
            raise FitError(
                f"only {len(pairs)} prompts had answers that the reward tells apart, expected 10 or more",
                remedy="raise replies or temperature, or choose a reward with partial credit",
                code="no-spread",
            )
        rows = [{"id": p.id, "chosen": p.chosen.text, "rejected": p.rejected.text} for p in pairs]
        write_file(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode())
        return self._learn(pairs)

    def over_pairs(self, given: SiftedPairs) -> AlignmentResult:
        pairs = [self._tokens(one) for one in given.pairs]
        kept = [
            pair
            for pair in pairs
            if len(pair.chosen.context) + max(len(pair.chosen.actions), len(pair.rejected.actions)) <= self.chat.window
        ]
        notes = [given.why] if given.left else []
        if len(kept) < len(pairs):
            notes.append(f"{len(pairs) - len(kept)} pairs are longer than the model's {self.chat.window:,} tokens")
        if len(kept) < 2:
            raise InputError(f"{len(kept)} pairs can be learnt from; {notes[-1]}", remedy="give shorter pairs")
        course, judged = self._learn(kept)
        read = [[*pair.chosen.context, *pair.chosen.actions] for pair in kept]
        files = self.write("pairs", read)
        return AlignmentResult(
            self.config.method.name, course, judged=judged, files=files, kl=_last(course), notes=tuple(notes)
        )

    def over_scenes(self, sampler: Sampler) -> AlignmentResult:
        """An environment, played in words; the gain is that of held-out scenarios' returns."""
        config, drawing = self.config, self.config.drawing
        if isinstance(config.method, Dpo):
            raise InputError("dpo learns from pairs, not in an environment", remedy="choose another method")
        world = make_environment(config.environment)
        scenarios, held = world.scenarios("train", max(drawing.prompts, 64)), world.scenarios("dev", config.held)
        player = ScenePlayer(sampler, world, scenarios, held, drawing)
        before = asyncio.run(player.gold())
        length = player.length
        course = Learner(self.policy, player, config.method, config.pace).run(self.store, self.watch)
        after = asyncio.run(player.gold())
        gains = {"return": compare(after, before)}
        files, first = self.write(world.name, ()), {"return": float(np.mean(before))}
        done = AlignmentResult(config.method.name, course, gains, first, files=files, kl=_last(course))
        return replace(done, length=(length, player.length))

    def _tokens(self, pair: AnswerPair) -> TokenPair:
        prompt = tuple(self.chat.prompt(pair.messages))
        sides = []
        for text in (pair.chosen, pair.rejected):
            ids = (*self.chat.template.plain(text), self.chat.stop)
            sides.append(Trajectory(0, prompt, ids, (0.0,) * len(ids), example=pair.id, text=text))
        return TokenPair(pair.id, *sides)

    def _learn(self, pairs: Sequence[TokenPair]) -> tuple[Course, tuple[PairVerdict, ...]]:
        """DPO on nine tenths of the pairs, judged on the rest before and after."""
        method = self.config.method
        assert isinstance(method, Dpo)
        held = [pair for at, pair in enumerate(pairs) if at % 10 == 9] or list(pairs[-1:])
        learnt = [pair for pair in pairs if pair not in held]
        learner = PairLearner(self.policy, learnt, method, self.config.pace, self.config.drawing.seed)
        course = learner.run(self.store, self.watch)
        return course, (learner.judge(held),)

    def write(self, name: str, read: Sequence[Sequence[int]]) -> dict[str, str]:
        """The files that are wished for. ``read``: tokens by which 4-bit blocks are weighed (none: plainly)."""
        from rung.tuning.compute import export

        files: dict[str, str] = {}
        session, merged = self.policy.session, None
        rows = [TokenRow("", tuple(ids), (False,) * (len(ids) - 1) + (True,)) for ids in read]
        for kind in self.config.exports:
            target = self.config.out / PLACES[kind]  # type: ignore[index]
            if kind == "adapter":
                export.save_adapter(session, self.policy.recipe, target)
            else:
                merged = merged or export.merge(session)
                export.save_merged(kind, merged, session, target, name=name, rows=rows)  # type: ignore[arg-type]
            files[kind] = str(target)
        return files

    def _report(self, watchman: Watchman, course: Course) -> None:
        """What the auditor saw, with examples, beside the run."""
        said = {
            "audited": watchman.gold,
            "stopped": course.stopped if course.flagged else "",
            "signs": watchman.signs,
            "best rewarded": [{"reward": total, "answer": text} for total, text in watchman.worst],
            "false alarms at most": watchman.alpha,
        }
        write_file(self.config.out / "audit.json", json.dumps(said, indent=1, ensure_ascii=False).encode())

    def _show(self, held: Sequence[AskedExample], before: Sequence[Any], after: Sequence[Any]) -> None:
        """Every held example with both answers, for people and for the audit afterwards."""
        rows = [
            {"id": q.example.id, "input": dict(q.example.input), "before": one[0].text, "after": two[0].text}
            for q, one, two in zip(held, before, after, strict=True)
        ]
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        write_file(self.config.out / "answers.jsonl", text.encode())


def compare(after: Sequence[float], before: Sequence[float]) -> Difference:
    """The paired difference of two lists of numbers, with its interval."""
    return paired(VALUES, [Score(v) for v in after], [Score(v) for v in before])


def _won(after: Sequence[float], before: Sequence[float]) -> Interval | None:
    """How often it is better after, of those items where it is not as good; None where all are."""
    apart = np.subtract(after, before)
    return share(apart[apart != 0] > 0) if apart.any() else None


def _last(course: Course) -> float:
    """The distance that was measured last of the policy that is kept: the next update's row has it."""
    kept = course.updates[: course.good + 1] if course.flagged else course.updates
    return kept[-1].kl if kept else 0.0
