import numpy as np
import pytest
import torch

from ltood.adapting.texts import format_templates, prompt_names, template_head
from ltood.core.errors import DataError
from tests import prompt_samples


def test_stored_names_are_spoken_with_spaces():
    assert prompt_names(None, ["golden_retriever", " emu "]) == ["golden retriever", "emu"]


def test_a_file_replaces_the_stored_names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("hound\nbird\n", encoding="utf-8")
    assert prompt_names(str(file), ["0", "1"]) == ["hound", "bird"]
    with pytest.raises(DataError, match=r"names\.txt holds 2 names but the labels have 3 classes"):
        prompt_names(str(file), ["0", "1", "2"])
    file.write_text("hound\n\nbird\n", encoding="utf-8")
    with pytest.raises(DataError, match="class 1 has an empty name"):
        prompt_names(str(file), ["0", "1", "2"])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"names\.txt cannot be read .*; give a text file"):
        prompt_names(str(file), ["0"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt cannot be read .*one name per line"):
        prompt_names(str(tmp_path / "none.txt"), ["0"])


def test_names_beside_wordnet_ids_are_found_by_them(tmp_path):
    file = tmp_path / "classnames.txt"
    file.write_text(
        "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\n", encoding="utf-8"
    )
    assert prompt_names(str(file), ["n01484850", "n01440764"]) == ["great white shark", "tench"]
    with pytest.raises(DataError, match="by WordNet id but none for the class 'tench'"):
        prompt_names(str(file), ["tench", "goldfish", "shark"])


def test_wordnet_ids_are_not_spoken():
    with pytest.raises(DataError, match=r"WordNet ids \(n01440764 .*set class_names to imagenet"):
        prompt_names(None, ["n01440764", "n01443537"])


def test_the_mark_that_some_editors_write_is_no_part_of_a_name(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("hound\nbird\n", encoding="utf-8-sig")
    assert prompt_names(str(file), ["0", "1"]) == ["hound", "bird"]


def test_equal_names_are_warned_of():
    with pytest.warns(UserWarning, match=r"class name 'missile' is given 2 times and 1 others"):
        names = prompt_names(None, ["missile", "sunglasses", "missile", "emu", "sunglasses"])
    assert len(names) == 5
    with pytest.warns(UserWarning, match="'polar bear' is given 2 times: these classes"):
        prompt_names(None, ["Polar_bear", "emu", "polar  bear"])


def test_the_bundled_names_are_those_of_imagenet():
    with pytest.warns(UserWarning, match="'missile' is given 2 times"):
        names = prompt_names("imagenet", [str(label) for label in range(1000)])
    assert (names[0], len(names), len(set(names))) == ("tench", 1000, 998)


def test_templates_are_filled():
    assert format_templates(["a {}.", "the {}"], "cat") == ["a cat.", "the cat"]
    bundled = format_templates(["imagenet"], "cat")
    assert len(bundled) == 80
    assert bundled[0] == "a bad photo of a cat."


def test_the_head_is_the_mean_of_unit_embeddings():
    encoder = prompt_samples.encoder()
    names, templates = ["cat", "11 12 13", "emu"], ("a {}", "one photo of {} .")
    found = template_head(encoder, names, templates)
    for row, name in zip(found, names, strict=True):
        total = np.zeros(32)
        for template in templates:
            ids = [62, *prompt_samples.encode_words(template.replace("{}", name)), 63]
            tokens = torch.zeros(1, 16, dtype=torch.int64)
            tokens[0, : len(ids)] = torch.tensor(ids)
            ends = torch.tensor([len(ids) - 1])
            whole = encoder.tower.encode(encoder.tower.embed(tokens), ends)[0].double().numpy()
            total += whole / np.linalg.norm(whole)
        np.testing.assert_allclose(row, total / np.linalg.norm(total), atol=1e-5)
    assert not found.requires_grad


def test_the_head_does_not_depend_on_how_many_prompts_go_at_once(monkeypatch):
    encoder, names = prompt_samples.encoder(), ["cat", "11 12 13", "emu"]
    whole = template_head(encoder, names, ("a {}", "{}"))
    monkeypatch.setattr("ltood.adapting.texts._PROMPTS", 2)
    torch.testing.assert_close(template_head(encoder, names, ("a {}", "{}")), whole)
