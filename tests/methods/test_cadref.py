import numpy as np
import pytest
import torch
from pooled_samples import made, scored
from reference import caref as reference
from reference.scores import head_logits

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError
from ltood.methods.cadref import CADRef, Config, level
from ltood.methods.caref import CARef

KINDS = ["gen", "energy", "maxlogit", "msp"]


def expected(case, kind, means="predicted", official=False):
    learned = (case.weight, case.bias)
    centres = reference.means(case.train, case.labels, *learned, means)
    levels = [reference.level(head_logits(r, *learned), kind, official) for r in case.train]
    args = (centres, *learned, kind, sum(levels) / len(levels), official)
    return [reference.cadref(row, *args) for row in case.rows]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sizes", [{}, {"counts": (9, 4)}, {"counts": (30, 0, 10)}, {"counts": (3, 2), "dim": 20}]
)
def test_reference(rng, kind, sizes):
    case = made(rng, **sizes)
    got = scored(CADRef(Config(logit=kind)), case)
    np.testing.assert_allclose(got, expected(case, kind), rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_of_the_official_level(rng, kind):
    case = made(rng)
    got = scored(CADRef(Config(logit=kind, means="label", official_level=True)), case)
    np.testing.assert_allclose(got, expected(case, kind, "label", True), rtol=2e-5)


@pytest.mark.parametrize("kind", ["energy", "maxlogit"])
def test_negative_levels_do_not_turn_the_score(rng, kind):
    case = made(rng)
    case.bias[:] -= 1000
    assert (scored(CADRef(Config(logit=kind)), case) >= 0).all()
    assert (scored(CADRef(Config(logit=kind, official_level=True)), case) < 0).all()


def test_large_levels_are_as_they_are():
    logits = torch.tensor([[50.0, 10.0], [80.0, 79.0]])
    for kind in ("energy", "maxlogit"):
        assert torch.equal(level(logits, kind, signed=False), level(logits, kind, signed=True))


def test_both_halves_add_up_to_carefs_error(rng):
    case = made(rng)
    detector = CADRef(Config(logit="msp")).fit(case.inputs())
    detector.level_ = torch.tensor(1.0)
    sure = torch.tensor([[90.0, 0, 0]]).expand(len(case.rows), -1)  # its level is 1, too
    batch = FeatureBatch.of(torch.tensor(case.rows), sure)
    torch.testing.assert_close(detector.score(batch), CARef().fit(case.inputs()).score(batch))


def test_derived_and_ranges(rng):
    case = made(rng)
    detector = CADRef(Config(logit="msp")).fit(case.inputs())
    assert 1 / 3 < detector.derived()["mean_level"] <= 1
    with pytest.raises(ConfigError, match=r"methods.cadref.logit is 'odin'"):
        Config(logit="odin")
