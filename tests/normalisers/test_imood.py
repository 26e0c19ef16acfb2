import numpy as np
import pytest
import torch
from conftest import load_golden
from reference import scores as reference

from ltood.core.batches import FeatureBatch
from ltood.core.errors import ConfigError, DataError, MissingNeedError
from ltood.core.head import ClassifierHead
from ltood.core.inputs import FitInputs
from ltood.core.prior import ClassPrior
from ltood.methods.energy import Energy
from ltood.methods.msp import MSP
from ltood.normalisers.imood import SCALES, Config, ImOOD, log_beta

SPLITS = ("id", "ood")
TAUS = {"": 1.0, "_tau050": 0.5, "_tau000": 0.0}


def logits_of(g, split):
    return torch.tensor(g[f"{split}_feats"] @ g["W_in"].T + g["b_in"])


def inputs_of(g):
    return FitInputs(prior=ClassPrior(g["class_counts"]))


def corrected(g, split, base, scores, **settings):
    normaliser = ImOOD(Config(**settings), base=base).fit(inputs_of(g))
    batch = FeatureBatch.of(logits=logits_of(g, split))
    return normaliser.normalise(torch.as_tensor(scores).float(), batch).numpy()


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("suffix", TAUS)
def test_golden_from_our_own_scores(imood_golden, split, suffix):
    g, tau = imood_golden, TAUS[suffix]
    batch = FeatureBatch.of(logits=logits_of(g, split))
    expected = g[f"f64_score_ada_energy{suffix}_{split}"]
    got = corrected(g, split, "energy", Energy().score(batch), tau=tau)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # Their MSP is centred at 1/C, a constant.
    got = corrected(g, split, "msp", MSP().score(batch), tau=tau) + 1 / 7
    np.testing.assert_allclose(got, g[f"f64_score_ada_msp{suffix}_{split}"], rtol=1e-5)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("suffix", TAUS)
def test_golden_from_published_scores(imood_golden, split, suffix):
    g, tau = imood_golden, TAUS[suffix]
    outside = g[f"{split}_feats"].astype(np.float64) @ g["W_extra"][0] + g["b_extra"][0]
    got = corrected(g, split, "bin_disc", -outside, tau=tau)
    np.testing.assert_allclose(got, g[f"f64_score_ada_bin_disc{suffix}_{split}"], rtol=1e-4)
    got = corrected(g, split, "gradnorm", g[f"f64_score_gradnorm_{split}"], tau=tau)
    np.testing.assert_allclose(got, g[f"f64_score_ada_gradnorm{suffix}_{split}"], rtol=1e-5)
    # Theirs is -distance - 0.01 log beta, upside down; the correction itself is right.
    distance = g[f"f64_maha_mindist_{split}"]
    got = corrected(g, split, "mahalanobis", distance, tau=tau)
    expected = g[f"f64_score_ada_maha{suffix}_{split}"] + 2 * distance
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_golden_log_beta(imood_golden, split):
    g = imood_golden
    state = ImOOD(base="energy").fit(inputs_of(g)).state()
    logits = g[f"{split}_feats"].astype(np.float64) @ g["W_in"].T.astype(np.float64) + g["b_in"]
    got = log_beta(torch.tensor(logits), state["log_prior_"], state["log_gamma_"])
    np.testing.assert_allclose(got, g[f"f64_logbeta_posthoc_{split}"], rtol=1e-8)


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("gamma", [None, (0.5, 2.0, 1.0, 0.1)])
def test_reference(rng, tau, gamma):
    logits, counts = rng.normal(scale=3, size=(15, 4)).astype(np.float32), [50, 20, 5, 1]
    normaliser = ImOOD(Config(tau=tau, gamma=gamma, scale=2.5), base="knn")
    normaliser.fit(FitInputs(prior=ClassPrior(np.array(counts))))
    got = normaliser.normalise(torch.zeros(15), FeatureBatch.of(logits=torch.tensor(logits)))
    expected = [-2.5 * reference.log_beta(row, counts, tau, gamma) for row in logits]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_uniform_prior_changes_no_score(imood_golden):
    scores = Energy().score(FeatureBatch.of(logits=logits_of(imood_golden, "id")))
    got = corrected(imood_golden, "id", "energy", scores, tau=0.0)
    assert np.array_equal(got, scores)


def test_rare_predictions_lose_score():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    normaliser = ImOOD(base="energy").fit(FitInputs(prior=ClassPrior(np.array([99, 1]))))
    frequent, rare = normaliser.normalise(torch.zeros(2), FeatureBatch.of(logits=logits)).tolist()
    assert rare < 0 < frequent


