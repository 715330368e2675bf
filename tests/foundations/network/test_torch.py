"""Layers and losses equal torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.foundations.network import training
from rung.foundations.network.convolution import Convolution, MaxPool
from rung.foundations.network.layers import Layer
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Lstm, Rnn

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(1)


def near(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=2e-5)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_and_pooling(size: int) -> None:
    layer = Convolution(4, size)
    network = NeuralNetwork([layer, MaxPool()], (6, 8, 3))
    x = RNG.normal(size=(2, 6, 8, 3)).astype(np.float32)
    kernel = layer.weights["w"].reshape(size, size, 3, 4).transpose(3, 2, 0, 1).copy()
    inputs, weights = (torch.tensor(a, requires_grad=True) for a in (x.transpose(0, 3, 1, 2).copy(), kernel))
    theirs = F.max_pool2d(F.relu(F.conv2d(inputs, weights, padding=size // 2)), 2)
    network.forward(x)
    ours = np.maximum(network.forward(x), 0)
    near(ours.transpose(0, 3, 1, 2), theirs)
    theirs.pow(2).sum().backward()
    back = network.backward(2 * ours, inputs=True)
    near(back.transpose(0, 3, 1, 2), inputs.grad)
    near(layer.gradients["w"].reshape(size, size, 3, 4).transpose(3, 2, 0, 1), weights.grad)


@pytest.mark.parametrize(("ours", "theirs"), [(Rnn, "RNN"), (Lstm, "LSTM")])
def test_recurrent_layers(ours: type[Layer], theirs: str) -> None:
    layer = ours(5)  # type: ignore[call-arg]
    network = NeuralNetwork([layer], (7, 3))
    peer = getattr(torch.nn, theirs)(3, 5, batch_first=True)
    with torch.no_grad():
        for name, value in (("weight_ih_l0", "x"), ("weight_hh_l0", "h"), ("bias_ih_l0", "b")):
            getattr(peer, name).copy_(torch.tensor(layer.weights[value].T.copy()))
        peer.bias_hh_l0.zero_()
    x = RNG.normal(size=(4, 7, 3)).astype(np.float32)
    inputs = torch.tensor(x, requires_grad=True)
    out = peer(inputs)[0]
    near(network.forward(x), out)
    out.pow(2).sum().backward()
    near(network.backward(2 * out.detach().numpy(), inputs=True), inputs.grad)
    near(layer.gradients["h"].T, peer.weight_hh_l0.grad)


def test_losses() -> None:
    logits, labels = RNG.normal(size=(6, 4)) * 20, np.array([0, 3, 1, -1, 2, 2])
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = F.cross_entropy(tensor, torch.tensor(labels), ignore_index=-1)
    theirs.backward()
    value, slope = training.cross_entropy(logits, labels)
    assert value == pytest.approx(theirs.item())
    near(slope, tensor.grad)
    wanted = RNG.uniform(size=(6, 4))
    peers = {
        "squared_error": F.mse_loss,
        "absolute_error": lambda a, b: F.huber_loss(a, b, delta=0.1) / 0.1,
        "binary_cross_entropy": F.binary_cross_entropy_with_logits,
    }
    for name, peer in peers.items():
        assert getattr(training, name)(logits, wanted)[0] == pytest.approx(peer(tensor, torch.tensor(wanted)).item()), (
            name
        )
