"""What every method owes, checked over every file of the package."""

import copy
import dataclasses
import pickle
import re

import numpy as np
import pytest
import torch
from conftest import COUNTS, DIM, extras_of, make_toy

from ltood.core.batches import FeatureBatch, TensorSource
from ltood.core.errors import ConfigError, DataError, MissingNeedError, NotFittedError
from ltood.core.extras import extra_arrays
from ltood.core.inputs import FitInputs, Need
from ltood.core.prior import ClassPrior
from ltood.core.registry import available, load, summary
from ltood.core.settings import to_section
from ltood.core.slots import Method, check_needs
from ltood.core.streams import StreamMethod

METHODS = available("methods")

pytestmark = pytest.mark.parametrize("name", METHODS)


#: A tenth of the toy's 96 head weights is no more than what its frequent classes take up,
#: and a tenth of its 24 features is less than the 6 that a class makes active.
SETTINGS = {
    "ash": {"percentile": 65.0},
    "ash_map": {"percentile": 65.0},
    # Few and fast: what is chosen among has tests of its own.
    "auto": {
        "candidates": ("energy", "mahalanobis", {"method": "knn", "settings": {"k": 5}}),
        "draws": 2,
    },
    "adaneg": {"batch": 8},
    "doda": {"batch": 8},
    "tanl": {"batch": 8},
    "oodd": {"batch": 8, "k_train": 5, "queue": 16},
    "dice": {"percentile": 70.0},
    "dice_react": {"percentile": 70.0},
    "ensemble": {
        "members": (
            *("relative_mahalanobis", "lts", "vim", "gen"),
            {"method": "knn", "settings": {"k": 5}},
        )
    },
    # With the published power of 1 the head classes drown the outliers of this long tail.
    "relation": {"power": 4.0},
}


#: Methods that keep nothing with one entry per class: restored, they score logits of any width.
TAKE_ANY_LOGITS = {
    *("energy", "entropy", "gen", "gradnorm", "lts", "maxlogit", "msp", "temperature_scaling"),
    *("doda", "ensemble", "neco", "nnguide", "vim"),
}


#: Methods that divide features by their lengths and then see no other trace of these.
DIRECTIONS = (
    *("clipn", "cosine", "fdbd", "gl_mcm", "himplos", "knn", "l_mcm", "max_cosine", "mcm", "oodd"),
    *("adaneg", "caref", "hpm", "kpca", "mds_plus", "neglabel", "relation", "rmds_plus", "tanl"),
)

#: Methods whose scores are squared lengths, so that float32 does not hold them for huge rows.
SQUARED = ("auto", "class_gaussian", "ensemble", "gmm")
SQUARED += ("mahalanobis", "mahalanobis_layers", "relative_mahalanobis")


def fitted(name: str, inputs: FitInputs) -> Method:
    module = load("methods", name)
    settings = SETTINGS.get(name, {})
    if "k" in module.Config.__dataclass_fields__:
        settings = {"k": 5}
    return module.Entry(module.Config(**settings)).fit(inputs)


def raw_scores(method: Method, batch: FeatureBatch) -> torch.Tensor:
    """Scores that nothing has checked; the first of a stream where there is one."""
    if isinstance(method, StreamMethod):
        return method.step(method.start(), batch)
    return method._score(batch)


def rows_of(batch: FeatureBatch, order: torch.Tensor) -> FeatureBatch:
    return FeatureBatch({name: rows[order] for name, rows in batch.arrays.items()})


def joined(toy) -> FeatureBatch:
    known, unknown = toy.id_batch.arrays, toy.ood_batch.arrays
    return FeatureBatch({name: torch.cat([known[name], unknown[name]]) for name in known})


def outliers(name: str, toy) -> FeatureBatch:
    if name != "residual":
        return toy.ood_batch
    # The toy's outliers are a mixture of the class means and so lie in the principal
    # subspace, where this method is blind by design. These share the blocks of two classes.
    return FeatureBatch.of(toy.id_batch.features.roll(3, dims=1), head=toy.head)


def only(batch: FeatureBatch, arrays: tuple[str, ...]) -> FeatureBatch:
    return FeatureBatch({name: batch.arrays[name] for name in arrays})


def test_scores_have_shape_and_type(name, toy):
    scores = fitted(name, toy.inputs).score(toy.id_batch)
    assert scores.shape == (len(toy.id_batch),)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()


def test_outliers_score_higher(name, toy):
    detector = fitted(name, toy.inputs)
    if isinstance(detector, StreamMethod):  # Only scores of one stream compare.
        order = torch.randperm(2 * len(toy.id_batch))
        scores = detector.score(rows_of(joined(toy), order))[torch.argsort(order)]
        known, unknown = scores.split(len(toy.id_batch))
    else:
        known, unknown = detector.score(toy.id_batch), detector.score(outliers(name, toy))
    auroc = (unknown[:, None] > known).float().mean()
    assert auroc > 0.8


