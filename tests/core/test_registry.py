import subprocess
import sys

import pytest

from ltood.core.errors import UnknownNameError
from ltood.core.registry import available, check_name, flag, load, summary


def test_names_are_file_names():
    names = available("methods")
    assert "energy" in names
    assert names == sorted(names)
    assert not any(name.startswith("_") for name in names)


def test_unknown_names_get_the_nearest_and_the_list():
    with pytest.raises(
        UnknownNameError, match=r"No method 'reactt'\. Did you mean react\?? ?.*Known: .*energy"
    ):
        load("methods", "reactt")


def test_a_name_like_nothing_gets_the_list_only():
    with pytest.raises(UnknownNameError, match=r"No calibrator 'qqqq'\. Known: .*none, patt\."):
        check_name("calibrators", "qqqq")


def test_a_long_name_is_cut():
    with pytest.raises(UnknownNameError, match=r"^No method 'x{148}…x{49}'\. Known: ada"):
        load("methods", "x" * 100_000)


def test_summaries_come_without_importing():
    code = (
        "import sys; from ltood.core.registry import available, summary; "
        "assert all(summary('methods', n).endswith('.') for n in available('methods')); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_summary_of_an_unknown_name():
    with pytest.raises(UnknownNameError, match="No method"):
        summary("methods", "nothing_like_this")


def test_flags_come_without_importing():
    code = (
        "import sys; from ltood.core.registry import flag; "
        "assert flag('recipes', 'coop', 'ADAPTS_HEAD'); "
        "assert not flag('recipes', 'cross_entropy', 'ADAPTS_HEAD'); "
        "assert not flag('recipes', 'coop', 'Entry'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(UnknownNameError, match="No recipe"):
        flag("recipes", "nothing_like_this", "ADAPTS_HEAD")
