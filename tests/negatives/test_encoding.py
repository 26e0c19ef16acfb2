import numpy as np
import pytest
import torch

from ltood.core.errors import StoreError
from ltood.negatives import encoding
from ltood.negatives.encoding import EncodedWords, sentence_features
from ltood.negatives.settings import Rules

RULES = Rules(("the {}", "{}"), ("a {} photo",), ("{}",))
WORDS = [(f"w{number}", "noun" if number % 3 else "adjective") for number in range(23)]


def encode(sentences):
    """Features that depend on the sentence alone."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=4) for text in sentences]
    return torch.tensor(np.array(rows), dtype=torch.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(encoding, "BLOCK", 5)


def test_templates_are_averaged_before_lengths_are_divided_out():
    found = sentence_features(encode, ["x"], ("the {}", "{}"))
    mean = encode(["the x", "x"]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(found, mean / mean.norm())


def test_each_word_has_the_templates_of_its_kind(tmp_path):
    pool = EncodedWords(WORDS, RULES, tmp_path, "tower")
    pool.encode(encode)
    found = np.concatenate(list(pool.blocks()))
    assert [len(block) for block in pool.blocks()] == [5, 5, 5, 5, 3]
    for row, (word, kind) in enumerate(WORDS):
        templates = RULES.noun_templates if kind == "noun" else RULES.adjective_templates
        expected = sentence_features(encode, [word], templates)[0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)
    chosen = np.array([22, 0, 7, 6, 21])
    np.testing.assert_array_equal(pool.rows(chosen), found[chosen])


def test_what_is_there_is_not_computed_again(tmp_path):
    EncodedWords(WORDS, RULES, tmp_path, "tower").encode(encode)
    calls = []

    def watched(sentences):
        calls.append(len(sentences))
        return encode(sentences)

    EncodedWords(WORDS, RULES, tmp_path, "tower").encode(watched)
    assert calls == []
    pool = EncodedWords(WORDS, RULES, tmp_path, "tower")
    before = np.concatenate(list(pool.blocks()))
    next(iter(sorted(pool.folder.glob("*.npy")))).unlink()
    pool.encode(watched)
    assert sum(calls) == 2 * 3 + 2  # One block: three nouns of two templates, two adjectives.
    np.testing.assert_array_equal(np.concatenate(list(pool.blocks())), before)


def test_words_templates_and_tower_have_features_of_their_own(tmp_path):
    pools = [
        EncodedWords(WORDS, RULES, tmp_path, "tower"),
        EncodedWords(WORDS[1:], RULES, tmp_path, "tower"),
        EncodedWords([(text, "noun") for text, _ in WORDS], RULES, tmp_path, "tower"),
        EncodedWords(WORDS, Rules(("the {}",), ("a {} photo",)), tmp_path, "tower"),
        EncodedWords(WORDS, Rules(("the {}", "{}"), ("{}",)), tmp_path, "tower"),
        EncodedWords(WORDS, RULES, tmp_path, "other"),
    ]
    assert len({pool.folder for pool in pools}) == len(pools)
    # The choice among words changes nothing of their features.
    other = Rules(RULES.noun_templates, RULES.adjective_templates, ("the {}",), share=0.5)
    assert EncodedWords(WORDS, other, tmp_path, "tower").folder == pools[0].folder


def test_damaged_blocks_are_refused(tmp_path):
    pool = EncodedWords(WORDS, RULES, tmp_path, "tower")
    with pytest.raises(StoreError, match=r"00000\.npy"):
        list(pool.blocks())
    pool.encode(encode)
    for raw in (b"", b"nonsense"):
        (pool.folder / "00001.npy").write_bytes(raw)
        with pytest.raises(StoreError, match=r"00001\.npy"):
            list(pool.blocks())
    np.save(pool.folder / "00001.npy", np.zeros((4, 4), np.float32))
    with pytest.raises(StoreError, match=r"00001\.npy.*\(4, 4\)"):
        list(pool.blocks())