def test_probability_space_is_the_product(imood_golden):
    g = imood_golden
    outside = torch.tensor(g["id_feats"] @ g["W_extra"][0] + g["b_extra"][0]).double()
    got = corrected(g, "id", "bin_disc", -outside, space="prob")
    expected = -(torch.tensor(g["f64_logbeta_posthoc_id"]).exp() * outside.sigmoid()).log()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_adjusted_posterior_adds_the_prior(rng):
    logits, counts = rng.normal(size=(6, 3)).astype(np.float32), np.array([30, 6, 2])
    batch = FeatureBatch.of(logits=torch.tensor(logits))
    normaliser = ImOOD(Config(posterior="adjusted"), base="energy")
    got = normaliser.fit(FitInputs(prior=ClassPrior(counts))).normalise(torch.zeros(6), batch)
    shifted = logits + np.log(counts / counts.sum())
    expected = [-reference.log_beta(row, counts.tolist()) for row in shifted]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("base", sorted(SCALES))
def test_the_scale_in_use_is_told(base):
    assert ImOOD(base=base).derived() == {"scale": SCALES[base]}
    assert ImOOD(Config(scale=3.0), base=base).derived() == {"scale": 3.0}


def test_a_base_without_published_scale_needs_a_number():
    with pytest.raises(ConfigError, match=r"scale is auto, but there is no published .* knn"):
        ImOOD(base="knn")


def test_probability_space_is_for_bin_disc():
    with pytest.raises(ConfigError, match=r"space is prob, but method energy gives no probability"):
        ImOOD(Config(space="prob"), base="energy")


def test_gamma_must_name_every_class():
    normaliser = ImOOD(Config(gamma=(1.0, 2.0)), base="energy")
    with pytest.raises(ConfigError, match=r"gamma has 2 values for 3 classes; give one"):
        normaliser.fit(FitInputs(prior=ClassPrior(np.array([3, 2, 1]))))


def test_a_class_without_images_is_refused():
    with pytest.raises(DataError, match=r"classes \[1\] have no training images"):
        ImOOD(base="energy").fit(FitInputs(prior=ClassPrior(np.array([3, 0]))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tau": -0.5}, r"normalisers.imood.tau is -0.5"),
        ({"scale": 0.0}, r"normalisers.imood.scale is 0.0"),
        ({"scale": "big"}, r"normalisers.imood.scale is 'big'"),
        ({"space": "log"}, r"normalisers.imood.space is 'log'"),
        ({"posterior": "none"}, r"normalisers.imood.posterior is 'none'"),
        ({"gamma": "mine"}, r"normalisers.imood.gamma is 'mine'"),
        ({"detector": "w"}, r"normalisers.imood.detector is 'w'"),
        ({"gamma": (1.0, 0.0)}, r"normalisers.imood.gamma is \[1.0, 0.0\]"),
    ],
)
def test_ranges(settings, message):
    with pytest.raises(ConfigError, match=message):
        Config(**settings)


def stored_head(g, **extras):
    weight, bias = torch.tensor(g["W_in"]), torch.tensor(g["b_in"])
    return ClassifierHead(weight, bias, **{k: torch.as_tensor(v) for k, v in extras.items()})


