import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltood.adapting import negatives as module
from ltood.adapting.adapt import adapt
from ltood.adapting.negatives import set_negatives
from ltood.adapting.texts import encode_sentences
from ltood.core.building import EntrySpec
from ltood.core.errors import ConfigError, DataError, MissingNeedError, StoreError
from ltood.negatives import NegativesConfig, WordList
from ltood.scoring.run import score_store
from ltood.store.adapted import read_adapted, with_adapted_head, write_adapted
from ltood.store.scores import ScoreStore
from tests import prompt_samples

NAMES = ["cat", "11_12", "emu"]
SMALL = {"n_ctx": 2, "epochs": 1, "batch_size": 4}
WORDS = tuple((f"w{number} {number}", "noun") for number in range(20)) + tuple(
    (f"a{number} {number}", "adjective") for number in range(10)
)


@pytest.fixture
def store(tmp_path, rng):
    splits = prompt_samples.random_splits(rng, 3, rows=11)
    return prompt_samples.write_store(tmp_path / "f.zarr", splits, NAMES)


@pytest.fixture
def words(tmp_path):
    def write(recipe="neglabel", given=WORDS):
        path = tmp_path / f"{recipe}.csv"
        path.write_text(WordList(recipe, given, "a test").to_text())
        return str(path)

    return write


class Run:
    def __init__(self, store, tmp_path):
        self.store, self.out, self.state = store, tmp_path / "head", tmp_path / "state"

    def head(self, recipe="zero_shot", **settings):
        return adapt(
            self.store,
            recipe,
            settings,
            prompt_samples.encoder(),
            self.out,
            state_folder=self.state,
            device_name="cpu",
        )

    def negatives(self, **settings):
        return set_negatives(
            self.store,
            NegativesConfig(**settings),
            prompt_samples.encoder(),
            self.out,
            state_folder=self.state,
            device_name="cpu",
        )


@pytest.fixture
def run(store, tmp_path):
    return Run(store, tmp_path)


def unit_of(sentences):
    encoded = encode_sentences(prompt_samples.encoder(), sentences)
    return torch.nn.functional.normalize(encoded, dim=1).numpy()


def shown(run):
    return list(csv.DictReader(io.StringIO((run.out / "negatives.csv").read_text())))


