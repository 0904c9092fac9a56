"""ResNet-18 as torch.nn's modules: He et al., "Deep residual learning", 2015."""

from typing import Any

from torch import nn
from torch.nn.functional import relu


class Block(nn.Module):  # type: ignore[misc]  # PyTorch may be missing
    """Two 3x3 convolutions, and the way past them."""

    def __init__(self, channels: int, made: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made)
        )
        self.second = nn.Sequential(
            nn.Conv2d(made, made, 3, 1, 1, bias=False), nn.BatchNorm2d(made)
        )
        self.past = nn.Identity()
        if stride != 1 or channels != made:
            self.past = nn.Sequential(
                nn.Conv2d(channels, made, 1, stride, bias=False), nn.BatchNorm2d(made)
            )

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        y = relu(self.first(x), inplace=True)
        return relu(self.second(y) + self.past(x), inplace=True)


def resnet18(width: int = 64, classes: int = 1000) -> Any:
    """Return the network with random weights; ``width`` is the channels of its first layers."""
    layers: list[Any] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = width
    for step in range(4):
        made = width << step
        layers += [Block(channels, made, 1 if step == 0 else 2), Block(made, made, 1)]
        channels = made
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    return nn.Sequential(*layers, *head)
