"""Does a network that is written out in numpy learn, and is every gradient of it right?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rung import tasks
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress, Task, text_of
from rung.foundations.baselines.linear import regress
from rung.foundations.network import training
from rung.foundations.network.convolution import Convolution, Double, MaxPool
from rung.foundations.network.layers import Dense, Embedding, Flatten, Layer, Relu, Sigmoid, Tanh
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Last, Lstm, Rnn
from rung.foundations.network.training import Adam, FitPlan, Optimizer, RmsProp, Sgd, binary_cross_entropy
from rung.foundations.text.tfidf import Tfidf
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference
from rung.studies.lab.experiment import Experiment, timed
from rung.studies.lab.outcome import gain, mean
from rung.studies.study import Lab

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([[0], [1], [1], [0]], float)

STACKS: dict[str, Callable[[], tuple[list[Layer], tuple[int, ...]]]] = {
    "dense, sigmoid, tanh": lambda: ([Dense(5), Sigmoid(), Dense(4), Tanh(), Dense(3)], (4,)),
    "relu": lambda: ([Dense(6), Relu(), Dense(6), Relu(0.2), Dense(3)], (4,)),
    "convolution, pooling": lambda: (
        [Convolution(3), Tanh(), MaxPool(), Double(), Convolution(2, 5), Flatten(), Dense(3)],
        (4, 6, 2),
    ),
    "rnn": lambda: ([Rnn(4), Last(), Dense(3)], (6, 2)),
    "lstm": lambda: ([Lstm(4), Last(), Dense(3)], (6, 2)),
    "embedding": lambda: ([Embedding(5, 3), Lstm(3), Last(), Dense(3)], (6,)),
}
OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: Sgd(0.5),
    "momentum": lambda: Sgd(0.5, 0.9),
    "rmsprop": lambda: RmsProp(0.02),
    "adam": lambda: Adam(0.02),
}


@dataclass(frozen=True, slots=True)
class TextNetwork:
    """A classifier of the task's texts: its accuracy, and the paired difference of the network from it (None: the
    network)."""

    name: str
    accuracy: Interval
    network: Difference | None
    cpu: float


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """``gradients``: layers -> largest relative difference from finite differences. ``xor``: loss after training,
    without a hidden layer and by the bend of its hidden layer (log 2 = 0.69 is chance). ``optimizers``: steps until
    XOR's loss is under 0.05 (0: more than 2,000)."""

    gradients: tuple[tuple[str, float], ...]
    xor: tuple[tuple[str, float], ...]
    optimizers: tuple[tuple[str, int], ...]
    task: str
    n: int
    texts: tuple[TextNetwork, ...]