def test_batches_and_order_do_not_matter(name, toy):
    batch = joined(toy)
    detector = fitted(name, toy.inputs)
    if isinstance(detector, StreamMethod):  # Its scores depend on both, and repeat.
        assert torch.equal(detector.score(batch), detector.score(batch))
        return
    whole = detector.score(rows_of(batch, torch.arange(len(batch))))
    parts = [detector.score(batch.slice(i, i + 7)) for i in range(0, len(batch), 7)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)
    order = torch.randperm(len(batch))
    shuffled = detector.score(rows_of(batch, order))
    torch.testing.assert_close(shuffled, whole[order], rtol=1e-5, atol=1e-5)


def test_held_out_rows_are_read_by_those_who_say_so(name, toy):
    class Forbidden(TensorSource):
        def batches(self, rows=11, arrays=()):
            raise AssertionError("rows of split val were read")

    val = Forbidden(next(iter(toy.inputs.val.batches())), toy.head.num_classes)
    inputs = dataclasses.replace(toy.inputs, val=val)
    entry = load("methods", name).Entry()
    if Need.VAL in entry.needs | entry.may_read:
        with pytest.raises(AssertionError, match="split val"):
            fitted(name, inputs)
    else:
        expected = fitted(name, toy.inputs).score(joined(toy))
        assert torch.equal(fitted(name, inputs).score(joined(toy)), expected)


def test_fit_does_not_depend_on_batches(name, toy):
    class Small(TensorSource):
        def batches(self, rows=11, arrays=()):
            return super().batches(min(rows, 11), arrays)

    train, val = (
        Small(next(iter(source.batches())), toy.head.num_classes)
        for source in (toy.inputs.train, toy.inputs.val)
    )
    inputs = FitInputs(train, toy.inputs.aux, toy.head, toy.inputs.prior, val)
    expected = fitted(name, toy.inputs).score(joined(toy))
    got = fitted(name, inputs).score(joined(toy))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_class_order_does_not_matter(name, toy):
    order = torch.tensor([2, 0, 3, 1])
    back = torch.argsort(order)
    head = dataclasses.replace(
        toy.head,
        weight=toy.head.weight[order],
        bias=toy.head.bias[order],
        no_weight=toy.head.no_weight[order],
    )

    def permuted(batch):
        labels = torch.where(batch.labels < 0, -1, back[batch.labels.clamp(min=0)])
        return FeatureBatch({**batch.arrays, "logits": batch.logits[:, order], "labels": labels})

    sources = (toy.inputs.train, toy.inputs.aux, toy.inputs.val)
    train, aux, val = (TensorSource(permuted(next(iter(s.batches()))), 4) for s in sources)
    prior = ClassPrior(toy.inputs.prior.counts[order.numpy()])
    inputs = FitInputs(train, aux, head, prior, val)
    batch = joined(toy)
    expected = fitted(name, toy.inputs).score(batch)
    got = fitted(name, inputs).score(permuted(batch))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_inputs_stay_as_they_are(name, toy):
    train = next(iter(toy.inputs.train.batches()))
    batch = joined(toy)
    watched = [*train.arrays.values(), *batch.arrays.values()]
    watched += [toy.head.weight, toy.head.bias, toy.head.bn_weight, toy.head.extra_weight]
    before = [tensor.clone() for tensor in watched]
    fitted(name, toy.inputs).score(batch)
    for tensor, copied in zip(watched, before, strict=True):
        assert torch.equal(tensor, copied)


def test_scores_repeat(name, toy):
    detector = fitted(name, toy.inputs)
    first = detector.score(joined(toy))
    assert torch.equal(detector.score(joined(toy)), first)
    fresh = dataclasses.replace(toy.inputs)
    assert torch.equal(fitted(name, fresh).score(joined(toy)), first)


def test_half_precision_is_widened(name, toy):
    detector = fitted(name, toy.inputs)
    half = FeatureBatch({n: _cast(a, torch.float16) for n, a in toy.id_batch.arrays.items()})
    wide = FeatureBatch({n: _cast(a, torch.float32) for n, a in half.arrays.items()})
    scores = detector.score(half)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, detector.score(wide))


def _cast(tensor, dtype):
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def test_listed_arrays_are_enough(name, toy):
    detector = fitted(name, toy.inputs)
    scores = detector.score(only(toy.id_batch, detector.arrays))
    assert torch.equal(scores, detector.score(toy.id_batch))


def test_gradients_are_not_recorded_in_state(name, toy):
    assert all(not tensor.requires_grad for tensor in fitted(name, toy.inputs).state().values())


