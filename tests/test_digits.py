"""The training example learns, and its loss follows PyTorch's of the same network."""

import sys
from pathlib import Path

import numpy as np
import pytest
from arrays import DTYPES

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import digits

# Rounding errors grow from batch to batch, so the bound is wide beside eps.
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}
COMPARED_EPOCHS = 3


def test_learns(capsys: pytest.CaptureFixture[str]) -> None:
    digits.main()
    last = capsys.readouterr().out.splitlines()[-1]
    share = float(last.removeprefix("test accuracy ").removesuffix("%"))
    assert share > 97


@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_curve_is_pytorch_s(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    data, _ = digits.load(dtype)
    parameters = digits.initial_parameters(dtype)
    model = torch_network(parameters)
    ours = digits.train(parameters, data, COMPARED_EPOCHS)

    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    theirs = []
    for rows in digits.batches(len(data.images), 32, COMPARED_EPOCHS):
        images, labels = torch.from_numpy(data.images[rows]), torch.from_numpy(data.labels[rows])
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        theirs.append(loss.item())

    assert len(ours) == len(theirs) > 100
    assert np.mean(ours[-20:]) < 0.2 * np.mean(ours[:20])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype])
    for name, value in zip(parameters, model.parameters(), strict=True):
        found = value.detach().numpy()
        np.testing.assert_allclose(parameters[name], found, rtol=0, atol=TOLERANCE[dtype])


def torch_network(parameters: digits.Parameters):  # type: ignore[no-untyped-def]
    """Return the example's network in PyTorch, with these weights."""
    import torch

    dtype = torch.from_numpy(parameters["dense.bias"]).dtype
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1, dtype=dtype),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2, padding=1, dtype=dtype),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(32 * 4 * 4, 10, dtype=dtype),
    )
    with torch.no_grad():
        for name, value in zip(parameters, model.parameters(), strict=True):
            value.copy_(torch.from_numpy(parameters[name]))
    return model
