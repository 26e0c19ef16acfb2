import importlib.metadata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ltood.runtime import provenance, source
from ltood.runtime.provenance import (
    LIBRARIES,
    WITHOUT_EFFECT,
    code_digest,
    code_parts,
    differences,
    digest,
    library_versions,
    minor_version,
)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package with an entry that imports two modules of its own."""
    monkeypatch.setattr(source, "ROOT", tmp_path)
    files = {
        "__init__.py": "import ltood.losses.unused\n",
        "recipes/__init__.py": "",
        "losses/__init__.py": "",
        "ops/__init__.py": "",
        "core/__init__.py": "",
        "recipes/plain.py": (
            "from ltood.losses.used import f\nfrom ltood.core import errors, head\nimport torch\n"
        ),
        "losses/used.py": "from ltood.ops import deep\n\n\ndef f():\n    return deep.g()\n",
        "losses/unused.py": "x = 1\n",
        "ops/deep.py": "def g():\n    return 1\n\n\nSTYLE = 'deep.css'\n",
        "ops/deep.css": "a {}\n",
        "ops/other.css": "a {}\n",
        "core/errors.py": "x = 1\n",
        "core/head.py": "x = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / "ltood" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "ltood"


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("recipes/plain.py", "import math\nfrom ltood.losses.used import f\n", True),
        ("losses/used.py", "from ltood.ops import deep\n\n\ndef f():\n    return 2\n", True),
        ("ops/deep.py", "def g():\n    return 2\n\n\nSTYLE = 'deep.css'\n", True),
        ("ops/deep.css", "b {}\n", True),
        ("core/head.py", "x = 2\n", True),
        ("core/__init__.py", "x = 2\n", True),
        (
            "ops/deep.py",
            '"""W."""\ndef g():\n    """More."""\n\n    return 1  # x\n\nSTYLE = \'deep.css\'\n',
            False,
        ),
        ("ops/other.css", "b {}\n", False),
        ("losses/unused.py", "x = 2\n", False),
        ("core/errors.py", "x = 2\n", False),
        ("__init__.py", "x = 2\n", False),
    ],
)
def test_what_code_does_decides(house, file, text, counts):
    before = code_digest("ltood.recipes.plain")
    (house / file).write_text(text)
    assert (code_digest("ltood.recipes.plain") != before) == counts


def test_modules_that_import_one_another(house):
    (house / "ops" / "deep.py").write_text("import ltood.losses.used\n")
    assert code_digest("ltood.losses.used") == code_digest("ltood.ops.deep", "ltood.losses.used")


@pytest.mark.parametrize(
    ("library", "version", "counts"),
    [
        ("torch", "2.6.1+cpu", False),
        ("torch", "2.7.0", True),
        ("numpy", "3.0.0", False),
        ("ltood", "9.0.0", False),
    ],
)
def test_minor_versions_of_what_is_imported_count(house, monkeypatch, library, version, counts):
    versions = {"torch": "2.6.0+cu124", "numpy": "2.1.0", "ltood": "0.1.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    minor_version.cache_clear()
    before = code_digest("ltood.recipes.plain")
    versions[library] = version
    minor_version.cache_clear()
    changed = code_digest("ltood.recipes.plain") != before
    minor_version.cache_clear()
    assert changed == counts


def test_missing_libraries_have_a_version_too(monkeypatch):
    monkeypatch.setitem(provenance.LIBRARIES, "absent", "no-such-distribution")
    assert minor_version("absent") == "none"


def test_modules_without_effect_are_modules_with_a_reason():
    """One by one: no room stands in the list but for its empty `__init__`."""
    for name, reason in WITHOUT_EFFECT.items():
        path = source.module_file(name)
        assert path is not None, name
        assert reason
        if path.name == "__init__.py" and name.startswith("ltood."):
            assert not source.read_source(path).text.strip(), name


def test_libraries_are_installed_under_these_names():
    assert {name for name in LIBRARIES if minor_version(name) == "none"} == set()


def test_driver_digest_reaches_the_loop():
    parts = code_parts("ltood.training.train")
    assert {"ltood.training.loop", "ltood.networks.backbone", "ltood.runtime.devices"} <= set(
        parts["modules"]
    )
    assert parts["libraries"].keys() >= {"numpy", "torch"}
    assert len(code_digest("ltood.training.train")) == 64


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})


def test_differences_name_the_place_and_both_values():
    found = {"same": 1, "inner": {"rate": 0.1}, "gone": "x" * 99}
    wanted = {"same": 1, "inner": {"rate": 0.2}, "new": [1]}
    assert differences(found, wanted) == [
        f"gone was '{'x' * 39}…, now absent",
        "inner.rate was 0.1, now 0.2",
        "new was absent, now [1]",
    ]


@given(st.text("ab", max_size=90), st.text("ab", max_size=200), st.text("ab", max_size=200))
def test_differences_of_long_values_show_where_they_differ(shared, one, other):
    assume(one != other)
    (clause,) = differences({"k": f"{shared}{one}"}, {"k": f"{shared}{other}"})
    old, new = clause.removeprefix("k was ").split(", now ")
    assert old != new
    assert max(len(old), len(new)) <= 42


def test_versions_are_those_of_the_libraries():
    import torch

    versions = library_versions()
    assert set(versions) == {"ltood", "numpy", "torch"}
    assert torch.__version__.startswith(versions["torch"])