@pytest.mark.parametrize("split", SPLITS)
def test_a_stored_gamma_layer_weighs_every_class_of_every_row(imood_golden, split):
    g, trained = imood_golden, load_golden("imood_training")
    head = stored_head(g, gamma_weight=trained["lambda_W"], gamma_bias=trained["lambda_b"])
    prior = ClassPrior(g["class_counts"])
    normaliser = ImOOD(Config(gamma="stored"), base="energy").fit(FitInputs(head=head, prior=prior))
    assert set(normaliser.arrays) == {"features", "logits"}
    features = torch.tensor(g[f"{split}_feats"])
    batch = FeatureBatch.of(features, head=head)
    got = normaliser.normalise(torch.zeros(len(features)), batch)
    gammas = np.exp(g[f"{split}_feats"] @ trained["lambda_W"].T + trained["lambda_b"])
    expected = [
        -reference.log_beta(row, g["class_counts"].tolist(), 1.0, (gamma / 7).tolist())
        for row, gamma in zip(batch.logits.numpy(), gammas.clip(1e-4), strict=True)
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    twin = ImOOD(Config(gamma="stored"), base="energy").restore(normaliser.state())
    assert torch.equal(twin.normalise(torch.zeros(len(features)), batch), got)


@pytest.mark.parametrize("base", ["energy", "msp", "mahalanobis"])
def test_a_stored_detector_is_the_trained_one(imood_golden, base):
    g, trained = {**imood_golden, **load_golden("losses")}, load_golden("imood_training")
    w_and_b = torch.tensor([trained["aux_w"][0, 0], trained["aux_b"][0]])
    head = stored_head(g, **{f"{base}_map": w_and_b})
    batch = FeatureBatch.of(torch.tensor(g["train_feats"]), head=head)
    published = {"energy": "energy", "msp": "oe", "mahalanobis": "maha"}[base]
    expected = -trained[f"f64_train_ada_{published}_none_g"]
    if base == "mahalanobis":
        scores = torch.tensor((-expected - w_and_b[1].item()) / w_and_b[0].item()).float()
    else:
        scores = (Energy() if base == "energy" else MSP()).score(batch)
    normaliser = ImOOD(Config(detector="stored"), base=base).fit(FitInputs(head=head))
    np.testing.assert_allclose(normaliser.normalise(scores, batch), expected, rtol=1e-5, atol=1e-6)
    twin = ImOOD(Config(detector="stored"), base=base).restore(normaliser.state())
    assert torch.equal(twin.normalise(scores, batch), normaliser.normalise(scores, batch))
    assert normaliser.derived() == {"scale": 0.0}


def test_a_negative_w_turns_the_scores_round():
    head = ClassifierHead(torch.eye(2), torch.zeros(2), energy_map=torch.tensor([-1.0, 0.0]))
    normaliser = ImOOD(Config(detector="stored"), base="energy").fit(FitInputs(head=head))
    got = normaliser.normalise(torch.tensor([1.0, 2.0]), FeatureBatch.of(logits=torch.zeros(2, 2)))
    assert got.tolist() == [-1.0, -2.0]


@pytest.mark.parametrize("split", SPLITS)
def test_the_official_sign_gives_the_published_scores_upside_down(imood_golden, split):
    g = imood_golden
    distance = g[f"f64_maha_mindist_{split}"]
    got = corrected(g, split, "mahalanobis", distance, official_sign=True)
    np.testing.assert_allclose(got, g[f"f64_score_ada_maha_{split}"], rtol=1e-6)
    ours = corrected(g, split, "mahalanobis", distance)
    assert np.corrcoef(ours, got)[0, 1] < -0.99


def test_the_official_sign_is_for_mahalanobis():
    with pytest.raises(ConfigError, match=r"official_sign is true, but .* the scores are those of"):
        ImOOD(Config(official_sign=True), base="energy")


def test_what_is_not_stored_is_named(imood_golden):
    inputs = FitInputs(head=stored_head(imood_golden), prior=inputs_of(imood_golden).prior)
    with pytest.raises(MissingNeedError, match=r"gamma is stored, but the head holds no gamma_we"):
        ImOOD(Config(gamma="stored"), base="energy").fit(inputs)
    with pytest.raises(MissingNeedError, match=r"detector is stored, but .* holds no energy_map"):
        ImOOD(Config(detector="stored"), base="energy").fit(inputs)
    with pytest.raises(ConfigError, match=r"ImOOD learns no w and b for method bin_disc"):
        ImOOD(Config(detector="stored"), base="bin_disc")


@pytest.mark.parametrize("width", [1, 2, 4])
def test_logits_of_other_classes_are_refused(width):
    """A single column would be broadcast against the prior, without an error."""
    imood = ImOOD(base="energy").fit(prior=[5, 3, 2])
    with pytest.raises(DataError, match=rf"logits have {width} columns .* fitted on 3"):
        imood.normalise(np.zeros(6, "float32"), logits=np.zeros((6, width)))


def test_scores_that_are_not_finite_are_refused():
    imood = ImOOD(base="energy").fit(prior=[5, 3, 2])
    with pytest.raises(DataError, match="scores hold NaN or infinity in 1 of 2 rows"):
        imood.normalise([0.0, float("nan")], logits=[[1.0, 2.0, 3.0]] * 2)


def test_a_restored_gamma_layer_tells_the_width_of_features():
    head = ClassifierHead(
        torch.zeros(3, 4), torch.zeros(3), gamma_weight=torch.ones(3, 4), gamma_bias=torch.zeros(3)
    )
    normaliser = ImOOD(Config(gamma="stored"), base="energy").fit(head=head, prior=[3, 2, 1])
    twin = ImOOD(Config(gamma="stored"), base="energy").restore(normaliser.state())
    with pytest.raises(DataError, match="5 columns but ImOOD was fitted on 4"):
        twin.normalise(torch.rand(2), torch.rand(2, 5), logits=torch.rand(2, 3))


def test_normalised_scores_that_float32_does_not_hold_are_refused():
    head = ClassifierHead(torch.eye(2), torch.zeros(2), energy_map=torch.tensor([4.0, 0.0]))
    normaliser = ImOOD(Config(detector="stored"), base="energy").fit(head=head)
    with pytest.raises(DataError, match=r"^scores of ImOOD hold NaN or infinity in 1 of 2 rows"):
        normaliser.normalise([1.0, 3e38], logits=torch.zeros(2, 2))
