"""Train a small convolutional network on handwritten digits, with fastconv and NumPy alone.

Two convolutions and one dense layer learn scikit-learn's 8 x 8 images in a few seconds:

    python examples/digits.py

The network is conv 3x3 - ReLU - conv 3x3, stride 2 - ReLU - dense - softmax. Its gradients are
written out by hand; fastconv gives those of the two convolutions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.datasets import load_digits

from fastconv import conv2d, conv2d_input, conv2d_weight

Array = NDArray[np.floating]
Labels = NDArray[np.integer]
Parameters = dict[str, Array]

CLASSES = 10
TEST_SHARE = 0.25


@dataclass(frozen=True)
class Data:
    """Images of shape (N, 1, 8, 8) with values from 0 to 1, and the digit each one shows."""

    images: Array
    labels: Labels


@dataclass(frozen=True)
class Activations:
    """What the forward pass keeps for the backward pass."""

    images: Array
    first: Array
    second: Array


def load(dtype: DTypeLike = np.float32, seed: int = 0) -> tuple[Data, Data]:
    """Return the training set and the test set, drawn at random."""
    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(dtype)
    order = np.random.default_rng(seed).permutation(len(images))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    return Data(images[train], digits.target[train]), Data(images[test], digits.target[test])


def initial_parameters(dtype: DTypeLike = np.float32, seed: int = 0) -> Parameters:
    """Return random weights of the size that keeps each layer's variance, and zero biases."""
    rng = np.random.default_rng(seed)
    shapes = {"first": (16, 1, 3, 3), "second": (32, 16, 3, 3), "dense": (CLASSES, 32 * 4 * 4)}
    parameters: Parameters = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        parameters[f"{name}.weight"] = (scale * rng.standard_normal(shape)).astype(dtype)
        parameters[f"{name}.bias"] = np.zeros(shape[0], dtype)
    return parameters


def forward(p: Parameters, images: Array) -> tuple[Array, Activations]:
    """Return the network's ten scores for each image, and what `backward` needs."""
    first = np.maximum(conv2d(images, p["first.weight"], p["first.bias"], padding=1), 0)
    second = conv2d(first, p["second.weight"], p["second.bias"], stride=2, padding=1)
    second = np.maximum(second, 0)
    scores = second.reshape(len(images), -1) @ p["dense.weight"].T + p["dense.bias"]
    return scores, Activations(images, first, second)


def cross_entropy(scores: Array, labels: Labels) -> tuple[float, Array]:
    """Return the mean loss of a batch and its gradient by the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_share = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    chosen = (np.arange(len(labels)), labels)
    gradient = np.exp(log_share)
    gradient[chosen] -= 1
    return float(-log_share[chosen].mean()), gradient / len(labels)


def backward(p: Parameters, kept: Activations, grad_scores: Array) -> Parameters:
    """Return the loss's gradient by each parameter: the chain rule, from the last layer back."""
    flat = kept.second.reshape(len(kept.images), -1)
    grad_second = (grad_scores @ p["dense.weight"]).reshape(kept.second.shape) * (kept.second > 0)
    grad_first = conv2d_input(
        kept.first.shape, p["second.weight"], grad_second, stride=2, padding=1
    ) * (kept.first > 0)
    return {
        "first.weight": conv2d_weight(kept.images, p["first.weight"].shape, grad_first, padding=1),
        "first.bias": grad_first.sum(axis=(0, 2, 3)),
        "second.weight": conv2d_weight(
            kept.first, p["second.weight"].shape, grad_second, stride=2, padding=1
        ),
        "second.bias": grad_second.sum(axis=(0, 2, 3)),
        "dense.weight": grad_scores.T @ flat,
        "dense.bias": grad_scores.sum(axis=0),
    }


def batches(count: int, size: int, epochs: int, seed: int = 0) -> Iterator[NDArray[np.integer]]:
    """Yield the rows of each batch, shuffled anew in every epoch; what is left over is dropped."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def train(
    p: Parameters,
    data: Data,
    epochs: int = 12,
    batch: int = 32,
    learning_rate: float = 0.05,
    momentum: float = 0.9,
) -> list[float]:
    """Train `p` in place by stochastic gradient descent and return the loss of every batch."""
    velocity = {name: np.zeros_like(value) for name, value in p.items()}
    losses = []
    for rows in batches(len(data.images), batch, epochs):
        scores, kept = forward(p, data.images[rows])
        loss, grad_scores = cross_entropy(scores, data.labels[rows])
        for name, gradient in backward(p, kept, grad_scores).items():
            velocity[name] = momentum * velocity[name] + gradient
            p[name] -= learning_rate * velocity[name]
        losses.append(loss)
    return losses


def accuracy(p: Parameters, data: Data) -> float:
    """Return the share of images whose highest score is the right one."""
    scores, _ = forward(p, data.images)
    return float((scores.argmax(axis=1) == data.labels).mean())


def main() -> None:
    """Train, and print the loss of each epoch and the accuracy on images not trained on."""
    train_data, test_data = load()
    parameters = initial_parameters()
    epochs = 12
    losses = train(parameters, train_data, epochs)
    for number, of_epoch in enumerate(np.split(np.array(losses), epochs), 1):
        print(f"epoch {number:2}  loss {of_epoch.mean():.4f}")
    print(f"test accuracy {accuracy(parameters, test_data):.1%}")


if __name__ == "__main__":
    main()
