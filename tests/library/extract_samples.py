"""Small networks and loaders for the tests of extraction."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

CLASSES, WIDTH = 3, 6


class Net(nn.Module):
    """Convolution, pooling, dropout and a linear head."""

    def __init__(self, *, bias=True):
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(2, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(WIDTH, CLASSES, bias=bias)
        self.calls = 0

    def embed(self, images):
        return self.hidden(self.stem(images).mean((2, 3))).relu()

    def forward(self, images):
        self.calls += len(images)
        return self.fc(self.drop(self.embed(images)))


def images(rows, seed=0):
    return torch.randn(rows, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


def batches(rows, seed=0, size=8):
    """A deterministic loader of images and labels that may be iterated over again."""
    labels = torch.arange(rows) % CLASSES
    return DataLoader(TensorDataset(images(rows, seed), labels), batch_size=size)
