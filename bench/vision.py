"""Networks written out in numpy, and the GAN and the diffusion made of them, beside the same ones in torch, one thread
each, in turn in one process.

    python bench/vision.py [--mnist FOLDER] [--rounds 5]

Each row trains the same network on the same batches with Adam; figures are CPU seconds, medians of the rounds. With ``--mnist``, a
folder with MNIST's ten thousand test pictures in IDX files, 8,000 of them are learnt and 2,000 classified.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from rung.foundations.generative import diffusion, gan
from rung.foundations.network.convolution import classifier, digits, learn
from rung.foundations.network.layers import Dense, Layer, Relu
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Last, Lstm
from rung.foundations.network.training import Adam, FitPlan, cross_entropy

RNG = np.random.default_rng(0)


class TorchLast(nn.Module):  # type: ignore[misc]
    """The last step of torch's LSTM."""

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, units, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0][:, -1]


def convolutional(shape: tuple[int, int, int]) -> nn.Sequential:
    """``classifier`` of width 32 in torch."""
    height, width, channels = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def ours(network: NeuralNetwork, batches: list[tuple[Any, Any]]) -> None:
    optimizer = Adam(1e-3)
    for x, y in batches:
        network.backward(cross_entropy(network.forward(x), y)[1])
        optimizer.step(network.vector, network.slopes)


def theirs(network: nn.Module, batches: list[tuple[Any, Any]]) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()


