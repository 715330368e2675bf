"""A reward learnt from pairs: a Bradley-Terry model (1952) that is linear over an embedder's vectors, several of them,
each on a sample of the pairs; and everything that should be known before it is trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rung.alignment.rewards.pairs import AnswerPair, divide
from rung.core.errors import FitError, InputError
from rung.core.protocols import Embedder, Resources
from rung.core.system.arrays import read_arrays
from rung.core.system.files import write_file
from rung.core.types import Case, Interval, Score, text_of
from rung.foundations.baselines.linear import regress
from rung.foundations.text.tfidf import save_arrays
from rung.metrics.mean import VALUES, Mean
from rung.metrics.stats import Difference, paired, share

Array = NDArray[np.float64]
SPEC, HEADS = "reward.json", "heads.npz"
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
BINS = 10


@dataclass(frozen=True)
class RewardModel:
    """``heads`` has shape (heads, width), ``centre`` and ``spread`` of an answer's reward over the pairs learnt from
    (so that rewards are about 0 and 1 apart). The reward is the mean of the heads less ``caution`` times their standard
    deviation: what they disagree on is worth less."""

    embedder: Embedder
    heads: Array
    centre: float = 0.0
    spread: float = 1.0
    caution: float = 1.0

    def score(self, asked: Sequence[str], answers: Sequence[str]) -> Array:
        """The reward of each answer, shape (answers,)."""
        votes = self.votes(asked, answers)
        reward: Array = votes.mean(0) - self.caution * votes.std(0)
        return reward

    def votes(self, asked: Sequence[str], answers: Sequence[str]) -> Array:
        """What each head says: shape (heads, answers)."""
        votes: Array = (self.heads @ features(self.embedder, asked, answers).T - self.centre) / self.spread
        return votes

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_arrays(folder / HEADS, {"heads": self.heads, "scale": np.array([self.centre, self.spread, self.caution])})
        said = {"embedder": self.embedder.name, "fingerprint": self.embedder.fingerprint}
        write_file(folder / SPEC, json.dumps(said, indent=1).encode())

    @classmethod
    def load(cls, folder: Path, resources: Resources) -> RewardModel:
        """Raises InputError for a folder that holds none, or where its embedder is another one now."""
        try:
            said = json.loads((folder / SPEC).read_text(encoding="utf-8"))
            arrays = read_arrays(folder / HEADS)
            centre, spread, caution = arrays["scale"].tolist()
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise ValueError("its weights are no finite numbers")
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{folder} holds no reward model: {error}", remedy="rung reward fit PAIRS --to FOLDER"
            ) from None
        embedder = resources.embedder(said["embedder"])
        if embedder.fingerprint != said["fingerprint"]:
            raise InputError(
                f"the reward model was fitted with another {embedder.name} than is here",
                remedy="fit it again: rung reward fit",
            )
        return cls(embedder, arrays["heads"].astype(np.float64), centre, spread, caution)


class LearntReward(Mean):
    """A reward model as a metric: the logistic function of the reward, so that 0.5 is as good as an average answer."""

    def __init__(self, model: RewardModel, name: str) -> None:
        self._model, self.name = model, name

    async def score(self, cases: Sequence[Case]) -> list[Score]:
        rewards = self._model.score([text_of(case.input) for case in cases], [case.raw for case in cases])
        return [
            Score(0.0, "no answer")
            if case.failure is not None
            else Score(float(1 / (1 + np.exp(-np.clip(r, -30, 30)))))
            for case, r in zip(cases, rewards, strict=True)
        ]


def open_reward_model(argument: str, resources: Resources) -> LearntReward:
    """``reward-model:FOLDER``."""
    if not argument:
        raise InputError("reward-model needs a folder", remedy="write reward-model:FOLDER (made by rung reward fit)")
    return LearntReward(RewardModel.load(Path(argument).expanduser(), resources), f"reward-model:{argument}")


@dataclass(frozen=True, slots=True)
class RewardBias:
    """How often a change that makes no answer better raises its reward."""

    what: str
    raised: Interval


@dataclass(frozen=True, slots=True)
class RewardReport:
    """On ``held`` pairs whose conversations are not among the ``learnt`` ones: ``accuracy``, and of ``length`` alone
    (the longer answer is better, or the shorter one, as the learnt pairs have it), their paired ``gain``; ``matched``
    on the pairs whose lengths differ by at most a tenth. ``error`` is the expected calibration error of its
    probabilities. ``shuffled``: the same fit on labels drawn by coin, which must be at chance. ``correlation``:
    Spearman's, of reward and length."""

    learnt: int
    held: int
    accuracy: Interval
    length: Interval
    gain: Difference
    matched: Interval | None
    matched_pairs: int
    error: float
    shuffled: Interval
    correlation: float
    biases: tuple[RewardBias, ...]
    strength: float

    @property
    def leaking(self) -> bool:
        """Labels by coin teach something: the test is not one."""
        return self.shuffled.low > 0.5


def features(embedder: Embedder, asked: Sequence[str], answers: Sequence[str]) -> Array:
    """The answer alone and after what was asked, side by side: shape (answers, 2 * dimensions)."""
    alone = embedder.embed(list(answers))
    after = embedder.embed([f"{one}\n\n{other}" for one, other in zip(asked, answers, strict=True)])
    return np.concatenate([alone, after], 1).astype(np.float64)


