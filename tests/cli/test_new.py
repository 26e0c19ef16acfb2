import subprocess

import pytest
from torch import save, zeros

from ltood.cli.new import template
from ltood.cli.sections import PACKAGES
from ltood.core.registry import available, load
from ltood.core.settings import parse
from ltood.runtime.params import read_params
from tests.pipeline.workspace import ROOT


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A new repository."""
    from ltood.cli.new import new

    folder = tmp_path_factory.mktemp("new") / "mine"
    new(folder)
    return folder


def test_the_pipeline_is_the_repositorys_own_but_for_the_commands(made):
    own, new = read_params(ROOT / "dvc.yaml"), read_params(made / "dvc.yaml")
    for name, stage in own["stages"].items():
        assert stage.pop("cmd") == f"python3 -m stages.{name}"
        assert new["stages"][name].pop("cmd") == f"ltood stage {name}"
    assert new == own
    assert set(new["stages"]) == set(available("pipeline"))


def test_the_settings_are_the_repositorys_own_but_for_the_demo_images(made):
    own, new = read_params(ROOT / "params.yaml"), read_params(made / "params.yaml")
    assert (own["datasets"]["demo"].pop("root"), new["datasets"]["demo"].pop("root")) == (
        "data/demo", None,
    )  # fmt: skip
    assert new == own
    for package in PACKAGES:
        assert set(new[package]) == set(available(package))


def test_git_and_dvc_know_it(made):
    def git(*command):
        return subprocess.run(
            ["git", *command], cwd=made, capture_output=True, text=True, check=True
        ).stdout

    assert set(git("ls-files").splitlines()) >= {
        ".dvc/config", ".dvc/plots/by_set.json", ".dvcignore", ".gitignore", "README.md",
        "dvc.yaml", "params.schema.json", "params.yaml",
    }  # fmt: skip
    (made / "data/work").mkdir(parents=True)
    (made / "data/work/x").write_text("")
    assert "data" not in git("status", "--porcelain")
    for name in (".dvc/config", "params.schema.json"):
        assert (made / name).read_text() == (ROOT / name).read_text()
    assert "$schema=params.schema.json" in (made / "params.yaml").read_text().splitlines()[0]


@pytest.mark.parametrize("known", [True, False])
def test_experiments_find_a_commit_where_git_knows_the_user(ltood, tmp_path, monkeypatch, known):
    user = "[user]\nname = A\nemail = a@example.com\n[commit]\ngpgsign = true\n"
    (tmp_path / "config").write_text(user if known else "")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("AUTHOR", "COMMITTER"):
        for key in ("NAME", "EMAIL"):
            monkeypatch.delenv(f"GIT_{name}_{key}", raising=False)
    monkeypatch.delenv("EMAIL", raising=False)
    said = ltood("new", tmp_path / "my repository").stdout
    command = ["git", "log", "--format=%an", "--name-only"]
    done = subprocess.run(command, cwd=tmp_path / "my repository", capture_output=True, text=True)
    assert (done.returncode == 0) == known
    assert ("params.yaml" in done.stdout.splitlines()) == known
    assert ("commit -m" in said) != known
    assert f"git -C '{tmp_path / 'my repository'}'" in said or known


@pytest.mark.parametrize("name", ["README.md", ".hidden"])
def test_a_folder_that_holds_something_is_left_alone(ltood, tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert name in ltood("new", tmp_path, code=1).stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_is_left_alone(ltood, tmp_path):
    (tmp_path / "a").write_text("mine")
    assert str(tmp_path / "a") in ltood("new", tmp_path / "a", code=1).stderr
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("was_there", [True, False])
def test_nothing_half_made_is_left(ltood, tmp_path, monkeypatch, was_there):
    folder = tmp_path / "mine"
    if was_there:
        folder.mkdir()
    monkeypatch.setattr("ltood.cli.new._COPIED", (".dvc/nothing",))
    assert ".dvc/nothing" in ltood("new", folder, code=1).stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"] * was_there


def test_what_a_tool_says_is_told(ltood, tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\necho 'no space' >&2\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = ltood("new", tmp_path / "mine", code=1).stderr
    assert "`git init` failed" in said
    assert "(no space)" in said


def test_without_git_nothing_is_made(ltood, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "needs git" in ltood("new", tmp_path / "mine", code=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pattern_that_matches_nothing_is_a_fault_of_ours(monkeypatch):
    monkeypatch.setattr("ltood.cli.new._CHANGED", (("dvc.yaml", "no such text", ""),))
    with pytest.raises(AssertionError, match="no such text"):
        template("dvc.yaml")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder to work in that holds pictures and weights."""
    monkeypatch.chdir(tmp_path)
    for name in ("my pictures/Kätzchen", "my pictures/dog", "my pictures/strange", "other things"):
        (tmp_path / name).mkdir(parents=True)
    save({"layer.weight": zeros(2, 2)}, tmp_path / "net.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "net.pth").read_bytes()[:-200])
    (tmp_path / "page.pth").write_bytes(b"<html>")
    return tmp_path


def chosen(folder, *path):
    found = read_params(folder / "params.yaml")
    for key in path:
        found = found[key]
    return found


def test_pictures_get_a_frozen_network_and_a_head_of_their_own(ltood, own):
    options = ("--ood", "other=other things#20", "--ood", "strange", "--ood", "other things")
    said = ltood("new", "mine", "--pictures", "my pictures", "--weights", "net.pth", *options)
    assert "cd mine && dvc repro" in said.stdout
    folder = own / "mine"
    assert chosen(folder, "dataset") == "folder"
    assert chosen(folder, "recipe") == "linear_probe"
    assert chosen(folder, "training", "weights") == str(own / "net.pth")
    assert chosen(folder, "backbones", "timm_model", "pretrained") is False
    assert chosen(folder, "datasets", "folder", "root") == str(own / "my pictures")
    assert chosen(folder, "report", "images") == "my pictures"
    assert chosen(folder, "datasets", "folder", "ood") == [
        f"other={own / 'other things'}#20", "strange", f"other_things={own / 'other things'}",
    ]  # fmt: skip
    for package in PACKAGES:  # Every section is one that its entry takes.
        for name, section in chosen(folder, package).items():
            parse(section, load(package, name).Config, f"{package}.{name}")
    assert "# none, backbone" in (folder / "params.yaml").read_text()  # comments stay
    readme = (folder / "README.md").read_text()
    assert "demo images" not in readme
    assert readme.count("## Your") == 1


def test_without_weights_those_of_timm_are_taken(ltood, own):
    ltood("new", "mine", "--pictures", "my pictures", "--model", "vit_small_patch16_224.dino")
    own_model = chosen(own / "mine", "backbones", "timm_model")
    assert own_model["model"] == "vit_small_patch16_224.dino"
    assert own_model["pretrained"] is True
    assert chosen(own / "mine", "training", "weights") is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--pictures", "none"), "--pictures"),
        (("--pictures", "my pictures", "--weights", "none.pth"), "--weights"),
        (("--pictures", "my pictures", "--weights", "cut.pth"), "cut.pth"),
        (("--pictures", "my pictures", "--weights", "page.pth"), "a web page"),
        (("--pictures", "my pictures", "--model", "resnet1818"), "Did you mean resnet18"),
        (("--pictures", "my pictures", "--model", "a:b"), "backbones.timm_model.model"),
        (("--pictures", "my pictures", "--ood", "a=none"), "--ood"),
        (("--ood", "other things"), "--pictures"),
        (("--weights", "net.pth"), "--pictures"),
        (("--model", "resnet18"), "--pictures"),
        (("--pictures", "my pictures", "--ood", "other things=other things"), "other_things"),
        (("--pictures", "my pictures", "--ood", "strange", "--ood", "strange=net.pth"), "twice"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_is_made(ltood, own, options, named):
    assert named in ltood("new", "mine", *options, code=1).stderr
    assert not (own / "mine").exists()
