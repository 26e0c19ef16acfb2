import re

import pytest
import wordnet_samples as samples

from ltood.core.errors import DataError
from ltood.negatives.wordnet import FILES, SOURCE, read_wordnet

FIRST = {
    "noun.Tops": ("entity",),
    "noun.animal": ("dog",),
    "noun.artifact": ("b-52",),
    "noun.food": ("soup",),
    "noun.group": ("force 17",),
    "noun.person": ("st. nicholas",),
    "noun.plant": ("rose", "cold"),
    "noun.time": ("1530s",),
    "adj.all": ("cold", "ready", "abeyant"),
    "adj.pert": ("alpine",),
    "adj.ppl": ("sought",),
}


def test_the_database_gives_the_first_word_of_each_synset(tmp_path):
    found = read_wordnet(samples.folder(tmp_path / "dict", samples.database()))
    assert found.words == FIRST
    assert found.source == "WordNet 3.1"
    assert found.licence == "\n".join(samples.NOTICE)


@pytest.mark.parametrize("pack", [samples.tar, samples.zipped])
def test_archives_are_read_without_unpacking(tmp_path, pack):
    path = tmp_path / ("w.zip" if pack is samples.zipped else "w.tar.gz")
    licence = {"LICENSE": b"free\n", "data.verb": b"x"}
    found = read_wordnet(pack(path, {**samples.database(), **licence}))
    assert found.words == FIRST
    assert found.licence == "free"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_lexicographers_and_lists_give_the_same_words(tmp_path):
    sources = {name: text.encode() for name, text in samples.SOURCES.items()}
    for number, (files, place) in enumerate(
        [(sources, "dbfiles"), (sources, "dict/dbfiles"), (samples.lists(), ".")]
    ):
        root = tmp_path / str(number)
        samples.folder(root / place, files)
        assert read_wordnet(root).words == FIRST
        assert read_wordnet(root).source == "WordNet"


def test_every_word_of_a_synset_is_taken_where_wanted(tmp_path):
    found = read_wordnet(
        samples.folder(tmp_path / "dict", samples.database()), every_word=True
    ).words
    assert found["noun.animal"] == ("dog", "domestic dog")
    assert found["adj.all"] == ("cold", "icy", "ready", "set", "abeyant", "dormant")
    sources = {name: text.encode() for name, text in samples.SOURCES.items()}
    of_files = read_wordnet(samples.folder(tmp_path / "db", sources), every_word=True).words
    assert of_files["noun.animal"] == ("dog", "domestic dog")
    assert of_files["noun.artifact"] == ("b-52", "bomber")


def test_the_numbers_of_files_are_those_of_the_database():
    assert (FILES[3], FILES[13], FILES[20], FILES[28]) == (
        *("noun.Tops", "noun.food", "noun.plant", "noun.time"),
    )
    assert len(FILES) == 29
    assert SOURCE.checksum.startswith("sha256:")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"data.noun": b"", "data.adj": b""},
        {"data.noun": b"what is this\n", "data.adj": b""},
        {"data.noun": b"00000001 99 n 01 a 0 000 | x\n", "data.adj": b""},
        {"data.noun": b"00000001 03 n 09 a 0 b\n", "data.adj": b""},
    ],
)
def test_what_is_no_wordnet_is_refused(tmp_path, files):
    with pytest.raises(DataError, match=r"data\.noun"):
        read_wordnet(samples.folder(tmp_path / "w", files))


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        read_wordnet(tmp_path / "absent")
    for name in ("w.tar.gz", "w.zip", "w.txt"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=re.escape(name)):
            read_wordnet(tmp_path / name)
