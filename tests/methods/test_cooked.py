import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import cooked as reference

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.limits import RefusedValueError
from ltood.core.members import Member
from ltood.core.settings import to_section
from ltood.methods.cooked import Config, Cooked
from ltood.methods.entropy import Entropy

CLASSES, ROWS = 5, 7


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def samples(seed, scale=3.0, stretch=1.0):
    """A classifier, a probe and CLIP: the last two see the same features."""
    rng = np.random.default_rng(seed)
    heads, batches = [], []
    own, clip = rng.normal(size=(ROWS, 6)), stretch * rng.normal(size=(ROWS, 4))
    for features, text in ((own, False), (clip, False), (clip, True)):
        weight = rng.normal(size=(CLASSES, features.shape[1]))
        weight = unit(weight) if text else scale * weight
        bias = np.zeros(CLASSES) if text else rng.normal(size=CLASSES)
        more = {"logit_scale": torch.tensor(20.0)} if text else {}
        head = ClassifierHead(torch.tensor(weight), torch.tensor(bias), **more)
        heads.append(head)
        batches.append(FeatureBatch.of(torch.tensor(features).float(), head=head))
    return heads, batches


def joined(batches):
    """The rows of the first store with those of `b` and `b::h` beside them."""
    arrays = dict(batches[0].arrays)
    for place, batch in zip(("b", "b::h"), batches[1:], strict=True):
        arrays |= {f"{name}@{place}": batch.arrays[name] for name in ("features", "logits")}
    return FeatureBatch(arrays)


def fit(heads, **settings):
    others = {"b": FitInputs(head=heads[1]), "b::h": FitInputs(head=heads[2])}
    inputs = FitInputs(head=heads[0], beside=others.__getitem__)
    listed = ["b", {"store": "b", "head": "h"}]
    return Cooked(others=listed, **settings)._fit(inputs)


def slow(heads, batches, score, scale):
    probe = [batch.logits.tolist() for batch in batches[:2]]
    features, texts = batches[2].features.tolist(), heads[2].weight.tolist()
    clip = [reference.text_logits(row, texts, scale) for row in features]
    return [reference.cooked(row, score) for row in zip(*probe, clip, strict=True)]


@pytest.mark.parametrize("score", ["entropy", "msp"])
@pytest.mark.parametrize(("setting", "scale"), [(100.0, 100.0), (7.0, 7.0), (None, 20.0)])
@pytest.mark.parametrize("stretch", [1.0, 30.0])
def test_it_is_the_slow_mean(score, setting, scale, stretch):
    heads, batches = samples(3, stretch=stretch)
    method = fit(heads, score=score, clip_scale=setting)
    found = method._score(joined(batches))
    expected = slow(heads, batches, score, scale)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert method.derived() == {"classifiers": 3, "text_heads": 1}


@given(seed=st.integers(0, 2**20), score=st.sampled_from(["entropy", "msp"]))
def test_the_order_of_classifiers_and_rows_does_not_count(seed, score):
    heads, batches = samples(seed)
    found = fit(heads, score=score)._score(joined(batches))
    # The probe and the text change places.
    places = {"b": "b::h", "b::h": "b"}
    arrays = joined(batches).arrays
    turned = {
        "@".join([name, *(places[place] for place in rest)]): rows.flip(0)
        for (name, *rest), rows in ((key.split("@"), rows) for key, rows in arrays.items())
    }
    other = fit([heads[0], heads[2], heads[1]], score=score)._score(FeatureBatch(turned))
    torch.testing.assert_close(other.flip(0), found, rtol=1e-5, atol=1e-7)


@given(seed=st.integers(0, 2**20))
def test_the_mean_is_never_surer_than_all_of_its_parts(seed):
    """The entropy is concave: that of the mean is at least the mean of the entropies."""
    heads, batches = samples(seed)
    found = fit(heads)._score(joined(batches)).double()
    parts = [batch.logits.double() for batch in batches[:2]]
    rows = batches[2].features.double()
    parts.append(100 * (rows / rows.norm(dim=1, keepdim=True)) @ heads[2].weight.double().T)
    entropies = [(-part.softmax(1) * part.log_softmax(1)).sum(1) for part in parts]
    assert (found >= torch.stack(entropies).mean(dim=0) - 1e-5).all()


def test_it_stays_a_number_where_all_are_sure():
    heads, batches = samples(0, scale=1e6)
    for score in ("entropy", "msp"):
        assert torch.isfinite(fit(heads, score=score)._score(joined(batches))).all()


def test_alone_it_is_the_entropy_of_the_own_head(toy):
    inputs = FitInputs(head=ClassifierHead(toy.head.weight, toy.head.bias))
    found = Cooked().fit(inputs).score(toy.id_batch)
    expected = Entropy().fit(inputs).score(toy.id_batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    # The toy's own head is one of text, whose cosines count.
    assert Cooked().fit(toy.inputs).derived() == {"classifiers": 1, "text_heads": 1}


def test_features_in_memory_have_no_other_store(toy):
    with pytest.raises(MissingNeedError, match=r"b\.zarr"):
        Cooked(others=["b.zarr"]).fit(toy.inputs)


@pytest.mark.parametrize(
    "others",
    [
        ["b", "b"],
        [{"store": "b", "head": "h"}, {"store": "b", "head": "h"}],
        [{"head": "h"}],
        [{"store": "b", "heads": "h"}],
        [{"store": 3}],
        [""],
        [3],
    ],
)
def test_bad_lists_of_stores_are_refused(others):
    with pytest.raises(ConfigError, match="others"):
        Cooked(others=others)


def test_settings_are_written_as_they_were_given():
    given = ["b", {"store": "b", "head": "h"}]
    assert to_section(Cooked(others=given).config)["others"] == given
    assert Config().others == ()


def test_a_member_of_an_ensemble_may_have_a_head_of_a_store():
    member = Member.of_setting({"method": "msp", "store": "b", "head": "h"})
    assert member.source == "b::h"
    assert member.plain() == {"method": "msp", "store": "b", "head": "h"}
    assert Member.of_setting({"method": "msp", "store": "b"}).source == "b"
    assert Member.of_setting("msp").source is None
    with pytest.raises(RefusedValueError):
        Member.of_setting({"method": "msp", "head": "h"})


def test_the_present_store_does_not_count_twice():
    heads, batches = samples(0)
    train, other = (TensorSource(batches[place], CLASSES) for place in (0, 1))

    def fit_beside(head, rows):
        inputs = FitInputs(
            train=train, head=heads[0], beside=lambda _: FitInputs(train=rows, head=head)
        )
        return Cooked(others=["own.zarr"])._fit(inputs)

    with pytest.raises(ConfigError, match=r"others.*own\.zarr"):
        fit_beside(heads[0], train)
    fit_beside(heads[1], train)  # another head on the same features
    fit_beside(heads[0], other)  # the same head on other features
