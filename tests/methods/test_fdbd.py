import numpy as np
import pytest
import torch
from reference.fdbd import fdbd

from ltood.core.batches import FeatureBatch
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs, Need
from ltood.methods.fdbd import FDBD, Config


def made(rng, dim=6, classes=4):
    shapes = {"rows": (8, dim), "weight": (classes, dim), "bias": (classes,), "train": (20, dim)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def scored(rows, weight, bias, train, **settings):
    head = ClassifierHead(torch.tensor(weight), torch.tensor(bias))
    labels = torch.arange(len(train)) % len(bias)
    inputs = FitInputs.of(torch.tensor(train), labels, head=head)
    batch = FeatureBatch.of(torch.tensor(rows), head=head)
    return FDBD(Config(**settings)).fit(inputs).score(batch)


def expected(case, centre=True):
    mean = case["train"].astype(np.float64).mean(axis=0) if centre else 0.0
    return [fdbd(row, case["weight"], case["bias"], mean) for row in case["rows"]]


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("dim", "classes"), [(6, 4), (512, 10), (3, 1), (4, 2)])
def test_reference(rng, dim, classes, centre):
    case = made(rng, dim, classes)
    np.testing.assert_allclose(
        scored(**case, centre=centre), expected(case, centre), rtol=1e-5, atol=1e-7
    )


def test_it_is_the_distance_to_the_boundary(rng):
    # Two classes: moving a row by its distance along the normal lands on the boundary.
    case = made(rng, 3, 2)
    case["bias"][:] = 0
    distance = -scored(**case, centre=False).numpy() * np.linalg.norm(case["rows"], axis=1)
    normal = case["weight"][0] - case["weight"][1]
    sides = np.sign(case["rows"] @ normal)
    moved = case["rows"] - (sides * distance)[:, None] * normal / np.linalg.norm(normal)
    np.testing.assert_allclose(moved @ normal, 0, atol=1e-5)


def test_equal_weights_have_no_boundary(rng):
    case = made(rng)
    case["weight"][2] = case["weight"][0]
    got = scored(**case)
    assert torch.isfinite(got).all()
    np.testing.assert_allclose(got, expected(case), rtol=1e-5)
    case["weight"][:] = 0
    assert (scored(**case) == 0).all()


def test_scale_does_not_matter(rng):
    case = made(rng)
    case["bias"][:] = 0
    small = {**case, "weight": case["weight"] * np.float32(1e-6)}
    torch.testing.assert_close(scored(**small), scored(**case))


def test_a_row_at_the_centre_is_finite(rng):
    case = made(rng)
    case["train"][:], case["rows"][0] = 3.0, 3.0
    scores = scored(**case)
    assert torch.isfinite(scores).all()
    assert scores.argmin() == 0


def test_training_rows_are_needed_for_the_centre_only():
    head = ClassifierHead(torch.eye(3), torch.zeros(3))
    detector = FDBD(Config(centre=False))
    assert detector.needs == {Need.HEAD}
    batch = FeatureBatch.of(torch.rand(4, 3), head=head)
    assert torch.isfinite(detector.fit(FitInputs(head=head)).score(batch)).all()
    assert FDBD().needs == {Need.HEAD, Need.TRAIN}
