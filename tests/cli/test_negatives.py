import hashlib
from dataclasses import replace

import pytest
import wordnet_samples as samples

from ltood.adapting import encoders
from ltood.negatives import WordList, read_list, wordnet
from ltood.store.adapted import read_adapted
from ltood.store.scores import ScoreStore
from tests import prompt_samples


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("lamp\nsea_horse\nlamp\n")
    return path


@pytest.mark.parametrize("recipe", ["neglabel", "csp", "interneg"])
def test_candidates_come_from_wordnet_with_its_notice(ltood, tmp_path, recipe):
    archive = samples.tar(tmp_path / "w.tar.gz", samples.database())
    done = ltood("negatives", "build", "--recipe", recipe, "--wordnet", archive, "--out",
                 tmp_path / "n.csv")  # fmt: skip
    made = read_list(str(tmp_path / "n.csv"))
    assert made.recipe == recipe
    assert made.summary() in done.stdout
    assert "negatives.words" in done.stdout
    text = (tmp_path / "n.csv").read_text()
    assert all(f"# {line}".rstrip() in text for line in samples.NOTICE)
    folder = samples.folder(tmp_path / "dict", samples.database())
    again = tmp_path / "again.csv"
    ltood("negatives", "build", "--recipe", recipe, "--wordnet", folder, "--out", again)
    assert again.read_text() == text


def test_wordnet_is_fetched_by_checksum_where_none_is_given(ltood, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "data/sets/wordnet"
    kept.mkdir(parents=True)
    archive = samples.tar(kept / wordnet.SOURCE.file, samples.database())
    assert wordnet.SOURCE.file in ltood("negatives", "build", code=1).stderr
    checksum = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    monkeypatch.setattr(wordnet, "SOURCE", replace(wordnet.SOURCE, checksum=checksum))
    ltood("negatives", "build", "--leave-out", "noun.plant", "--every-word")
    made = dict(read_list("data/negatives.csv").words)
    assert made["bomber"] == "noun"
    assert "rose" not in made


def test_candidates_come_from_files_of_words(ltood, tmp_path, words):
    out = tmp_path / "n.csv"
    ltood("negatives", "build", "--words", words, "--out", out)
    assert read_list(str(out)).words == (("lamp", "noun"), ("sea horse", "noun"))
    ltood("negatives", "build", "--recipe", "csp", "--adjectives", words, "--out", out)
    assert {text.split()[0] for text, _ in read_list(str(out)).words} == {"lamp", "sea"}


def test_chosen_labels_are_taken_as_they_are(ltood, tmp_path, words):
    out, others = tmp_path / "n.csv", tmp_path / "adjectives.txt"
    others.write_text("blue scene\n")
    ltood("negatives", "import", words, "--out", out)
    assert read_list(str(out)).recipe == "listed"
    ltood("negatives", "import", words, "--adjectives", others, "--recipe", "negrefine-list",
          "--out", out)  # fmt: skip
    imported = read_list(str(out))
    assert imported.words[-1] == ("blue scene", "adjective")
    ltood("negatives", "build", "--recipe", "negrefine-list", "--words", words, "--adjectives",
          others, "--out", out)  # fmt: skip
    assert read_list(str(out)) == imported


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("build", "--recipe", "neglable"), "neglable"),
        (("build", "--recipe", "negrefine-list"), "--words"),
        (("build", "--words", "absent.txt"), "absent.txt"),
        (("build", "--wordnet", "absent.tar.gz"), "absent.tar.gz"),
        (("build", "--wordnet", "w", "--words", "words.txt"), "both"),
        (("import", "absent.txt"), "absent.txt"),
        (("import", "absent.txt", "--recipe", "csp"), "'csp'"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(ltood, tmp_path, monkeypatch, words, arguments, what):
    monkeypatch.chdir(tmp_path)
    done = ltood("negatives", *arguments, code=1)
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_labels_are_added_to_a_head_without_a_pipeline(ltood, tmp_path, rng, monkeypatch):
    splits = prompt_samples.random_splits(rng, 3)
    store = prompt_samples.write_store(tmp_path / "f.zarr", splits, ["cat", "dog", "emu"])
    monkeypatch.setattr(encoders, "text_encoder", lambda path: prompt_samples.encoder())
    head, given = tmp_path / "head", ("--store", store.path, "--checkpoint", tmp_path)
    ltood("adapt", *given, "--recipe", "zero_shot", "--out", head)
    made = WordList("neglabel", tuple((f"w{number}", "noun") for number in range(20)))
    (tmp_path / "n.csv").write_text(made.to_text())
    words = ("--head", head, "--words", tmp_path / "n.csv")
    done = ltood("negatives", "add", *given, *words, "--set", "share=0.25")
    assert "5 negative labels" in done.stdout
    assert read_adapted(head).arrays["negative_weight"].shape == (5, 32)
    out = tmp_path / "s.zarr"
    ltood("score", "--store", store.path, "--head", head, "--method", "neglabel", "--out", out)
    scores = ScoreStore.open(out).split("test").scores
    assert ((scores >= 0) & (scores <= 1)).all()
    failed = ltood("negatives", "add", *given, *words, "--set", "words=x", code=1)
    assert "--words" in failed.stderr