def test_unfitted_is_refused(name, toy):
    entry = load("methods", name).Entry
    if fitted(name, toy.inputs).state():
        with pytest.raises(NotFittedError, match=f"{name} is not fitted: call fit"):
            entry().score(toy.id_batch)
    else:
        assert torch.isfinite(entry().score(toy.id_batch)).all()


def test_missing_needs_are_refused(name, toy):
    detector = load("methods", name).Entry()
    check_needs(f"method {name}", detector.needs, toy.inputs, has_local=True)
    if detector.needs:
        with pytest.raises(MissingNeedError, match=f"method {name} needs .* does not hold"):
            check_needs(f"method {name}", detector.needs, FitInputs(), has_local=False)
    if fitted(name, toy.inputs).state():
        with pytest.raises(MissingNeedError, match=r"fit needs .*, which it was not given"):
            detector.fit(FitInputs())
    else:
        assert detector.fit(FitInputs()) is detector


def test_what_was_learned_can_be_saved(name, toy):
    detector = fitted(name, toy.inputs)
    state = {key: torch.tensor(value.numpy()) for key, value in detector.state().items()}
    twin = type(detector)(copy.copy(detector.config)).restore(state)
    assert torch.equal(twin.score(joined(toy)), detector.score(joined(toy)))
    assert twin.derived() == detector.derived()


