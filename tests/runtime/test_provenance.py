import pytest

from ltood.runtime import provenance
from ltood.runtime.provenance import code_digest, differences, digest, library_versions


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A package with an entry that imports two modules of its own."""
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    files = {
        "recipes/__init__.py": "",
        "losses/__init__.py": "",
        "ops/__init__.py": "",
        "core/__init__.py": "",
        "recipes/plain.py": "from ltood.losses.used import f\nfrom ltood.core import errors\n",
        "losses/used.py": "from ltood.ops import deep\n\n\ndef f():\n    return deep.g()\n",
        "losses/unused.py": "x = 1\n",
        "ops/deep.py": "def g():\n    return 1\n",
        "core/errors.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "counts"),
    [
        ("recipes/plain.py", "import math\nfrom ltood.losses.used import f\n", True),
        ("losses/used.py", "from ltood.ops import deep\n\n\ndef f():\n    return 2\n", True),
        ("ops/deep.py", "def g():\n    return 2\n", True),
        (
            "ops/deep.py",
            '"""Words."""\n\n\ndef g():\n    """More."""\n    return (1)  # x\n',
            False,
        ),
        ("losses/unused.py", "x = 2\n", False),
        ("core/errors.py", "x = 2\n", False),
    ],
)
def test_what_code_does_decides(house, file, text, counts):
    before = code_digest("ltood.recipes.plain")
    (house / file).write_text(text)
    assert (code_digest("ltood.recipes.plain") != before) == counts


def test_modules_that_import_one_another(house):
    (house / "ops" / "deep.py").write_text("import ltood.losses.used\n")
    assert code_digest("ltood.losses.used") == code_digest("ltood.ops.deep", "ltood.losses.used")


def test_driver_digest_reaches_the_loop():
    first = code_digest("ltood.training.train")
    assert first != code_digest("ltood.training.loop")
    assert len(first) == 64


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})


def test_differences_name_the_place_and_both_values():
    found = {"same": 1, "inner": {"rate": 0.1}, "gone": "x" * 99}
    wanted = {"same": 1, "inner": {"rate": 0.2}, "new": [1]}
    assert differences(found, wanted) == [
        f"gone was '{'x' * 36}..., now 'absent'",
        "inner.rate was 0.1, now 0.2",
        "new was 'absent', now [1]",
    ]


def test_versions_are_those_of_the_libraries():
    import torch

    versions = library_versions()
    assert set(versions) == {"ltood", "numpy", "torch"}
    assert torch.__version__.startswith(versions["torch"])
