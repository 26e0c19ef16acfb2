import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.label_streams import AdaNeg as Reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.methods.adaneg import AdaNeg
from ltood.methods.neglabel import NegLabel
from ltood.ops.label_memories import LabelMemories
from ltood.ops.negatives import grouped

USUAL = {"beta": 5.5, "lam": 0.1, "threshold": 0.5, "gap": 0.5, "temperature": 0.1, "slots": 2}


def make(seed, rows=20, classes=3, labels=7, dim=5):
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(classes + labels, dim)).astype(np.float32)
    near = texts[rng.integers(0, classes + labels, rows)]
    images = (near + 0.4 * rng.normal(size=(rows, dim))).astype(np.float32)
    return (texts[:classes], np.zeros(classes, np.float32)), texts[classes:], images


def expected(head, negatives, images, *, batch, groups, first, **given_settings):
    dealt = grouped(torch.tensor(negatives), groups, 0).double().numpy()
    memory = Reference(head[0].astype(float), [list(group) for group in dealt], **given_settings)
    scores = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch].astype(float)
        if first:
            [memory.learn(row) for row in part]
        scores += [memory.rate(row) for row in part]
        if not first:
            [memory.learn(row) for row in part]
    return np.array(scores)


# Chosen once: a row on the edge of a rule may fall on either side in float32.
@settings(max_examples=30, derandomize=True)
@given(
    seed=st.integers(0, 99),
    batch=st.integers(1, 9),
    groups=st.integers(1, 4),
    slots=st.integers(1, 4),
    first=st.booleans(),
    threshold=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_it_equals_the_loops(seed, batch, groups, slots, first, threshold):
    head, negatives, images = make(seed)
    given_settings = {**USUAL, "slots": slots, "threshold": threshold}
    method = AdaNeg(batch=batch, groups=groups, official_update_first=first, **given_settings)
    found = method.fit(head=head, negatives=negatives).score(images)
    wanted = expected(
        head, negatives, images, batch=batch, groups=groups, first=first, **given_settings
    )
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_the_official_switches_cut_beta_and_leave_a_slot_empty():
    head, negatives, images = make(3, rows=60)
    official = AdaNeg(batch=7, official_beta=True, official_slots=True, **{**USUAL, "slots": 3})
    found = official.fit(head=head, negatives=negatives).score(images)
    plain = AdaNeg(batch=7, **{**USUAL, "beta": 5.0, "slots": 2})
    assert np.array_equal(found, plain.fit(head=head, negatives=negatives).score(images))
    with pytest.raises(ConfigError, match="slots"):
        AdaNeg(official_slots=True, slots=1)


def test_without_memories_it_ranks_as_neglabel():
    head, negatives, images = make(4)
    given_settings = {"groups": 2, "temperature": 0.1}
    # Nothing is remembered before the one batch is scored.
    found = AdaNeg(batch=99, lam=0.5, **given_settings).fit(head=head, negatives=negatives)
    plain = NegLabel(**given_settings).fit(head=head, negatives=negatives)
    np.testing.assert_allclose(found.score(images), 1.5 * plain.score(images), rtol=1e-5)


def test_cosines_come_from_gram_matrices_exactly():
    rng = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(6, 4, generator=rng), dim=1)
    rows = torch.nn.functional.normalize(torch.randn(30, 4, generator=rng), dim=1)
    memories = LabelMemories(texts, slots=3, beta=5.5)
    assert torch.equal(memories.cosines(rows), rows @ texts.T)
    labels, entropies = torch.arange(30) % 4, torch.rand(30, generator=rng)
    memories.add(rows, labels, entropies)
    kept = {
        label: rows[labels == label][entropies[labels == label].argsort()[:3]] for label in range(4)
    }
    found = memories.cosines(rows)
    for label in range(6):
        members = torch.cat([texts[label : label + 1], kept.get(label, rows[:0])]).double()
        weights = torch.exp(-5.5 * (1 - rows.double() @ members.T))
        proxies = torch.nn.functional.normalize(weights @ members, dim=1)
        wanted = (proxies * rows.double()).sum(dim=1).float()
        torch.testing.assert_close(found[:, label], wanted, rtol=1e-5, atol=1e-5)


def test_order_within_a_batch_does_not_matter():
    head, negatives, images = make(5, rows=24)
    method = AdaNeg(batch=8, **USUAL).fit(head=head, negatives=negatives)
    order = np.concatenate([np.random.permutation(8) + start for start in (0, 8, 16)])
    np.testing.assert_allclose(method.score(images[order]), method.score(images)[order], atol=1e-5)


def test_negative_labels_are_needed():
    head, _, images = make(6)
    with pytest.raises(MissingNeedError):
        AdaNeg().fit(head=head)
    one = AdaNeg().fit(head=head, negatives=images[:1])
    assert torch.isfinite(one.score(FeatureBatch.of(images[:1]))).all()
