import csv
import io
import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ltood.cli import app
from ltood.core.errors import ConfigError, DataError, StoreError, UnknownNameError
from ltood.core.settings import parse
from ltood.datasets import folder
from ltood.sets import catalogue, downloads, synthetic
from ltood.sets.catalogue import Offer, Part, known_set, known_sets
from ltood.sets.downloads import Source


def run(*arguments):
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A set of two images in an archive, and the list of what was fetched."""
    fetched = []

    def fetch(source, folder):
        fetched.append(source.file)
        folder.mkdir(parents=True, exist_ok=True)
        if source.file.endswith(".npy"):
            np.save(folder / source.file, np.zeros((2, 4, 4, 3), np.uint8))
            return folder / source.file
        image = io.BytesIO()
        Image.new("RGB", (4, 4)).save(image, "PNG")
        with tarfile.open(folder / source.file, "w") as archive:
            for name in ("in/a.png", "in/b.png"):
                info = tarfile.TarInfo(name)
                info.size = len(image.getvalue())
                archive.addfile(info, io.BytesIO(image.getvalue()))
        return folder / source.file

    archive = Offer(Source("x.tar", "https://a/x.tar"), unpack=True)
    plain = Offer(Source("y.npy", "https://a/y.npy"), unpack=False)
    sets = {
        "x": replace(
            known_set("isun"), name="x", folder="x", files=(archive,), parts=(Part("in", 2),)
        ),
        "y": replace(
            known_set("isun"), name="y", folder="y", files=(plain,), parts=(Part("y.npy", 3),)
        ),
    }
    monkeypatch.setattr(catalogue, "known_set", sets.__getitem__)
    monkeypatch.setattr(downloads, "fetch", fetch)
    return fetched


def test_the_list_names_every_set_and_which_are_there(tmp_path):
    (tmp_path / "textures").mkdir()  # As a stopped download leaves it.
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "test_32x32.mat").touch()
    lines = run("list", "--root", tmp_path).splitlines()
    assert [line.split()[0] for line in lines[:-2]] == list(known_sets())
    assert [line.split()[0] for line in lines if " there " in line] == ["svhn"]
    assert lines[-1].startswith(f"{len(known_sets())} sets;")


def test_the_list_as_json_says_all(tmp_path):
    sets = json.loads(run("list", "--json", "--root", tmp_path))
    by_name = {entry["name"]: entry for entry in sets}
    assert by_name["svhn"]["files"][0]["checksum"] == "md5:eb5a983be6a315427106f1b164d9cef3"
    assert by_name["svhn"]["is_there"] is False
    assert by_name["imagenet"]["origin"] == "by hand"
    assert json.loads(run("info", "svhn", "--json", "--root", tmp_path)) == by_name["svhn"]


def test_info_says_where_from_and_where_to(tmp_path):
    text = run("info", "tiny_images", "--root", tmp_path)
    assert "https://people.eecs.berkeley.edu/~hendrycks/300K_random_images.npy md5:64ca64" in text
    assert f"setting  {tmp_path}/tiny_images/300K_random_images.npy" in text
    assert "PATT: auxiliary outliers" in text
    assert "(no published checksum)" in run("info", "sun")
    assert "by hand (https://image-net.org" in run("info", "imagenet")
    assert "layout   data/sets/imagenet/ImageNet_LT_train.txt" in run("info", "imagenet_lt")


def test_an_archive_is_unpacked_once_and_removed(offered, tmp_path):
    for _ in range(2):
        assert "verify x" in run("download", "x", "--root", tmp_path)
    assert offered == ["x.tar"]
    assert sorted(path.name for path in (tmp_path / "x" / "in").iterdir()) == ["a.png", "b.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert "2 images, 1 repeat another one" in run("verify", "x", "--root", tmp_path)


def test_an_empty_folder_is_filled_and_the_archive_kept_on_demand(offered, tmp_path):
    (tmp_path / "x").mkdir()
    run("download", "x", "--keep", "--root", tmp_path)
    assert (tmp_path / "x" / "in" / "a.png").is_file()
    assert (tmp_path / "x.tar").is_file()


def test_a_folder_that_holds_something_else_is_not_taken_for_the_set(offered, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.tar").write_bytes(b"put a folder too deep, or half a download")
    sentence = rf"x holds x\.tar but no in: .* by hand belongs at {tmp_path}/x\.tar\.$"
    with pytest.raises(DataError, match=sentence):
        run("download", "x", "--root", tmp_path)
    assert (tmp_path / "x" / "x.tar").is_file()


def test_a_file_goes_to_the_folder_of_its_set(offered, tmp_path):
    run("download", "y", "--root", tmp_path)
    assert (tmp_path / "y" / "y.npy").is_file()


def test_faults_are_listed_and_end_in_an_error(offered, tmp_path):
    run("download", "y", "--root", tmp_path)
    with pytest.raises(DataError, match=r"y: y\.npy holds 2 images.* 3\.$"):
        run("verify", "y", "--root", tmp_path)
    result = CliRunner().invoke(app, ["data", "verify", "y", "--root", str(tmp_path)])
    assert "FAULT  2 images" in result.stdout


def test_a_set_can_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_NUM_NOISE", 10)
    run("download", "uniform", "--root", tmp_path)
    assert (tmp_path / "uniform" / "uniform.npz").is_file()


def test_a_set_that_is_not_offered_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"imagenet .* get imagenet by hand \(https"):
        run("download", "imagenet", "--root", tmp_path)


@pytest.mark.parametrize("command", ["info", "download", "verify"])
def test_an_unknown_set_is_refused(command):
    with pytest.raises(UnknownNameError, match="No known set 'svnh'"):
        run(command, "svnh")


@pytest.fixture
def images(tmp_path):
    for split, num in (("train", 5), ("test", 1)):
        for name in ("cat", "dog"):
            place = tmp_path / "set" / split / name
            place.mkdir(parents=True)
            for number in range(num):
                Image.new("RGB", (4, 4)).save(place / f"{number}.png")
    return tmp_path / "set"


def test_few_shots_are_listed_for_the_dataset_and_the_recipe(images, tmp_path):
    out = tmp_path / "lists" / "shots.csv"
    options = ("--shots", 2, "--seed", 1, "--seed", 2, "--root", images, "--out", out)
    assert "shots.csv: 8 lines for 2 classes." in run("few-shot", "folder", *options)
    lines = list(csv.DictReader(io.StringIO(out.read_text())))
    assert {line["seed"] for line in lines} == {"1", "2"}
    settings = {"root": str(images), "shots_list": str(out), "shots_seed": None}
    train = folder.Dataset(parse(settings, folder.Config, "datasets.folder")).split("train")
    # The ids of the images that are kept are those by which the recipe finds its rows.
    assert set(train.ids.tolist()) == {int(line["id"]) for line in lines}
    first = out.read_bytes()
    run("few-shot", "folder", *options)
    assert out.read_bytes() == first


def test_few_shots_take_the_folder_of_the_settings(images, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(f"datasets:\n  folder: {{root: {images}, shots: 1, ood: [svhn]}}\n")
    text = run("few-shot", "folder", "--params", params, "--out", tmp_path / "shots.csv")
    assert "shots.csv: 30 lines for 2 classes." in text  # three seeds, and five of a class at most


def test_few_shots_of_arrays_need_no_list(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text("datasets: {}\n")
    with pytest.raises(DataError, match=r"demo .* recipes\.locoop"):
        run("few-shot", "demo", "--params", params, "--out", tmp_path / "shots.csv")


def test_few_shots_say_what_is_missing(images, tmp_path):
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "shots.csv"
    with pytest.raises(StoreError, match=r"cannot write .*shots\.csv: "):
        run("few-shot", "folder", "--root", images, "--out", where)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        run("few-shot", "folder", "--params", tmp_path / "none.yaml", "--out", where)


@pytest.mark.parametrize("content", ["datasets: 3\n", "datasets: {folder: [a]}\n"])
def test_few_shots_need_sections_of_settings(content, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(content)
    with pytest.raises(ConfigError, match="datasets"):
        run("few-shot", "folder", "--params", params, "--out", tmp_path / "shots.csv")
