import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltood.core.errors import DataError
from ltood.negatives.lists import WordList, read_list
from ltood.negatives.settings import RECIPES

WORDS = (("abacus", "noun"), ('a "b", c', "noun"), ("big sky", "adjective"))
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(
    st.sampled_from(sorted(RECIPES)),
    st.lists(
        st.tuples(TEXT.filter(lambda text: text.strip()), st.sampled_from(["noun", "adjective"])),
        min_size=1,
        unique_by=lambda word: word[0],
    ),
)
def test_a_list_is_read_as_it_was_written(tmp_path_factory, recipe, words):
    path = tmp_path_factory.mktemp("list") / "list.csv"
    made = WordList(recipe, tuple(words), "somewhere", "a notice\n\nof two lines: of them")
    path.write_text(made.to_text(), encoding="utf-8", newline="")
    assert read_list(str(path)) == made
    assert read_list(str(path)).source == "somewhere"


def test_the_notice_goes_with_the_words():
    made = WordList("csp", WORDS, "WordNet", "line one\nline two")
    head = made.to_text().partition("text,kind\n")[0].splitlines()
    assert head[-2:] == ["# line one", "# line two"]
    assert made.summary() == "2 nouns and 1 adjectives, recipe csp"


def test_what_counts_has_the_digest():
    made = WordList("csp", WORDS, "here", "notice")
    assert WordList("csp", WORDS, "there").sha256 == made.sha256
    assert WordList("neglabel", WORDS).sha256 != made.sha256
    assert WordList("csp", WORDS[::-1]).sha256 != made.sha256


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "no words"),
        ((("a", "noun"), ("a", "adjective")), "'a' is there twice"),
        (((" ", "noun"),), "no letters"),
        ((("a", "verb"),), "'verb'"),
    ],
)
def test_words_that_cannot_count_are_refused(words, what):
    with pytest.raises(DataError, match=what):
        WordList("csp", words)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "list.csv"
    title = "# ltood negative labels\n"
    for text in ("", "abacus\nlamp\n", "text,kind\na,noun\n", f"{title}text,kind\na,noun\n",
                 f"{title}# recipe: csp\ntext,kind\n"):  # fmt: skip
        path.write_text(text)
        with pytest.raises(DataError, match="not a list of negative labels"):
            read_list(str(path))
    path.write_text(f"{title}# recipe: csb\ntext,kind\na,noun\n")
    with pytest.raises(DataError, match=r"list\.csv.*'csb'"):
        read_list(str(path))
    path.write_text(f"{title}# recipe: csp\ntext,kind\na,noun\nb\n")
    with pytest.raises(DataError, match="line 2 "):
        read_list(str(path))
    with pytest.raises(DataError, match=r"absent\.csv"):
        read_list(str(tmp_path / "absent.csv"))