def test_the_farthest_words_of_each_kind_are_chosen(run, words):
    run.head()
    head = run.negatives(words=words(), share=0.2)
    names = unit_of([f"the nice {name.replace('_', ' ')}" for name in NAMES])
    chosen = []
    for template, kind in (("the nice {}", "noun"), ("This is a {} photo", "adjective")):
        texts = [text for text, own in WORDS if own == kind]
        features = unit_of([template.replace("{}", text) for text in texts])
        close = np.quantile(features @ names.T, 0.95, axis=1)
        chosen += [features[row] for row in np.argsort(close)[: len(texts) // 5]]
    np.testing.assert_allclose(head.arrays["negative_weight"], chosen, rtol=1e-5, atol=1e-6)
    assert [row["kind"] for row in shown(run)] == ["noun"] * 4 + ["adjective"] * 2
    used = head.inputs["negatives"]
    assert used["rules"]["share"] == 0.2
    assert used["rules"]["noun_templates"] == ["the nice {}"]
    again = read_adapted(run.out)
    assert again.inputs == head.inputs
    np.testing.assert_array_equal(again.arrays["weight"], run.head().arrays["weight"])


def test_the_same_words_are_encoded_and_written_once(run, words, monkeypatch):
    run.head()
    path = words()
    run.negatives(words=path)
    before = {file.name: (file.read_bytes(), file.stat().st_ino) for file in run.out.iterdir()}
    monkeypatch.setattr(module, "encode_sentences", None)
    run.head()
    run.negatives(words=path)
    assert before == {
        file.name: (file.read_bytes(), file.stat().st_ino) for file in run.out.iterdir()
    }


def test_another_share_encodes_class_names_alone(run, words, monkeypatch):
    run.head()
    run.negatives(words=words(), share=0.5)
    calls = []

    def watched(encoder, sentences):
        calls.append(list(sentences))
        return encode_sentences(encoder, sentences)

    monkeypatch.setattr(module, "encode_sentences", watched)
    head = run.negatives(words=words(), share=0.1)
    assert calls == [["the nice cat", "the nice 11 12", "the nice emu"]]
    assert len(head.arrays["negative_weight"]) == 3


def test_learned_prompts_are_not_learned_again(run, words, monkeypatch):
    head = run.head("coop", **SMALL)
    run.negatives(words=words())
    monkeypatch.setattr("ltood.adapting.adapt.Learner", None)
    for settings in ({"words": words()}, {"words": words("csp")}, {"words": None}):
        assert run.head("coop", **SMALL).bare.inputs == head.inputs
        changed = run.negatives(**settings)
        np.testing.assert_array_equal(changed.arrays["context"], head.arrays["context"])
        assert (run.out / "rows.csv").is_file()
    assert "negative_weight" not in read_adapted(run.out).arrays
    assert not (run.out / "negatives.csv").exists()


def test_words_that_are_class_names_are_left_out(run, words):
    run.head()
    given = (("Cat", "noun"), ("11  12", "adjective"), ("lamp", "noun"))
    run.negatives(words=words("listed", given))
    assert [row["text"] for row in shown(run)] == ["lamp"]
    run.negatives(words=words("listed", given), official_class_names=True)
    assert {row["text"] for row in shown(run)} == {"Cat", "11  12", "lamp"}
    # Which words are class names changes nothing of what is encoded.
    assert len(list((run.state / module.WORDS).iterdir())) == 1
    with pytest.raises(DataError, match="official_class_names"):
        run.negatives(words=words("listed", given[:2]))


def test_a_list_of_chosen_labels_is_taken_as_it_is(run, words):
    run.head()
    head = run.negatives(words=words("listed"))
    expected = unit_of([text for text, _ in WORDS])
    found = {row["text"]: value for row, value in
             zip(shown(run), head.arrays["negative_weight"], strict=True)}  # fmt: skip
    for (text, _), value in zip(WORDS, expected, strict=True):
        np.testing.assert_allclose(found[text], value, rtol=1e-5, atol=1e-6)


def near_names(rng, num_classes):
    """Rows around the text features of the class names, as CLIP has them."""
    splits = prompt_samples.random_splits(rng, num_classes, rows=11)
    labels, noise, local = splits["train"]
    texts = unit_of(["The nice cat.", "The nice 11 12.", "The nice emu."])
    return {**splits, "train": (labels, texts[labels] + 0.05 * noise, local)}


def test_interneg_ranks_by_the_mean_images(tmp_path, rng, words):
    store = prompt_samples.write_store(tmp_path / "n.zarr", near_names(rng, 3), NAMES)
    run = Run(store, tmp_path)
    run.head()
    head = run.negatives(words=words("interneg"), labels=3)
    train = store.split("train")
    labels, features = train.read("labels", 0, len(train)), train.read("features", 0, len(train))
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(3)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    own = (unit_of(["The nice cat.", "The nice 11 12.", "The nice emu."]) * means).sum(axis=1)
    gaps = {}
    for text, kind in WORDS:
        sentence = f"The nice {text}." if kind == "noun" else f"This is a {text} photo."
        gap = own - unit_of([sentence])[0] @ means.T
        if (gap > 0).all():
            gaps[text] = gap.mean()
    expected = sorted(gaps, key=lambda text: -gaps[text])
    kinds = dict(WORDS)
    for kind in ("noun", "adjective"):
        mine = [row["text"] for row in shown(run) if row["kind"] == kind]
        assert mine == [text for text in expected if kinds[text] == kind][: len(mine)]
    assert len(gaps) > 3
    assert len(head.arrays["negative_weight"]) == 3
    assert head.inputs["negatives"]["images"] == train.spec.fingerprint


def test_a_class_without_training_rows_does_not_count(tmp_path, rng, words):
    run = Run(prompt_samples.write_store(tmp_path / "g.zarr", near_names(rng, 2), NAMES), tmp_path)
    run.head()
    head = run.negatives(words=words("interneg"))
    assert np.isfinite(head.arrays["negative_weight"]).all()
    means = module._class_images(run.store, 3)
    assert means[2].tolist() == [0] * 32
    np.testing.assert_allclose(np.linalg.norm(means[:2], axis=1), 1, rtol=1e-6)


def test_interneg_needs_training_features(tmp_path, rng, words):
    splits = prompt_samples.random_splits(rng, 3)
    del splits["train"]
    run = Run(prompt_samples.write_store(tmp_path / "g.zarr", splits, NAMES), tmp_path)
    run.head()
    with pytest.raises(MissingNeedError, match="interneg"):
        run.negatives(words=words("interneg"))
    assert len(run.negatives(words=words("neglabel")).arrays["negative_weight"]) == 4


def test_without_a_head_from_text_there_are_none(run, words):
    write_adapted(run.out, None)
    with pytest.raises(ConfigError, match="zero_shot"):
        run.negatives(words=words())
    adapt(
        run.store,
        "linear_probe",
        {"epochs": 1},
        None,
        run.out,
        state_folder=run.state,
        device_name="cpu",
    )
    with pytest.raises(ConfigError, match="zero_shot"):
        run.negatives(words=words())
    assert "negative_weight" not in run.negatives(words=None).arrays


def test_another_text_encoder_is_refused(run, words, monkeypatch):
    run.head()
    other = replace(prompt_samples.encoder(), weights_sha256="0a" * 32)
    monkeypatch.setattr(prompt_samples, "encoder", lambda: other)
    with pytest.raises(StoreError, match="0a0a0a"):
        run.negatives(words=words())


def test_the_method_scores_with_them(run, store, words, tmp_path):
    run.head("locoop", **SMALL)
    head = run.negatives(words=words(), share=0.5)
    seen = with_adapted_head(store, run.out)
    assert seen.provenance["head"]["negatives"] == head.inputs["negatives"]
    path = tmp_path / "s.zarr"
    score_store(seen, path, EntrySpec("neglabel", {"groups": 4}))
    got = ScoreStore.open(path).split("test").scores
    features = store.split("test").read("features", 0, 9)
    from ltood.methods.neglabel import NegLabel

    method = NegLabel(groups=4).fit(
        head=(head.arrays["weight"], None), negatives=head.arrays["negative_weight"]
    )
    np.testing.assert_allclose(got, method.score(features), rtol=1e-4, atol=1e-7)