def fit_reward(
    pairs: Sequence[AnswerPair], embedder: Embedder, *, heads: int = 5, share: float = 0.25, seed: int = 0
) -> tuple[RewardModel, RewardReport]:
    """Learn a reward from pairs, and what it is good for on the ``share`` of conversations held out. Raises InputError
    for too few conversations, FitError when all labels say the same of everything."""
    if heads < 1:
        raise InputError(f"got {heads} heads", remedy="expected 1 or more: --heads 5")
    learnt, held = divide(pairs, share, seed)
    good, bad = sides(embedder, learnt)
    apart = good - bad
    if not np.abs(apart).max() > 1e-9:
        raise FitError(
            "the embedder sees no difference between any two answers", remedy="choose another: --embedder minilm"
        )
    strength = _choose(apart, seed)
    draw = np.random.default_rng(seed)
    rows = [fit_head(apart[draw.integers(0, len(apart), len(apart))], strength) for _ in range(heads)]
    weights = np.stack(rows) if heads > 1 else fit_head(apart, strength)[None]
    said = np.concatenate([good @ weights.T, bad @ weights.T]).mean(1)
    # One scale for all heads: what a unit of reward means must not depend on the embedder.
    model = RewardModel(embedder, weights, float(said.mean()), max(float(said.std()), 1e-12))
    coin = np.where(draw.random(len(apart)) < 0.5, 1.0, -1.0)
    return model, _report(model, (learnt, held), fit_head(apart * coin[:, None], strength), strength)


def sides(embedder: Embedder, pairs: Sequence[AnswerPair]) -> tuple[Array, Array]:
    asked = [pair.asked for pair in pairs]
    both = features(embedder, asked * 2, [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs])
    return both[: len(pairs)], both[len(pairs) :]


def fit_head(apart: Array, strength: float) -> Array:
    """Bradley-Terry is a logistic regression on differences without a constant; each pair stands in both orders."""
    rows = np.concatenate([apart, -apart])
    labels = np.repeat([1, 0], len(apart))
    found = regress(rows, labels, C=strength, fit_intercept=False)
    weights: Array = found.coef_[0]
    return weights


def _choose(apart: Array, seed: int) -> float:
    """The strength that is right on most of a fifth of the pairs, of equal ones the weakest."""
    order = np.random.default_rng([seed, 1]).permutation(len(apart))
    part = max(1, len(apart) // 5)
    rest, some = apart[order[part:]], apart[order[:part]]
    if len(rest) < 2:
        return 1.0
    return max(STRENGTHS, key=lambda strength: float((some @ fit_head(rest, strength) > 0).mean()))


def _report(
    model: RewardModel, parts: tuple[Sequence[AnswerPair], Sequence[AnswerPair]], coin: Array, strength: float
) -> RewardReport:
    learnt, held = parts
    good, bad = sides(model.embedder, held)
    votes = (model.heads @ (good - bad).T) / model.spread
    right = votes.mean(0) > 0
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in learnt) * 2 >= len(learnt)
    lengths = np.array([len(pair.chosen) - len(pair.rejected) for pair in held])
    by_length = (lengths > 0) if longer else (lengths < 0)
    near = [abs(len(p.chosen) - len(p.rejected)) <= 0.1 * max(len(p.chosen), len(p.rejected)) for p in held]
    rewards = np.concatenate([good, bad]) @ model.heads.mean(0)
    sizes = [len(pair.chosen) for pair in held] + [len(pair.rejected) for pair in held]
    return RewardReport(
        len(learnt),
        len(held),
        share(right),
        share(by_length),
        paired(VALUES, [Score(float(v)) for v in right], [Score(float(v)) for v in by_length]),
        share(right[near]) if any(near) else None,
        sum(near),
        calibration(1 / (1 + np.exp(-np.clip(votes, -30, 30))).mean(0)),
        share((good - bad) @ coin > 0),
        _spearman(rewards, np.array(sizes, float)),
        tuple(_biases(model, held[:200])),
        strength,
    )


def calibration(chosen: Array) -> float:
    """Expected calibration error over BINS bins (Naeini et al. 2015) of the probabilities that the chosen answers are
    the better ones: each pair counts in both orders, as the model knows no order."""
    said = np.concatenate([chosen, 1 - chosen])
    true = np.repeat([1.0, 0.0], len(chosen))
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = [abs(true[bins == b].mean() - said[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(np.sum(gaps))


def _spearman(one: Array, other: Array) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else 0.0


def _biases(model: RewardModel, held: Sequence[AnswerPair]) -> list[RewardBias]:
    """Changes that a good reward does not pay for."""
    asked, answers = [pair.asked for pair in held], [pair.chosen for pair in held]
    plain = model.score(asked, answers)
    changed = {
        "said twice": [f"{text} {text}" for text in answers],
        "padded with a phrase": [
            f"{text} I hope this helps! Let me know if you have any other questions." for text in answers
        ],
        "another answer of the set": answers[1:] + answers[:1],
        "nothing but what was asked": asked,
    }
    return [RewardBias(what, share(model.score(asked, texts) > plain)) for what, texts in changed.items()]
