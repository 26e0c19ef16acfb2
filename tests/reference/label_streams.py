"""AdaNeg and TANL row by row in plain loops; higher means more OOD."""

from math import exp, log, sqrt

import numpy as np

from reference.scores import log_sum_exp, softmax, unit


def cosines(row, texts):
    return [float(np.dot(unit(row), unit(text))) for text in texts]


def shares(known, groups):
    """NegLabel's score of scaled cosines."""
    found = [sum(softmax(known + group)[len(known) :]) for group in groups]
    return sum(found) / len(found)


def entropy(logits):
    return -sum(p * log(p) for p in softmax(logits) if p > 0)


class AdaNeg:
    def __init__(self, classes, groups, **settings):
        self.classes = classes
        self.groups = groups
        self.texts = [unit(text) for text in [*classes, *(t for group in groups for t in group)]]
        self.members = [[] for _ in self.texts]  # pairs (entropy, row)
        self.settings = settings

    def _share(self, found):
        temperature, known = self.settings["temperature"], len(self.classes)
        scaled = [value / temperature for value in found]
        rest, groups = scaled[known:], []
        for group in self.groups:
            groups.append(rest[: len(group)])
            rest = rest[len(group) :]
        return shares(scaled[:known], groups)

    def rate(self, row):
        row, plain = unit(row), cosines(row, self.texts)
        adapted = []
        for text, members in zip(self.texts, self.members, strict=True):
            proxy = sum(
                exp(-self.settings["beta"] * (1 - float(np.dot(row, m)))) * m
                for m in [text, *(m for _, m in members)]
            )
            adapted.append(float(np.dot(row, proxy)) / sqrt(float(np.dot(proxy, proxy))))
        return self._share(adapted) + self.settings["lam"] * self._share(plain)

    def learn(self, row):
        row, plain = unit(row), cosines(row, self.texts)
        confidence = 1 - self._share(plain)
        threshold, gap = self.settings["threshold"], self.settings["gap"]
        known = len(self.classes)
        if confidence > threshold + gap * (1 - threshold):
            own = range(known)
        elif confidence < threshold - gap * threshold:
            own = range(known, len(self.texts))
        else:
            return
        label = max(own, key=lambda place: plain[place])
        doubt = entropy([plain[place] / self.settings["temperature"] for place in own])
        members = self.members[label]
        if len(members) < self.settings["slots"]:
            members.append((doubt, row))
            return
        worst = max(range(len(members)), key=lambda place: members[place][0])
        if doubt < members[worst][0]:
            members[worst] = (doubt, row)


class TANL:
    def __init__(self, classes, pool, **settings):
        self.classes, self.pool, self.settings = classes, pool, settings
        kept = min(settings["queue"], len(classes))
        self.id_like = [
            self._activation(classes[place * len(classes) // kept]) for place in range(kept)
        ]
        self.ood_like = []
        self.confidences = [1 - self._share(row, self._gain()) for row in classes]

    def _logits(self, row):
        scaled = self.settings["temperature"]
        return (
            [value / scaled for value in cosines(row, self.classes)],
            [value / scaled for value in cosines(row, self.pool)],
        )

    def _activation(self, row):
        known, unknown = self._logits(row)
        return np.array(softmax(known + unknown)[len(known) :])

    def _gain(self, new_id=(), new_ood=()):
        def mean(queue, new):
            of_queue = sum(queue) / len(queue) if queue else np.zeros(len(self.pool))
            if not len(new):
                return of_queue
            alpha = self.settings["alpha"]
            return alpha * of_queue + (1 - alpha) * sum(new) / len(new)

        return mean(self.ood_like, new_ood) - mean(self.id_like, new_id)

    def _share(self, row, gain):
        known, unknown = self._logits(row)
        order = sorted(range(len(gain)), key=lambda label: -gain[label])
        chosen = order[: self.settings["labels"]]
        found = []
        for number in range(1, len(chosen) + 1):
            some = [unknown[label] for label in chosen[:number]]
            found.append(1 / (1 + exp(log_sum_exp(known) - log_sum_exp(some))))
        return sum(found) / len(found)

    def step(self, batch, *, update_first):
        gain = self._gain()
        before = [self._share(row, gain) for row in batch]
        self.confidences += [1 - share for share in before]
        self.confidences = self.confidences[-self.settings["scores"] :]
        threshold, gap = otsu(self.confidences), self.settings["gap"]
        new_id, new_ood = [], []
        for row, share in zip(batch, before, strict=True):
            if 1 - share > threshold + gap * (1 - threshold):
                new_id.append(self._activation(row))
            elif 1 - share < threshold - gap * threshold:
                new_ood.append(self._activation(row))
        mixed = self._gain(new_id, new_ood)
        after = [self._share(row, mixed) for row in batch]
        self.id_like = (self.id_like + new_id)[-self.settings["queue"] :]
        self.ood_like = (self.ood_like + new_ood)[-self.settings["queue"] :]
        return after if update_first else before


def otsu(values):
    """The cut of a grid of hundredths with the least variance within both sides."""
    found = []
    for step in range(100):
        upper = [value for value in values if value >= step / 100]
        lower = [value for value in values if value < step / 100]
        inside = (
            len(upper) * np.var(upper) + len(lower) * np.var(lower) if upper and lower else None
        )
        found.append(inside)
    known = [value for value in found if value is not None]
    if not known:
        return 0.5
    best = [step for step, value in enumerate(found) if value is not None and value <= min(known)]
    return best[len(best) // 2] / 100
