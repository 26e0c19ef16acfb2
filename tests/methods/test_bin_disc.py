import numpy as np
import pytest
import torch
from reference import bin_disc as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.bin_disc import BinDisc
from ltood.normalisers.imood import ImOOD


@pytest.fixture
def head(imood_golden):
    names = {"weight": "W_in", "bias": "b_in", "extra_weight": "W_extra", "extra_bias": "b_extra"}
    return ClassifierHead.from_arrays({ours: imood_golden[key] for ours, key in names.items()})


@pytest.mark.parametrize("split", ["id", "ood"])
def test_golden(imood_golden, head, split):
    g = imood_golden
    batch = FeatureBatch.of(torch.tensor(g[f"{split}_feats"]), head=head)
    scores = BinDisc().score(batch)
    # Theirs is 1 - sigmoid(g), that is sigmoid(-g).
    expected = g[f"f64_score_bin_disc_{split}"]
    np.testing.assert_allclose(torch.sigmoid(scores.double()), expected, rtol=1e-5)
    normaliser = ImOOD(base="bin_disc").fit(FitInputs(prior=ClassPrior(g["class_counts"])))
    corrected = normaliser.normalise(scores, batch)
    expected = g[f"f64_score_ada_bin_disc_{split}"]
    np.testing.assert_allclose(corrected, expected, rtol=1e-4, atol=1e-5)


def test_reference(imood_golden, head):
    g, features = imood_golden, imood_golden["ood_feats"][:10]
    expected = [reference.bin_disc(row, g["W_extra"], g["b_extra"]) for row in features]
    scores = BinDisc().score(FeatureBatch.of(torch.tensor(features), head=head))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_confident_rows_do_not_tie():
    batch = FeatureBatch.of(aux_outputs=torch.tensor([[40.0], [41.0], [-40.0]]))
    assert BinDisc().score(batch).tolist() == [-40.0, -41.0, 40.0]


def test_a_head_without_the_node_is_refused(toy):
    with pytest.raises(MissingNeedError, match="auxiliary outputs"):
        BinDisc().score(FeatureBatch.of(toy.id_batch.features))
