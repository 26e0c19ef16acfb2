import pytest
import wordnet_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import ConfigError, DataError
from ltood.negatives import building
from ltood.negatives.wordnet import Corpus, read_wordnet


@pytest.fixture
def corpus(tmp_path):
    return read_wordnet(samples.folder(tmp_path / "dict", samples.database()))


def texts(made, kind):
    return [text for text, own in made.words if own == kind]


def test_neglabel_takes_all_but_animals_and_food(corpus):
    made = building.from_wordnet(corpus, "neglabel")
    nouns = ["1530s", "b-52", "cold", "entity", "force 17", "rose", "st. nicholas"]
    assert texts(made, "noun") == nouns
    # What is both counts as a noun.
    assert texts(made, "adjective") == ["abeyant", "alpine", "ready", "sought"]
    assert "noun.food" in made.source
    assert made.licence == corpus.licence
    assert building.from_wordnet(corpus, "interneg").words == made.words


def test_csp_joins_adjectives_with_superclasses(corpus):
    made = building.from_wordnet(corpus, "csp", seed=3)
    assert texts(made, "noun") == ["1530s", "b-52", "cold", "entity", "rose"]
    phrases = texts(made, "adjective")
    assert [phrase.split()[0] for phrase in phrases] == ["abeyant", "ready", "sought"]
    assert {phrase.split()[1] for phrase in phrases} <= set(building.SUPERCLASSES)
    assert "seed 3" in made.source
    assert building.from_wordnet(corpus, "csp", seed=4).sha256 != made.sha256


def test_what_is_left_out_can_be_named(corpus):
    made = building.from_wordnet(corpus, "csp", leave_out=["adj.all", "noun.plant"])
    assert "dog" in texts(made, "noun")
    assert "rose" not in texts(made, "noun")
    assert [phrase.split()[0] for phrase in texts(made, "adjective")] == ["alpine", "sought"]
    with pytest.raises(ConfigError, match=r"noun\.plants"):
        building.from_wordnet(corpus, "csp", leave_out=["noun.plants"])
    with pytest.raises(DataError, match="no words"):
        building.from_wordnet(Corpus({"noun.act": ("run",)}, ""), "csp", leave_out=["noun.act"])


WORD = st.text("abcdef _", min_size=1, max_size=4)


@given(st.lists(WORD), st.lists(WORD), st.randoms(use_true_random=False))
def test_the_order_of_words_does_not_matter(nouns, adjectives, random):
    if not any(word.replace("_", " ").strip() for word in nouns + adjectives):
        return
    expected = building.candidates(nouns, adjectives, "csp")
    random.shuffle(nouns)
    random.shuffle(adjectives)
    assert building.candidates(nouns + nouns, adjectives, "csp").words == expected.words


@given(st.sets(st.text("abcdef", min_size=1, max_size=5), min_size=2))
def test_the_superclass_of_an_adjective_depends_on_no_other(adjectives):
    whole = dict(building.candidates([], adjectives, "csp").words)
    for word in adjectives:
        (alone,) = building.candidates([], [word], "csp").words
        assert alone[0] in whole


def test_superclasses_are_drawn_about_equally():
    words = [f"w{number}" for number in range(2800)]
    drawn = [text.split()[1] for text, _ in building.candidates([], words, "csp").words]
    counts = [drawn.count(name) for name in building.SUPERCLASSES]
    assert sum(counts) == 2800
    assert min(counts) > 140


def test_labels_that_were_chosen_keep_their_order():
    made = building.from_files(["b", "a", "b"], ["a", "big sky"], "negrefine-list", source="f.txt")
    assert made.words == (("b", "noun"), ("a", "noun"), ("big sky", "adjective"))
    assert made.source == "f.txt"
    assert building.from_files(["b", "a"], [], "neglabel").words == (("a", "noun"), ("b", "noun"))


def test_words_that_clip_reads_alike_count_once():
    nouns, adjectives = ["zebra", "Zebra", "ÉTÉ"], ["été", "ZEBRA", "red", "Red"]
    made = building.candidates(nouns, adjectives, "neglabel")
    assert made.words == (("Zebra", "noun"), ("ÉTÉ", "noun"), ("Red", "adjective"))
    listed = building.chosen(nouns, adjectives, "listed", "")
    assert listed.words == (("zebra", "noun"), ("ÉTÉ", "noun"), ("red", "adjective"))


def test_sources_that_do_not_fit_are_refused(tmp_path, corpus):
    file = tmp_path / "w.txt"
    with pytest.raises(ConfigError, match="'listed'"):
        building.check_build("listed", None, file, None)
    with pytest.raises(ConfigError, match="both"):
        building.check_build("csp", tmp_path, file, None)
    with pytest.raises(ConfigError, match="--words"):
        building.check_build("negrefine-list", None, None, None)
    with pytest.raises(ConfigError, match="takes words of a list"):
        building.from_wordnet(corpus, "negrefine-list")
    with pytest.raises(ConfigError, match="'csp'"):
        building.check_import("csp")
    building.check_build("negrefine-list", None, file, None)
    building.check_import("negrefine-list")
    with pytest.raises(DataError, match="cannot be read"):
        building.words_of(file)
    file.write_text(" \n\n")
    with pytest.raises(DataError, match="no words"):
        building.words_of(file)
    file.write_bytes(b"\xef\xbb\xbfabc\r\n def \n")
    assert building.words_of(file) == ["abc", "def"]
