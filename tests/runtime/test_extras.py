import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ltood.core.errors import LtoodError, MissingPackageError
from ltood.library.board import Board
from ltood.library.predictions import Predictions
from ltood.networks.backbone import ImageSpec
from ltood.runtime.extras import EXTRAS, command, is_there, require
from ltood.runtime.source import read_source

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SPEC = ImageSpec(3, 8, 8, (0.5,) * 3, (0.5,) * 3, 2)
MODULES = [(extra, module) for extra, packages in EXTRAS.items() for module in packages]
#: What ltood hands over to where it is installed anyway.
OTHERS = {"pandas"}
#: Modules whose package has another name on the index.
PUBLISHED = {
    "PIL": {"pillow"},
    "faiss": {"faiss-cpu", "faiss-gpu"},
    "huggingface_hub": {"huggingface-hub"},
    "open_clip": {"open-clip-torch"},
    "python_multipart": {"python-multipart"},
}


def names(requirements):
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_the_extras_are_those_of_the_package():
    listed = dict(PROJECT["optional-dependencies"])
    (everything,) = listed.pop("all")
    assert Requirement(everything).extras == EXTRAS.keys()
    assert {extra: names(packages) for extra, packages in listed.items()} == {
        extra: set().union(*(PUBLISHED.get(module, {module.lower()}) for module in packages))
        for extra, packages in EXTRAS.items()
    }


def test_every_import_is_a_dependency_or_belongs_to_an_extra():
    published = {"google_crc32c": "google-crc32c", "ruamel": "ruamel-yaml"}
    base = names(PROJECT["dependencies"])
    optional = {module for _, module in MODULES} | {"markupsafe", "starlette"}  # of Jinja2, FastAPI
    sources = [read_source(path) for path in (ROOT / "ltood").rglob("*.py")]
    found = frozenset().union(*(source.libraries for source in sources))
    outside = found - sys.stdlib_module_names
    assert {published.get(name, name) for name in outside - optional - OTHERS} == base


@pytest.mark.parametrize(("extra", "module"), MODULES)
def test_a_missing_package_is_one_sentence_with_the_command(extra, module, monkeypatch):
    require(module, "this test")
    monkeypatch.setitem(sys.modules, module, None)
    assert not is_there(module)
    with pytest.raises(MissingPackageError) as caught:
        require(module, "this test")
    assert str(caught.value).startswith("this test needs ")
    assert str(caught.value).endswith(f'; run pip install "ltood[{extra}]".')
    assert isinstance(caught.value, LtoodError)
    assert isinstance(caught.value, ImportError)


def test_a_package_of_no_extra_is_named_itself():
    assert command("pandas") == "pip install pandas"


@pytest.fixture
def hide(monkeypatch):
    """Let modules be missing."""

    def hide(*modules):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


def test_pictures_need_pillow(hide):
    from ltood.images.decoding import as_image, decode_image

    hide("PIL")
    with pytest.raises(MissingPackageError, match=r"ltood\[vision\]"):
        decode_image(b"", "a.png")
    with pytest.raises(MissingPackageError, match=r"ltood\[vision\]"):
        as_image(np.zeros((2, 2, 3), np.uint8))


def test_pretrained_networks_need_torchvision(hide):
    from ltood.backbones.resnet50 import Config, Entry

    hide("torchvision")
    with pytest.raises(MissingPackageError, match=r"backbone resnet50 .*ltood\[vision\]"):
        Entry(Config(), SPEC)


def test_clip_needs_open_clip(hide):
    from ltood.adapting.texts import format_templates
    from ltood.clip.models import clip_spec
    from ltood.clip.prompts import clip_vocabulary

    hide("open_clip")
    for call in (
        lambda: clip_spec("ViT-B-16"),
        lambda: clip_vocabulary(77),
        lambda: format_templates(["imagenet"], "cat"),
    ):
        with pytest.raises(MissingPackageError, match=r"ltood\[clip\]"):
            call()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_report_is_refused_before_the_work(module, hide, tmp_path):
    from ltood.reporting.write import write_report

    hide(module)
    with pytest.raises(MissingPackageError, match=r"the report .*ltood\[report\]"):
        write_report(tmp_path / "report.html", None)


def test_without_faiss_neighbours_come_from_products(hide):
    from ltood.ops import neighbours

    hide("faiss")
    assert not neighbours._faiss_has_gpus()


def test_features_and_ready_pixels_are_predicted_without_pillow(hide):
    from ltood.deployment.images import fit_pixels

    hide("PIL")
    assert fit_pixels(np.zeros((8, 8, 3), np.uint8), SPEC).shape == (8, 8, 3)
    with pytest.raises(MissingPackageError, match=r"ltood\[vision\]"):
        fit_pixels(np.zeros((9, 8, 3), np.uint8), SPEC)


@pytest.mark.parametrize("thing", [Board, Predictions])
def test_data_frames_need_pandas(thing, hide):
    hide("pandas")
    with pytest.raises(MissingPackageError, match="run pip install pandas"):
        thing.to_pandas(None)