@dataclass(frozen=True)
class PartsOfNetwork(Experiment[NetworkParts]):
    """Check every gradient of the layers against finite differences, learn XOR with and without a hidden layer and by
    four optimizers, and classify a task's texts beside the most frequent label and logistic regression on the same
    features."""

    name = "network"
    records = NetworkParts
    title = "The parts of a neural network"
    ideas = ("network.layers", "network.training", "network.network")

    task: str = argument("A task or pack with labels.", "TASK", "support-intent")
    hidden: int = option(64, "Neurons of the hidden layer for texts.", low=1)
    epochs: int = option(15, "Passes over the training texts.", low=1)
    seed: int = option(0, "Seed of every random choice.")

    async def measure(self, subject: None, lab: Lab) -> NetworkParts:
        """Raises InputError for a task without labels."""
        task = tasks.load(self.task)
        if task.form.kind != "labels" or not task.train or not task.test:
            raise InputError(f"{task.name} has no labels to learn", remedy="name a task of labels", code="labels")
        lab.progress(Progress(self.name, 0, 3, "gradients"))
        gradients = {name: self._checked(*made()) for name, made in STACKS.items()}
        lab.progress(Progress(self.name, 1, 3, "xor"))
        xor = {"none": self._xor([Dense(1)])}
        xor |= {bend.__name__.lower(): self._xor([Dense(8), bend(), Dense(1)]) for bend in (Sigmoid, Tanh, Relu)}
        steps = {name: self._steps(made()) for name, made in OPTIMIZERS.items()}
        lab.progress(Progress(self.name, 2, 3, task.name))
        return NetworkParts(
            tuple(gradients.items()),
            tuple(xor.items()),
            tuple(steps.items()),
            task.name,
            len(task.test),
            self._texts(task),
        )

    def _checked(self, layers: list[Layer], shape: tuple[int, ...]) -> float:
        rng = np.random.default_rng(self.seed)
        network = NeuralNetwork(layers, shape, self.seed, np.float64)
        network.vector += rng.normal(0, 0.1, network.parameters)  # biases of 0 put sums on the very bend of a ReLU
        inputs = rng.integers(5, size=(4, *shape)) if isinstance(layers[0], Embedding) else rng.normal(size=(4, *shape))
        return training.check_gradients(network, (inputs, rng.integers(3, size=4)), training.cross_entropy)

    def _xor(self, layers: list[Layer]) -> float:
        network = NeuralNetwork(layers, (2,), self.seed + 1)
        training.fit(network, XOR, binary_cross_entropy, FitPlan(epochs=400, batch=4, rate=0.05))
        return binary_cross_entropy(network.forward(XOR[0]), XOR[1])[0]

    def _steps(self, optimizer: Optimizer) -> int:
        network = NeuralNetwork([Dense(8), Tanh(), Dense(1)], (2,), self.seed + 1)
        for step in range(1, 2001):
            loss, slope = binary_cross_entropy(network.forward(XOR[0]), XOR[1])
            if loss < 0.05:
                return step
            network.backward(slope)
            optimizer.step(network.vector, network.slopes)
        return 0

    def _texts(self, task: Task) -> tuple[TextNetwork, ...]:
        labels = sorted({str(example.reference) for example in task.train})
        known = {label: at for at, label in enumerate(labels)}
        wanted = np.array([known[str(example.reference)] for example in task.train])
        truth = np.array([known.get(str(example.reference), -1) for example in task.test])
        tfidf, rows = Tfidf.learn([text_of(example.input) for example in task.train])
        asked = tfidf.transform([text_of(example.input) for example in task.test])
        right, cpu = {}, {"most frequent label": 0.0}
        right["most frequent label"] = truth == Counter(wanted.tolist()).most_common(1)[0][0]
        with timed() as clock:
            right["logistic regression"] = regress(rows, wanted, C=10.0).predict(asked) == truth
        cpu["logistic regression"] = clock.cpu
        with timed() as clock:
            network = NeuralNetwork([Dense(self.hidden), Relu(), Dense(len(labels))], rows.shape[1:], self.seed)
            plan = FitPlan(self.epochs, batch=32, rate=5e-3, decay=1e-2, seed=self.seed)
            training.fit(network, (rows, wanted), training.cross_entropy, plan)
            ours = network.predict(asked).argmax(1) == truth
        out = [TextNetwork(name, mean(hits), gain(ours, hits), cpu[name]) for name, hits in right.items()]
        return (*out, TextNetwork(f"network, {network.parameters:,} weights", mean(ours), None, clock.cpu))

    def about(self, subject: None) -> str:
        return self.task

    def table(self, found: NetworkParts) -> str:
        checks = [["gradients of", "off by at most"], *([name, f"{off:.0e}"] for name, off in found.gradients)]
        xor = [["hidden layer", "loss on XOR"], *([name, f"{loss:.3f}"] for name, loss in found.xor)]
        steps = [["optimizer", "steps to XOR"]]
        steps += [[name, str(count or "more than 2,000")] for name, count in found.optimizers]
        texts = [[f"{found.task}, {found.n} texts", "accuracy", "the network's gain over it", "CPU s"]]
        texts += [
            [row.name, exact(row.accuracy), "" if row.network is None else change(row.network), f"{row.cpu:.1f}"]
            for row in found.texts
        ]
        return "\n\n".join(map(align, (checks, xor, steps, texts)))