def plain(name: str, toy) -> tuple[Method, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A method, what its public `fit` takes, and what its public `score` takes."""
    sources = (toy.inputs.train, toy.inputs.aux, toy.inputs.val)
    train, aux, val = (next(iter(source.batches())) for source in sources)
    learned = {"features": train.features, "labels": train.labels, "aux": aux.features}
    if Need.VAL in load("methods", name).Entry().needs:
        learned |= {"val": val.features, "val_labels": val.labels}
    method = type(fitted(name, toy.inputs))(fitted(name, toy.inputs).config)
    rows = {"features": toy.id_batch.features}
    if "local" in method.arrays:
        rows["local"] = toy.id_batch.local
    if extras := extra_arrays(method.arrays):
        rows["extras"] = {key: toy.id_batch.extra(key) for key in extras}
        if Need.TRAIN in method.needs:
            del learned["labels"]
            learned["features"] = train
        if "val" in learned:  # Extra arrays of held-out rows come in a batch.
            del learned["val_labels"]
            learned["val"] = val
    return method, learned, rows


def read_only(values: torch.Tensor) -> np.ndarray:
    array = values.numpy().copy()
    array.flags.writeable = False
    return array


def each(given: dict, convert) -> dict:
    """Tensors as another kind of array; batches stay."""
    return {
        key: each(value, convert)
        if isinstance(value, dict)
        else value
        if isinstance(value, FeatureBatch)
        else convert(value)
        for key, value in given.items()
    }


def test_arrays_of_any_kind_give_the_same_scores(name, toy):
    method, learned, rows = plain(name, toy)
    expected = method.fit(toy.inputs).score(toy.id_batch)
    scores = method.fit(**learned, head=toy.head).score(**rows)
    assert torch.equal(scores, expected)
    method.fit(**each(learned, torch.Tensor.numpy), head=toy.head)
    arrays = each(rows, torch.Tensor.numpy)
    as_numpy = method.score(**arrays)
    assert isinstance(as_numpy, np.ndarray)
    assert as_numpy.dtype == np.float32
    assert np.array_equal(as_numpy, expected)
    method.fit(**each(learned, torch.Tensor.tolist), head=toy.head)
    assert np.array_equal(method.score(**each(rows, torch.Tensor.tolist)), expected)
    arrays = each(rows, read_only)
    assert np.array_equal(method.score(**arrays), expected)


def test_a_second_fit_forgets_the_first(name, toy):
    other = make_toy(seed=1, dim=12, counts=(9, 8, 7))
    once, twice = fitted(name, toy.inputs), fitted(name, other.inputs)
    twice.fit(toy.inputs)
    assert torch.equal(twice.score(toy.id_batch), once.score(toy.id_batch))
    assert twice.derived() == once.derived()
    restored = fitted(name, other.inputs).restore(once.state())
    assert restored.state().keys() == once.state().keys()
    assert torch.equal(restored.score(toy.id_batch), once.score(toy.id_batch))


def test_a_fit_that_failed_leaves_nothing_of_the_last(name, toy):
    method = fitted(name, toy.inputs)
    if method.state():
        with pytest.raises(MissingNeedError, match=r"fit needs .*, which it was not given"):
            method.fit(FitInputs())
        with pytest.raises(NotFittedError, match=f"{name} is not fitted: call fit"):
            method.score(toy.id_batch)


def test_copies_and_pickles_score_alike(name, toy):
    method = fitted(name, toy.inputs)
    expected = method.score(toy.id_batch)
    for twin in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        assert torch.equal(twin.score(toy.id_batch), expected)
        assert repr(twin) == repr(method)


def test_a_changed_batch_is_scored_anew(name, toy):
    method = fitted(name, toy.inputs)
    method.score(toy.id_batch)
    changed = dataclasses.replace(toy.id_batch, arrays=toy.ood_batch.arrays)
    assert torch.equal(method.score(changed), method.score(toy.ood_batch))


@pytest.mark.parametrize("width", [1, DIM - 3, DIM + 1])
def test_rows_of_another_width_are_refused(name, toy, width):
    method = fitted(name, toy.inputs)
    for twin in (method, copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        refuses_features(twin, toy, width)
        if "logits" in twin.arrays and width != len(COUNTS):
            refuses_logits(twin, toy, width)


@pytest.mark.parametrize("width", [1, DIM - 3, DIM + 1])
def test_what_was_restored_refuses_rows_of_another_width(name, toy, width):
    method = fitted(name, toy.inputs)
    twin = type(method)(method.config).restore(method.state())
    if method.state() and name != "rp_gradnorm":  # Of its input it keeps the prior alone.
        refuses_features(twin, toy, width)
    if "logits" in twin.arrays and width != len(COUNTS) and name not in TAKE_ANY_LOGITS:
        refuses_logits(twin, toy, width)


def refuses_features(method: Method, toy, width: int) -> None:
    rows = torch.rand(5, width)
    if "features" in method.arrays:
        with pytest.raises(DataError, match=rf"{width} columns .* fitted on {DIM}"):
            method.score(FeatureBatch.of(rows, toy.id_batch.logits[:5]))
    for key in extra_arrays(method.arrays):
        with pytest.raises(DataError, match=rf"{width} columns .* fitted on {DIM}"):
            method.score(FeatureBatch.of(toy.id_batch.features[:5], extras={key: rows}))
    if "local" in method.arrays:
        batch = FeatureBatch.of(toy.id_batch.features[:5], local=rows[:, None])
        with pytest.raises(DataError, match=rf"{width} columns .* fitted on {DIM}"):
            method.score(batch)


def refuses_logits(method: Method, toy, width: int) -> None:
    with pytest.raises(DataError, match=rf"{width} columns .* fitted on {len(COUNTS)}"):
        method.score(FeatureBatch.of(toy.id_batch.features[:5], torch.rand(5, width)))


@pytest.mark.parametrize("scale", [1e19, 1e30, 1e37])
def test_scores_of_huge_rows_are_finite_or_refused(name, toy, scale):
    method, known = fitted(name, toy.inputs), toy.id_batch
    batch = FeatureBatch.of(
        known.features * scale,
        local=known.local * scale,
        extras=extras_of(known.features, scale),
        head=toy.head,
    )
    if torch.isfinite(raw_scores(method, batch)).all():
        assert torch.isfinite(method.score(batch)).all()
        return
    assert scale == 1e37 or name in SQUARED
    refusal = rf"^scores of {type(method).__name__} hold NaN or infinity in \d+ of 40 rows .* check"
    with pytest.raises(DataError, match=refusal):
        method.score(batch)
    if name in SQUARED and "features" in method.arrays:
        with pytest.raises(DataError, match=refusal):
            method.score(batch.features.numpy())


@pytest.mark.parametrize("scale", [1e19, 1e30])
def test_scores_of_directions_do_not_change_with_the_unit(name, toy, scale):
    method, known = fitted(name, toy.inputs), toy.id_batch
    # From about 1e10 on, bias and mean are below the rounding of what they are added to.
    expected, got = (
        raw_scores(
            method,
            FeatureBatch.of(
                known.features * s,
                local=known.local * s,
                extras=extras_of(known.features, s),
                head=toy.head,
            ),
        )
        for s in (1e10, scale)
    )
    if name in DIRECTIONS:
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_settings_are_taken_by_name_and_shown(name):
    entry, config = load("methods", name).Entry, load("methods", name).Config
    settings = to_section(config())
    assert entry(**settings).config == entry(config()).config == entry().config
    inner = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    assert repr(entry()) == f"{entry.__name__}({inner})"
    with pytest.raises(ConfigError, match=f"{entry.__name__} has no key 'kk'"):
        entry(kk=1)
    with pytest.raises(ConfigError, match=r"give the Config of ltood\.methods"):
        entry(object())


def test_entry_and_summary_are_found(name):
    module = load("methods", name)
    assert issubclass(module.Entry, Method)
    assert module.Config.__dataclass_params__.frozen
    assert summary("methods", name).endswith(".")
    assert re.search(r"Source: .*\b(19|20)\d\d\b", module.__doc__, re.DOTALL)


def test_defaults_equal_params(name, params):
    sections = params.get("methods") or {}
    assert name in sections, "run `ltood init`"
    assert (sections[name] or {}) == to_section(load("methods", name).Config())
