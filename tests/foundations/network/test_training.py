"""Every gradient equals a finite difference, every optimizer torch's, and the network learns what one neuron cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rung.core.errors import FitError, InputError
from rung.foundations.network import training
from rung.foundations.network.convolution import Convolution, Double, MaxPool
from rung.foundations.network.layers import Dense, Embedding, Flatten, Layer, Relu, Sigmoid, Tanh
from rung.foundations.network.network import NeuralNetwork
from rung.foundations.network.recurrent import Last, Lstm, Rnn
from rung.foundations.network.training import Adam, FitPlan, Optimizer, RmsProp, Sgd, check_gradients, fit

RNG = np.random.default_rng(5)
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([[0], [1], [1], [0]], float)

STACKS: dict[str, tuple[list[Layer], tuple[int, ...]]] = {
    "dense": ([Dense(5), Tanh(), Dense(4), Sigmoid(), Dense(3)], (4,)),
    "relu": ([Dense(6), Relu(), Dense(6), Relu(0.2), Dense(3)], (4,)),
    "pictures": (
        [Convolution(3), Tanh(), MaxPool(), Convolution(2, 5), Relu(0.1), Double(), Flatten(), Dense(3)],
        (4, 6, 2),
    ),
    "rnn": ([Rnn(4), Rnn(3), Last()], (5, 2)),
    "lstm": ([Lstm(4), Lstm(3), Last()], (5, 2)),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "binary_cross_entropy", "cross_entropy"])
def test_gradients_equal_finite_differences(name: str, loss: str) -> None:
    layers, shape = STACKS[name]
    network = NeuralNetwork(layers, shape, seed=3, dtype=np.float64)
    network.vector += RNG.normal(0, 0.1, network.parameters)  # no sum lies on the very bend of a ReLU
    x = RNG.normal(size=(4, *shape))
    wanted = np.array([0, 2, -1, 1]) if loss == "cross_entropy" else RNG.uniform(size=(4, 3))
    assert check_gradients(network, (x, wanted), getattr(training, loss)) < 1e-6


def test_gradients_of_an_embedding_add_up_over_its_uses() -> None:
    network = NeuralNetwork([Embedding(6, 4), Lstm(3), Dense(6)], (5,), dtype=np.float64)
    x = np.array([[0, 1, 1, 5, 0], [2, 2, 2, 2, 2]])
    assert check_gradients(network, (x, np.roll(x, 1, 1)), training.cross_entropy) < 1e-6


def test_a_wrong_gradient_is_found() -> None:
    class Wrong(Tanh):
        def backward(self, slope: Any, inputs: bool = True) -> Any:
            return slope

    network = NeuralNetwork([Dense(3), Wrong(), Dense(1)], (2,), dtype=np.float64)
    assert check_gradients(network, XOR, training.squared_error) > 1e-3


@pytest.mark.parametrize("bend", [Sigmoid, Tanh, Relu])
def test_xor_needs_a_hidden_layer(bend: type[Layer]) -> None:
    losses = []
    for layers in ([Dense(8), bend(), Dense(1)], [Dense(1)]):
        network = NeuralNetwork(layers, (2,), seed=1)
        fit(network, XOR, training.binary_cross_entropy, FitPlan(epochs=400, batch=4, rate=0.05))
        losses.append(training.binary_cross_entropy(network.forward(XOR[0]), XOR[1])[0])
        if len(losses) == 1:
            assert ((network.forward(XOR[0]) > 0) == XOR[1]).all()
    assert losses[0] < 0.1
    assert losses[1] > 0.6  # log 2 is chance


def test_optimizers_step_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    start, slopes = RNG.normal(size=7), RNG.normal(size=(5, 7))
    pairs: list[tuple[Optimizer, Any]] = [
        (Sgd(0.1, 0.9), lambda w: torch.optim.SGD([w], 0.1, momentum=0.9)),
        (RmsProp(0.01), lambda w: torch.optim.RMSprop([w], 0.01)),
        (Adam(0.02, decay=0.1), lambda w: torch.optim.AdamW([w], 0.02, weight_decay=0.1)),
    ]
    for ours, theirs in pairs:
        weights, tensor = start.copy(), torch.tensor(start, requires_grad=True)
        peer = theirs(tensor)
        for slope in slopes:
            ours.step(weights, slope)
            tensor.grad = torch.tensor(slope)
            peer.step()
        np.testing.assert_allclose(weights, tensor.detach().numpy(), atol=1e-7)


def test_inputs_of_another_shape_are_refused() -> None:
    network = NeuralNetwork([Convolution(2), MaxPool()], (4, 4, 1))
    with pytest.raises(InputError) as caught:
        network.forward(np.zeros((1, 5, 4, 1)))
    assert caught.value.code == "shape"
    for layers, shape in (([Convolution(2)], (4, 4)), ([MaxPool()], (3, 4, 1)), ([Lstm(2)], (4,)), ([Dense(2)], ())):
        with pytest.raises(InputError):
            NeuralNetwork(layers, shape)
    with pytest.raises(InputError):
        fit(network, (np.zeros((2, 4, 4, 1)), np.zeros(3)), training.squared_error)


def test_a_training_that_diverges_says_so_and_keeps_the_weights_of_before() -> None:
    network = NeuralNetwork([Dense(1)], (2,))
    before = network.vector.copy()
    with pytest.raises(FitError) as caught, np.errstate(all="ignore"):
        fit(network, (np.full((8, 2), 1e30, np.float32), np.zeros((8, 1))), training.squared_error, FitPlan(rate=1e10))
    assert caught.value.code == "diverged"
    assert (network.vector == before).all()


def test_weights_come_back_from_their_arrays() -> None:
    layers = STACKS["lstm"][0]
    one, other = NeuralNetwork(layers, (5, 2), seed=1), NeuralNetwork([Lstm(4), Lstm(3), Last()], (5, 2), seed=2)
    kept = {name: w.copy() for name, w in one.arrays().items()}
    x = RNG.normal(size=(2, 5, 2))
    assert (other.restore(kept).forward(x) == one.forward(x)).all()
    with pytest.raises(ValueError, match="shape"):
        other.restore({**kept, "0.x": np.zeros((1, 1))})


def test_labels_are_whole_numbers_from_0_and_inputs_are_numbers() -> None:
    assert training.classes_of(np.array([2, 0, 1, 2]), 4) == 3
    for labels in ([0, 1], [0, 1, -1, 2], [0.0, 1.0, 2.0, 3.0], [[0], [1], [2], [3]]):
        with pytest.raises(InputError) as raised:
            training.classes_of(np.array(labels), 4)
        assert raised.value.code == "labels"
    network = NeuralNetwork([Dense(2)], (2,))
    with pytest.raises(InputError) as raised:
        fit(network, (np.array([[0.5, np.nan], [1.0, 2.0]]), np.zeros((2, 2))), training.squared_error)
    assert raised.value.code == "finite"
    network = NeuralNetwork([Dense(2)], (3,), 0)
    assert network.predict(np.zeros((0, 3), np.float32)).shape == (0, 2)
    with pytest.raises(InputError) as raised:
        network.predict(np.full((1, 3), np.nan, np.float32))
    assert raised.value.code == "finite"
