"""A memory whose scores show when rows have entered it."""

import torch

from ltood.core.streams import Memory


class Counter(Memory):
    """Rates a row by how many rows have entered."""

    def __init__(self):
        self.seen = 0

    def rate(self, batch):
        return torch.full((len(batch),), float(self.seen))

    def learn(self, batch):
        self.seen += len(batch)