def cpu(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(name: str, pair: tuple[NeuralNetwork, nn.Module], shape: tuple[int, ...], steps: int, rounds: int) -> None:
    data = [(RNG.normal(size=(32, *shape)).astype(np.float32), RNG.integers(10, size=32)) for _ in range(steps)]
    pictures = len(shape) == 3
    peer = [(torch.tensor(x.transpose(0, 3, 1, 2).copy() if pictures else x), torch.tensor(y)) for x, y in data]
    ours(pair[0], data[:3])
    theirs(pair[1], peer[:3])
    times = [(cpu(lambda: ours(pair[0], data)), cpu(lambda: theirs(pair[1], peer))) for _ in range(rounds)]
    show(name, times, steps)


def perceptron(*widths: int, leak: float = 0.0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise(widths):
        layers += [nn.Linear(one, other), nn.LeakyReLU(leak)]
    return nn.Sequential(*layers[:-1])


def torch_gan(pictures: Any, labels: Any, plan: gan.GanPlan) -> None:
    """``gan.train`` in torch: the same networks, batches, losses and optimizers."""
    real, width = pictures.flatten(1), pictures[0].numel()
    generator = perceptron(plan.noise + 10, plan.units, plan.units, width, leak=0.2).append(nn.Sigmoid())
    critic = perceptron(width + 10, plan.units, plan.units, 1, leak=0.2)
    makes, judges = (torch.optim.Adam(net.parameters(), plan.rate, (0.5, 0.999)) for net in (generator, critic))
    goal = torch.cat([torch.full((plan.batch, 1), 0.9), torch.zeros(plan.batch, 1)])
    loss = nn.functional.binary_cross_entropy_with_logits
    for _ in range(plan.steps):
        rows = torch.randint(len(real), (plan.batch,))
        told = nn.functional.one_hot(labels[rows], 10).float()
        made = torch.cat([generator(torch.cat([torch.randn(plan.batch, plan.noise), told], 1)), told], 1)
        judges.zero_grad()
        loss(critic(torch.cat([torch.cat([real[rows], told], 1), made.detach()])), goal).backward()
        judges.step()
        makes.zero_grad()
        loss(critic(made), torch.ones(plan.batch, 1)).backward()
        makes.step()


def torch_diffusion(rows: Any, labels: Any, plan: diffusion.DiffusionPlan) -> None:
    """``diffusion.train`` in torch."""
    network = perceptron(rows.shape[1] + diffusion.CLOCK + 10, *[plan.units] * 3, rows.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), plan.rate)
    average = [weight.detach().clone() for weight in network.parameters()]
    kept = torch.tensor(diffusion.NoiseSchedule.cosine(plan.noise).kept, dtype=torch.float32)
    speeds = torch.exp(torch.linspace(0, float(np.log(200)), diffusion.CLOCK // 2))
    for step in range(1, plan.steps + 1):
        chosen, t = torch.randint(len(rows), (plan.batch,)), torch.randint(1, plan.noise + 1, (plan.batch,))
        clean, share, angles = rows[chosen], kept[t][:, None], t[:, None] / plan.noise * speeds
        seen = share.sqrt() * clean + (1 - share).sqrt() * torch.randn_like(clean)
        kinds = nn.functional.one_hot(labels[chosen], 10)
        weight = (share / (1 - share)).clip(0.02, 5).sqrt()
        said = network(torch.cat([seen, angles.sin(), angles.cos(), kinds], 1))
        optimizer.zero_grad()
        nn.functional.mse_loss(weight * said, weight * clean).backward()
        optimizer.param_groups[0]["lr"] = plan.rate * 0.5 * (1 + np.cos(np.pi * step / plan.steps))
        optimizer.step()
        stays = min(plan.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(average, network.parameters(), strict=True):
                mean.lerp_(now, 1 - stays)


def generative(rounds: int, steps: int = 300) -> None:
    (pictures, labels), _ = digits()
    flat = 2 * pictures.reshape(len(pictures), -1) - 1
    tensors = [torch.from_numpy(array) for array in (pictures, flat, labels)]
    plan, noise = gan.GanPlan(steps, look=10 * steps), diffusion.DiffusionPlan(steps)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "GAN, digits": (lambda: gan.train(pictures, labels, plan), lambda: torch_gan(tensors[0], tensors[2], plan)),
        "diffusion, digits": (
            lambda: diffusion.train(flat, labels, noise),
            lambda: torch_diffusion(tensors[1], tensors[2], noise),
        ),
    }
    for name, (mine, peer) in pairs.items():
        show(name, [(cpu(mine), cpu(peer)) for _ in range(rounds)], steps)


def show(name: str, times: list[tuple[float, float]], steps: int) -> None:
    one, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:34} {1e3 * one / steps:8.2f} {1e3 * other / steps:8.2f} {one / other:6.2f}", flush=True)


def mnist(folder: Path) -> None:
    pictures, labels = (
        np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)
        for name, offset in (("t10k-images-idx3-ubyte.gz", 16), ("t10k-labels-idx1-ubyte.gz", 8))
    )
    x, y = (pictures.reshape(-1, 28, 28, 1) / 255).astype(np.float32), labels.astype(np.int64)
    started = time.process_time()
    network = learn(x[:8000], y[:8000], FitPlan(epochs=5, batch=32, rate=2e-3), width=16)
    right = (network.predict(x[8000:]).argmax(1) == y[8000:]).mean()
    spent = time.process_time() - started
    print(f"mnist: {right:.4f} right on 2,000 after 5 passes over 8,000, {spent:.0f} CPU s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if options.mnist:
            mnist(options.mnist)
        else:
            table(options.rounds)


def table(rounds: int) -> None:
    print(f"torch {torch.__version__}, numpy {np.__version__}, batches of 32, CPU ms a step")
    print(f"{'':34} {'ours':>8} {'torch':>8} {'ratio':>6}")
    dense: list[Layer] = [Dense(256), Relu(), Dense(256), Relu(), Dense(10)]
    peer = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    compare("three dense layers, 64-256-256-10", (NeuralNetwork(dense, (64,)), peer), (64,), 200, rounds)
    shape = digits()[0][0].shape[1:]
    compare("convolutional, 8 x 8", (classifier(shape, 10, 32), convolutional(shape)), shape, 40, rounds)
    shape = (28, 28, 1)
    compare("convolutional, 28 x 28", (classifier(shape, 10, 32), convolutional(shape)), shape, 8, rounds)
    lstm: list[Layer] = [Lstm(32), Last(), Dense(10)]
    compare(
        "LSTM, 48 steps, 32 cells",
        (NeuralNetwork(lstm, (48, 2)), nn.Sequential(TorchLast(2, 32), nn.Linear(32, 10))),
        (48, 2),
        20,
        rounds,
    )
    generative(rounds)


if __name__ == "__main__":
    main()
